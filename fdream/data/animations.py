"""Animated pictures through Pillow: GIF, WebP and APNG, whose FFmpeg writers drop the record."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from PIL import Image, PngImagePlugin

from fdream.data.metadata import KEY, xmp_packet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GIF_TICK_MS: Final = 10
# Browsers show anything faster than this at ten frames a second.
GIF_FASTEST_MS: Final = 20

_PALETTE_PIXELS: Final = 1 << 20


def write_gif(
    target: io.BytesIO, frames: NDArray[np.uint8], fps: float, record: str | None
) -> None:
    """Write a GIF with one palette for all frames, so that still areas do not flicker.

    Args:
        target: where the bytes go.
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second; the format keeps time in steps of 10 ms.
        record: the metadata, JSON text, as the comment; None writes none.
    """
    stacked = frames.reshape(-1, frames.shape[2], 3)
    # Whole rows at a stride: enough colours to choose from, and bounded time for large videos.
    stride = max(1, stacked.shape[0] * stacked.shape[1] // _PALETTE_PIXELS)
    palette = Image.fromarray(stacked[::stride]).quantize(
        256, method=Image.Quantize.MEDIANCUT, kmeans=2
    )
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        for frame in frames
    ]
    pictures[0].save(
        target,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=gif_durations(len(frames), fps),
        loop=0,
        optimize=False,
        comment=(record or "").encode(),
    )


def gif_durations(num_frames: int, fps: float) -> list[int]:
    """Round the *end* of each frame to 10 ms, so that the errors do not add up.

    Returns:
        Milliseconds for each frame; at 8 fps 120 and 130 in turn, 125 in the mean.
    """
    ends = [round(number * 1000 / fps / GIF_TICK_MS) for number in range(num_frames + 1)]
    spans = [(end - begin) * GIF_TICK_MS for begin, end in pairwise(ends)]
    return [max(GIF_FASTEST_MS, span) for span in spans]


def gif_timing_note(fps: float) -> str | None:
    """Say what the format does to the timing; None when nothing."""
    if fps > 1000 / GIF_FASTEST_MS:
        return f"gif: {fps:g} fps is played at 50 fps, the format's fastest; mp4 keeps it."
    if (1000 / fps) % GIF_TICK_MS:
        return f"gif: {fps:g} fps is rounded to steps of 10 ms a frame; mp4 keeps it exactly."
    return None


def write_webp(
    target: io.BytesIO, frames: NDArray[np.uint8], fps: float, record: str | None
) -> None:
    """Write an animated WebP; see ``write_gif``, the record goes into XMP."""
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(
        target,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=_durations(len(frames), fps),
        loop=0,
        quality=90,
        method=4,
        xmp=xmp_packet(record) if record else b"",
    )


def write_apng(
    target: io.BytesIO, frames: NDArray[np.uint8], fps: float, record: str | None
) -> None:
    """Write an animated PNG, without loss; see ``write_gif``, the record is an iTXt chunk."""
    pictures = [Image.fromarray(frame) for frame in frames]
    info = PngImagePlugin.PngInfo()
    if record:
        info.add_itxt(KEY, record)
    pictures[0].save(
        target,
        "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=_durations(len(frames), fps),
        loop=0,
        pnginfo=info,
    )


def _durations(num_frames: int, fps: float) -> list[int]:
    """Milliseconds for each frame, the end of each rounded (see ``gif_durations``)."""
    ends = [round(number * 1000 / fps) for number in range(num_frames + 1)]
    return [max(1, end - begin) for begin, end in pairwise(ends)]
