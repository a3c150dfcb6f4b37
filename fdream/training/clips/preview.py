"""A picture of what training will see: clips of each bucket, cropped and strided as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fdream.core.errors import DataError
from fdream.core.report import printable
from fdream.training.clips.buckets import Rules, Sorted, View
from fdream.training.clips.index import ClipRecord
from fdream.training.clips.overlays import OverlayMasks
from fdream.training.clips.pictures import see

_CLIPS: Final = 4
_FRAMES: Final = 8
_HEIGHT: Final = 96
_LINE: Final = 16
_GAP: Final = 6
_RED: Final = np.array([255, 40, 40])


def preview_sheet(found: Sorted, rules: Rules, masks: OverlayMasks | None) -> np.ndarray:
    """Draw a few clips of each bucket, a line of frames each, below its name and caption.

    Args:
        found: clips in their buckets.
        rules: as views are taken.
        masks: what is left out of the losses is tinted red; None: nothing is.

    Returns:
        uint8 (H, W, 3).
    """
    parts: list[Image.Image] = []
    for bucket, clips in found.training.items():
        parts.append(_title(f"{bucket}: {len(clips)} to train on", 20))
        for clip in _spread(clips, _CLIPS):
            view = rules.view(clip, bucket, "view/0")
            halves = dict.fromkeys((clip.appearance, clip.motion))
            caption = " | ".join(filter(None, halves))
            fps = clip.fps / view.stride
            told = (
                f"{clip.name}  from {view.offset}, stride {view.stride}, {fps:.3g} fps  {caption}"
            )
            parts += [_title(told, _LINE), _strip(view, masks)]
    width = max(part.width for part in parts)
    sheet = Image.new("RGB", (width, sum(part.height + _GAP for part in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height + _GAP
    return np.asarray(sheet)


def _strip(view: View, masks: OverlayMasks | None) -> Image.Image:
    try:
        frames = see(view.clip.read(), [view])[0]
    except DataError as error:
        return _title(f"cannot be read: {error}", _LINE)
    if masks:
        side = masks.downscale
        counts = masks.of([view])[0, 0, 0].numpy().repeat(side, 0).repeat(side, 1)
        hidden = counts == 0
        frames = frames.copy()
        frames[:, hidden] = (frames[:, hidden] * 0.5 + _RED * 0.5).astype(np.uint8)
    shown = [frames[round(k)] for k in np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames)))]
    width = round(_HEIGHT * view.bucket.width / view.bucket.height)
    strip = Image.new("RGB", (len(shown) * (width + 2), _HEIGHT), "white")
    for place, frame in enumerate(shown):
        small = Image.fromarray(frame).resize((width, _HEIGHT), Image.Resampling.LANCZOS)
        strip.paste(small, (place * (width + 2), 0))
    return strip


def _title(text: str, height: int) -> Image.Image:
    font = ImageFont.load_default(height - 4)
    text = printable(" ".join(text.split()))[:160]
    picture = Image.new("RGB", (max(200, int(font.getlength(text)) + 8), height), "white")
    ImageDraw.Draw(picture).text((2, 0), text, fill="black", font=font)
    return picture


def _spread(clips: Sequence[ClipRecord], count: int) -> list[ClipRecord]:
    """Take clips from the whole length of a list."""
    places = np.linspace(0, len(clips) - 1, min(count, len(clips)))
    return [clips[round(place)] for place in places]
