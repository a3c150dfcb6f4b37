"""Write pictures and videos: deterministic, whole or not at all, with their record inside.

Same frames, same machine, same bytes: one encoder thread, no time stamps, no version strings. A
file is written beside its destination and renamed, so a crash leaves the old file or none. FFmpeg
gets raw frames on its standard input and never a file name that came from outside.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, PngImagePlugin

from fdream.core.errors import OutputError
from fdream.core.paths import atomic_write
from fdream.data.animations import write_apng, write_gif, write_webp
from fdream.data.metadata import KEY, xmp_packet

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_FORMATS: Final = ("png", "webp")
VIDEO_FORMATS: Final = ("mp4", "webm", "gif", "webp", "apng", "png")

_H264: Final = ("-c:v", "libx264", "-preset", "slow", "-crf", "17")
_VP9: Final = (
    *("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0"),
    *("-deadline", "good", "-cpu-used", "2", "-row-mt", "0"),
)

# sRGB to video range with the matrix that is also written into the file: players guess it from the
# picture size otherwise, and colours shift.
_COLOUR: Final = (
    "-vf",
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709"
    ":flags=lanczos+accurate_rnd+full_chroma_int+bitexact,format=yuv420p",
    *("-colorspace", "bt709", "-color_primaries", "bt709"),
    *("-color_trc", "bt709", "-color_range", "tv"),
)

_REPRODUCIBLE: Final = (
    *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
    *("-threads", "1", "-filter_threads", "1"),
)


def encode_image(pixels: NDArray[np.uint8], kind: str, record: str | None = None) -> bytes:
    """Encode one picture without loss.

    Args:
        pixels: uint8 (H, W, 3), RGB.
        kind: one of ``IMAGE_FORMATS``.
        record: the metadata, JSON text; None writes none.
    """
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if kind == "png":
        image.save(buffer, "PNG", pnginfo=png_text(record))
    else:
        packet = xmp_packet(record) if record else b""
        image.save(buffer, "WEBP", lossless=True, exact=True, xmp=packet)
    return buffer.getvalue()


def png_text(record: str | None) -> PngImagePlugin.PngInfo:
    """Return the text chunks of a PNG: the record alone, or nothing."""
    info = PngImagePlugin.PngInfo()
    if record:
        info.add_itxt(KEY, record)
    return info


def encode_video(
    frames: NDArray[np.uint8], fps: float, kind: str, record: str | None = None
) -> bytes:
    """Encode a video for a pipe; MP4 is fragmented, so that a reader may start before the end.

    Args:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second.
        kind: one of ``VIDEO_FORMATS``.
        record: the metadata, JSON text; None writes none.
    """
    if kind in _PILLOW:
        buffer = io.BytesIO()
        _PILLOW[kind](buffer, frames, fps, record)
        return buffer.getvalue()
    flags = "+frag_keyframe+empty_moov+default_base_moof+use_metadata_tags"
    return _run_ffmpeg(frames, fps, kind, record, flags, "pipe:1")


def save_image(path: Path, pixels: NDArray[np.uint8], kind: str, record: str | None = None) -> None:
    """Write one picture to a file; see ``encode_image``.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_image(pixels, kind, record))


def save_video(
    path: Path, frames: NDArray[np.uint8], fps: float, kind: str, record: str | None = None
) -> None:
    """Write a video to a file; see ``encode_video``. MP4 gets its index first, for the web.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    with atomic_write(path) as temporary:
        if kind in _PILLOW:
            temporary.write_bytes(encode_video(frames, fps, kind, record))
        else:
            flags = "+faststart+use_metadata_tags"
            _run_ffmpeg(frames, fps, kind, record, flags, f"file:{temporary.absolute()}")


def _run_ffmpeg(
    frames: NDArray[np.uint8],
    fps: float,
    kind: str,
    record: str | None,
    movflags: str,
    target: str,
) -> bytes:
    from imageio_ffmpeg import get_ffmpeg_exe

    frames = _even_sized(frames)
    height, width = frames.shape[1:3]
    rate = Fraction(fps).limit_denominator(1001)
    command = [
        *(get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-framerate", str(rate), "-i", "pipe:0"),
        *_REPRODUCIBLE,
        *_COLOUR,
        *(_H264 if kind == "mp4" else _VP9),
        *(("-metadata", f"{KEY}={record}") if record else ()),
        *(("-movflags", movflags) if kind == "mp4" else ()),
        *("-f", kind, target),
    ]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise OutputError(
            f"{kind}: FFmpeg could not write {len(frames)} frames of {width}x{height} "
            f"({reason[-1] if reason else f'exit {done.returncode}'}); is the disk full?"
        )
    return done.stdout


def _even_sized(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column where needed: 4:2:0 video has even sizes only."""
    height, width = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_sheet(
    target: io.BytesIO, frames: NDArray[np.uint8], fps: float, record: str | None
) -> None:
    """A contact sheet: all frames in one picture, row by row."""
    del fps
    count, height, width = frames.shape[:3]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = frame
    target.write(encode_image(sheet, "png", record))


_PILLOW: Final[dict[str, Callable[[io.BytesIO, NDArray[np.uint8], float, str | None], None]]] = {
    "gif": write_gif,
    "webp": write_webp,
    "apng": write_apng,
    "png": _write_sheet,
}
