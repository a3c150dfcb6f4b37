"""Write pictures and videos: deterministic, whole or not at all, with their record inside.

Same frames, same machine, same bytes: one encoder thread, no time stamps, no version strings. A
file is written beside its destination and renamed, so a crash leaves the old file or none. FFmpeg
gets raw frames on its standard input and never a file name that came from outside.
"""

from __future__ import annotations

import io
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from fdream.core.errors import OutputError
from fdream.core.paths import atomic_write
from fdream.data.animations import ANIMATIONS
from fdream.data.encoding import CODECS, DEFAULT_QUALITY, FOLDER, Encoding
from fdream.data.metadata import KEY, png_text, xmp_packet
from fdream.data.still_frames import is_frame_folder, join_sheet, write_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENCODER: Final = {
    "h264": ("-c:v", "libx264", "-preset", "slow"),
    "vp9": (
        *("-c:v", "libvpx-vp9", "-b:v", "0"),
        *("-deadline", "good", "-cpu-used", "2", "-row-mt", "0"),
    ),
    # libaom, the other encoder of AV1, tells its header too late for a pipe.
    "av1": ("-c:v", "librav1e", "-speed", "6", "-rav1e-params", "threads=1"),
}

# Quality on the codec's own scale, straight between these points: 75 meets what is usual for each
# (CRF 23, CRF 31, quantizer 100). Above the upper end files grow for differences that nobody sees,
# and H.264 without any loss (CRF 0) is of a profile that browsers do not play.
_QUALITY: Final = (1, 90, 100)
_SCALE: Final = {
    "h264": ("-crf", (51, 17, 8)),
    "vp9": ("-crf", (63, 24, 12)),
    "av1": ("-qp", (255, 70, 40)),
}

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


def encode_image(pixels: NDArray[np.uint8], encoding: Encoding, record: str | None = None) -> bytes:
    """Encode one picture, without loss unless a quality was asked for.

    Args:
        pixels: uint8 (H, W, 3), RGB.
        encoding: its kind is one of ``IMAGE_FORMATS``.
        record: the metadata, JSON text; None writes none.
    """
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if encoding.kind == "png":
        image.save(buffer, "PNG", pnginfo=png_text(record))
    else:
        lossless = encoding.quality is None
        quality = DEFAULT_QUALITY if encoding.quality is None else encoding.quality
        packet = xmp_packet(record) if record else b""
        image.save(buffer, "WEBP", lossless=lossless, quality=quality, exact=True, xmp=packet)
    return buffer.getvalue()


def encode_video(
    frames: NDArray[np.uint8], fps: float, encoding: Encoding, record: str | None = None
) -> bytes:
    """Encode a video for a pipe; MP4 is fragmented, so that a reader may start before the end.

    Args:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second.
        encoding: its kind is one of ``VIDEO_FORMATS`` that is no folder.
        record: the metadata, JSON text; None writes none.
    """
    if encoding.kind in ANIMATIONS:
        return ANIMATIONS[encoding.kind](frames, fps, encoding, record)
    if encoding.kind == "png":
        return encode_image(join_sheet(frames), encoding, record)
    flags = "+frag_keyframe+empty_moov+default_base_moof+use_metadata_tags"
    return _run_ffmpeg(frames, fps, encoding, record, flags, "pipe:1")


def save_image(
    path: Path, pixels: NDArray[np.uint8], encoding: Encoding, record: str | None = None
) -> None:
    """Write one picture to a file; see ``encode_image``.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_image(pixels, encoding, record))


def save_video(
    path: Path,
    frames: NDArray[np.uint8],
    fps: float,
    encoding: Encoding,
    record: str | None = None,
) -> None:
    """Write a video to a file or a folder of frames; see ``encode_video``.

    MP4 gets its index first, for the web. A folder that an earlier run filled is replaced as a
    whole, as a file is; one that holds anything else is never touched.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    replace = encoding.kind == FOLDER and is_frame_folder(path)
    with atomic_write(path, replace_folder=replace) as temporary:
        if encoding.kind == FOLDER:
            write_frames(temporary, frames, record)
        elif encoding.kind in CODECS:
            flags = "+faststart+use_metadata_tags"
            _run_ffmpeg(frames, fps, encoding, record, flags, f"file:{temporary.absolute()}")
        else:
            temporary.write_bytes(encode_video(frames, fps, encoding, record))


def _run_ffmpeg(
    frames: NDArray[np.uint8],
    fps: float,
    encoding: Encoding,
    record: str | None,
    movflags: str,
    target: str,
) -> bytes:
    from imageio_ffmpeg import get_ffmpeg_exe

    frames = _even_sized(frames)
    kind, (height, width) = encoding.kind, frames.shape[1:3]
    rate = Fraction(fps).limit_denominator(1001)
    quality = DEFAULT_QUALITY if encoding.quality is None else encoding.quality
    codec = encoding.codec or CODECS[kind][0]
    scale, points = _SCALE[codec]
    command = [
        *(get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-framerate", str(rate), "-i", "pipe:0"),
        *_REPRODUCIBLE,
        *_COLOUR,
        *_ENCODER[codec],
        *(scale, str(round(np.interp(quality, _QUALITY, points)))),
        *(("-metadata", f"{KEY}={record}") if record else ()),
        *(("-movflags", movflags) if kind == "mp4" else ()),
        *("-f", kind, target),
    ]
    try:
        raw = np.ascontiguousarray(frames).reshape(-1).data  # no second copy of the video
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
    except OSError as error:
        # Windows takes 32,767 characters of command, half of the largest record.
        raise OutputError(
            f"{kind}: FFmpeg could not be started ({error.strerror or error}); if the prompt is "
            "very long, pass --no-metadata or --format gif."
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        # Without the addresses of its own parts that FFmpeg puts first.
        reason = re.sub(r"^(\[[^]]*\] )+", "", said[-1]) if said else f"exit {done.returncode}"
        raise OutputError(
            f"{kind}: FFmpeg could not write {len(frames)} frames of {width}x{height} ({reason}); "
            "make room, or choose another place with -o."
        )
    return done.stdout


def _even_sized(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column where needed: 4:2:0 video has even sizes only."""
    height, width = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
