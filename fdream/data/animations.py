"""Animated pictures through Pillow: GIF, WebP and APNG, whose FFmpeg writers drop the record."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from fdream.data.encoding import DEFAULT_QUALITY, Encoding
from fdream.data.metadata import png_text, xmp_packet

if TYPE_CHECKING:
    from numpy.typing import NDArray

GIF_TICK_MS: Final = 10
# Browsers show anything faster than this at ten frames a second.
GIF_FASTEST_MS: Final = 20

_PALETTE_PIXELS: Final = 1 << 15


def encode_gif(
    frames: NDArray[np.uint8], fps: float, encoding: Encoding, record: str | None
) -> bytes:
    """Encode a GIF with one palette for all frames, so that still areas do not flicker.

    Args:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second; the format keeps time in steps of 10 ms.
        encoding: quality chooses the number of colours; from ``DEFAULT_QUALITY`` on all 256.
        record: the metadata, JSON text, as the comment; None writes none.
    """
    quality = DEFAULT_QUALITY if encoding.quality is None else encoding.quality
    colours = min(256, max(2, round(256 * quality / DEFAULT_QUALITY)))
    palette = _some_pixels(frames).quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=2)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        for frame in frames
    ]
    # A GIF tells how often it is *repeated*, and one that plays once tells nothing.
    repeats = {} if encoding.loop == 1 else {"loop": max(0, (encoding.loop or 0) - 1)}
    return _animation(
        pictures,
        "GIF",
        duration=gif_durations(len(frames), fps),
        optimize=False,
        comment=(record or "").encode(),
        **repeats,
    )


def _some_pixels(frames: NDArray[np.uint8]) -> Image.Image:
    """Draw the pixels that a palette is chosen from, the same ones every time.

    The time of k-means grows with the colours it sees, to minutes for 16 frames of smooth 256x256,
    and more of them than this make no better palette.
    """
    pixels = frames.reshape(-1, 3)
    if len(pixels) > _PALETTE_PIXELS:
        pixels = pixels[np.random.default_rng(0).integers(0, len(pixels), _PALETTE_PIXELS)]
    return Image.fromarray(pixels[None])


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


def encode_webp(
    frames: NDArray[np.uint8], fps: float, encoding: Encoding, record: str | None
) -> bytes:
    """Encode an animated WebP; see ``encode_gif``, the record goes into XMP."""
    return _animation(
        [Image.fromarray(frame) for frame in frames],
        "WEBP",
        duration=_durations(len(frames), fps),
        loop=encoding.loop or 0,
        quality=DEFAULT_QUALITY if encoding.quality is None else encoding.quality,
        method=4,
        xmp=xmp_packet(record) if record else b"",
    )


def encode_apng(
    frames: NDArray[np.uint8], fps: float, encoding: Encoding, record: str | None
) -> bytes:
    """Encode an animated PNG, without loss; see ``encode_gif``, the record is an iTXt chunk."""
    return _animation(
        [Image.fromarray(frame) for frame in frames],
        "PNG",
        duration=_durations(len(frames), fps),
        loop=encoding.loop or 0,
        pnginfo=png_text(record),
    )


def _animation(pictures: list[Image.Image], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


def _durations(num_frames: int, fps: float) -> list[int]:
    """Milliseconds for each frame, the end of each rounded (see ``gif_durations``)."""
    ends = [round(number * 1000 / fps) for number in range(num_frames + 1)]
    return [max(1, end - begin) for begin, end in pairwise(ends)]


ANIMATIONS: Final[dict[str, Callable[[NDArray[np.uint8], float, Encoding, str | None], bytes]]] = {
    "gif": encode_gif,
    "webp": encode_webp,
    "apng": encode_apng,
}
