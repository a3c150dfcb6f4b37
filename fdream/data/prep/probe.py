"""Step probe: what a video file is, before anything of it is decoded but its first picture."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from fdream.core.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SLOWEST: Final = Fraction(1)
FASTEST: Final = Fraction(240)
_UNTIMED: Final = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})
_TRANSFERS: Final = {16: "pq", 18: "hlg"}


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video before it is decoded.

    Attributes:
        container: FFmpeg's name of the format.
        codec: FFmpeg's name of the codec.
        height: of the picture as it is meant to be seen: upright, with square pixels.
        width: likewise.
        coded_height: of the stored picture.
        coded_width: likewise.
        pixel_aspect: width of a pixel over its height.
        rotation: degrees clockwise that the file asks for.
        turn: FFmpeg's filters that stand the picture upright.
        fps: frames a second, within [1, 240].
        seconds: as the file says it; 0 where it does not.
        frames: as the file says it; 0 where it does not.
        pixels: FFmpeg's name of the pixel format.
        hdr: ``pq``, ``hlg`` or nothing.
        timed: whether the format keeps presentation times; if not, frames are evenly spaced.
    """

    container: str
    codec: str
    height: int
    width: int
    coded_height: int
    coded_width: int
    pixel_aspect: float
    rotation: int
    turn: str
    fps: Fraction
    seconds: float
    frames: int
    pixels: str
    hdr: str
    timed: bool


def probe(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoFacts:
    """Gather the facts of an open video.

    Args:
        container: as ``media.open_video`` yields it.
        stream: the one to be decoded.
        first: its first picture; only decoding tells the size and the pixel format for sure.

    Raises:
        DataError: the file asks for a rotation by an odd angle.
    """
    rotation, turn = _upright(first)
    aspect = stream.sample_aspect_ratio
    pixel_aspect = Fraction(aspect) if aspect and 0.1 <= aspect <= 10 else Fraction(1)
    width, height = square_size(first.width, first.height, pixel_aspect)
    if rotation in (90, 270):
        width, height = height, width
    duration = stream.duration and stream.time_base and float(stream.duration * stream.time_base)
    if not duration and container.duration:
        duration = container.duration / 1_000_000
    return VideoFacts(
        container=container.format.name,
        codec=stream.codec_context.name,
        height=height,
        width=width,
        coded_height=first.height,
        coded_width=first.width,
        pixel_aspect=float(pixel_aspect),
        rotation=rotation,
        turn=turn,
        fps=_rate(stream),
        seconds=max(0.0, float(duration or 0.0)),
        frames=max(0, stream.frames),
        pixels=first.format.name,
        hdr=_TRANSFERS.get(int(first.color_trc), ""),
        timed=container.format.name not in _UNTIMED,
    )


def square_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Return (width, height) with square pixels; the side that is too short grows."""
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def _rate(stream: VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate or rate <= 0:
        return Fraction(25)
    # Odd rates come from rounding in the file; x264 wants a small fraction.
    return min(max(Fraction(rate).limit_denominator(1001), SLOWEST), FASTEST)


def _upright(first: VideoFrame) -> tuple[int, str]:
    """Read the display matrix by the rules of FFmpeg's own players.

    Returns:
        Degrees clockwise in [0, 360), and the filters that turn the stored picture so.
    """
    sides: Any = first.side_data
    found = next((side for side in sides if side.type.name == "DISPLAYMATRIX"), None)
    if found is None:
        return 0, ""
    m = struct.unpack("<9i", bytes(found)[:36])
    across, down = math.hypot(m[0], m[3]), math.hypot(m[1], m[4])
    if not across or not down:
        return 0, ""
    degrees = round(math.degrees(math.atan2(m[1] / down, m[0] / across))) % 360
    match degrees:
        case 0:
            return 0, "vflip" if m[4] < 0 else ""
        case 90:
            return 90, "transpose=cclock_flip" if m[3] > 0 else "transpose=clock"
        case 180:
            flips = [name for name, value in (("hflip", m[0]), ("vflip", m[4])) if value < 0]
            return 180, ",".join(flips)
        case 270:
            return 270, "transpose=clock_flip" if m[3] < 0 else "transpose=cclock"
    raise DataError(f"asks to be turned by {degrees} degrees; only right angles are known")
