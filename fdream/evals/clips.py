"""Which frames of a video are looked at, and how they are brought to one size.

A published figure depends on both as much as on the network, so the rule is part of every
protocol. Only the frames of the window are decoded: the file's index says where they are.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from PIL import Image

from fdream.core.errors import DataError
from fdream.core.sizes import Size
from fdream.data.media import video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

Opener = Callable[[], "AbstractContextManager[InputContainer]"]
"""Opens a video from its beginning."""

Start = Literal["random", "first", "middle"]
Resize = Literal["crop", "pad", "stretch"]

_STARTS: Final = {
    "random": "start drawn by key",
    "first": "from the first frame",
    "middle": "from the middle",
}
_RESIZES: Final = {
    "crop": "short side resized, centre crop",
    "pad": "long side resized, black bars",
    "stretch": "both sides resized",
}


SQUARE: Final = Fraction(1)

DEFAULT_SIZE: Final = Size(224, 224)
"""What most networks look at, so that they need not resize again."""

# Formats that keep no presentation times, or keep some that are not to be believed: there frames
# are evenly spaced, and only decoding tells how many there are.
_UNTIMED: Final = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "flv", "mpeg"})


class ShortVideo(DataError):
    """A video has fewer frames than the window."""


@dataclass(frozen=True, slots=True)
class ClipRule:
    """A window of frames and their size.

    Attributes:
        frames: number of frames F.
        stride: frames of the video from one to the next.
        fps: frames are taken at this rate instead; None: as stored.
        size: of the frames; None: as stored.
        resize: how other sizes are brought to it.
        start: where the window lies.
        seed: of the drawn starts, together with a video's key.
    """

    frames: int = 16
    stride: int = 1
    fps: float | None = None
    size: Size | None = DEFAULT_SIZE
    resize: Resize = "crop"
    start: Start = "first"
    seed: int = 0

    def protocol(self) -> dict[str, str]:
        """Say the rule in words."""
        start = _STARTS[self.start] + (f", seed {self.seed}" if self.start == "random" else "")
        size = "as stored"
        if self.size is not None:
            size = f"{self.size}, {_RESIZES[self.resize]}, antialiased bilinear"
        rate = "as stored" if self.fps is None else f"{self.fps:g}"
        return {
            "frames": f"{self.frames}, stride {self.stride}",
            "start": start,
            "fps": rate,
            "size": size,
            "range": "uint8 RGB 0-255",
        }

    def place(self, key: str) -> float:
        """Return where in its video a window begins, 0 (first) to 1, the same for a key always."""
        if self.start != "random":
            return 0.0 if self.start == "first" else 0.5
        digest = hashlib.sha256(f"{self.seed}/window/{key}".encode()).digest()
        return int.from_bytes(digest[:6]) / 256**6


@dataclass(frozen=True, slots=True)
class Clip:
    """The frames of one video that are looked at.

    Attributes:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second of these frames.
        codec: FFmpeg's name of the codec, or ``raw``.
        flow: float32 (F-1, H, W, 2), as in ``ClipBatch``, where it is known.
        visible: bool (F-1, H, W), likewise.
    """

    frames: NDArray[np.uint8]
    fps: float
    codec: str
    flow: NDArray[np.float32] | None = None
    visible: NDArray[np.bool_] | None = None

    def frozen(self) -> Clip:
        """Return the clip as a video without motion: its first frame all along."""
        still = np.broadcast_to(self.frames[:1], self.frames.shape)
        return Clip(np.ascontiguousarray(still), self.fps, self.codec)


def read_clip(opener: Opener, rule: ClipRule, key: str, place: str) -> Clip:
    """Decode the window of a video.

    Args:
        opener: opens the video; called again where its frames have to be counted first.
        rule: which frames.
        key: of the video in its set.
        place: what to call it in messages.

    Raises:
        ShortVideo: it has too few frames.
        DataError: no video, or frames of the window that cannot be decoded.
    """
    with opener() as container:
        stream = video_stream(container, place)
        times = _frame_times(container, stream)
        if times is not None:
            wanted = _wanted(
                times, stream.time_base or Fraction(1), _rate(stream), rule, key, place
            )
            container.seek(times[wanted[0]], stream=stream)
            number: dict[int | None, int] = {time: index for index, time in enumerate(times)}
            numbered = ((number.get(f.pts, -1), f) for f in container.decode(stream))
            return _gather(numbered, wanted, stream, rule, place)
        container.seek(0)
        count = sum(1 for _ in container.decode(stream))
    with opener() as container:
        stream = video_stream(container, place)
        wanted = _wanted(range(count), 1 / Fraction(_rate(stream)), _rate(stream), rule, key, place)
        return _gather(enumerate(container.decode(stream)), wanted, stream, rule, place)


def window_of(frames: NDArray[np.uint8], fps: float, rule: ClipRule, key: str, place: str) -> Clip:
    """Take the window of frames that are in memory; the same rule as for a file."""
    wanted = _wanted(range(len(frames)), 1 / Fraction(fps), fps, rule, key, place)
    fitted = np.stack([fit_frame(frames[index], rule) for index in wanted])
    return Clip(fitted, (rule.fps or fps) / rule.stride, "raw")


def fit_frame(
    picture: NDArray[np.uint8], rule: ClipRule, pixel_aspect: Fraction = SQUARE
) -> NDArray[np.uint8]:
    """Bring one frame to the rule's size.

    Args:
        picture: uint8 (H, W, 3), upright.
        rule: the size and how to get there.
        pixel_aspect: width of a pixel over its height.

    Returns:
        uint8, of the rule's size, or as it came.
    """
    height, width = picture.shape[:2]
    size = rule.size
    if size is None:
        if pixel_aspect == 1:
            return picture
        size = Size(height, max(1, round(width * pixel_aspect)))
    if (height, width) == (size.height, size.width) and pixel_aspect == 1:
        return picture
    shown = float(width * pixel_aspect)  # with square pixels
    image = Image.fromarray(picture)
    target, box = (size.width, size.height), (0.0, 0.0, float(width), float(height))
    if rule.resize == "crop" and rule.size is not None:
        scale = max(size.height / height, size.width / shown)
        kept_w = min(width, size.width / scale * width / shown)
        kept_h = min(height, size.height / scale)
        left, top = (width - kept_w) / 2, (height - kept_h) / 2
        box = (left, top, left + kept_w, top + kept_h)
    elif rule.resize == "pad" and rule.size is not None:
        scale = min(size.height / height, size.width / shown)
        inner = (max(1, round(shown * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", target)
        corner = ((size.width - inner[0]) // 2, (size.height - inner[1]) // 2)
        canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
        return np.array(canvas)
    return np.array(image.resize(target, Image.Resampling.BILINEAR, box=box))


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _frame_times(container: InputContainer, stream: VideoStream) -> list[int] | None:
    """Read the frames' times from the file's packets, sorted; None where it does not say them."""
    if _UNTIMED & set(container.format.name.split(",")):
        return None
    times = []
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            if packet.pts is None:
                return None
            times.append(packet.pts)
    return sorted(times) if times and len(set(times)) == len(times) else None


def _wanted(
    times: Sequence[int], unit: Fraction, rate: float, rule: ClipRule, key: str, place: str
) -> list[int]:
    """Return the numbers of the frames of a window; a number repeats where fps is above theirs.

    Args:
        times: of all frames, ascending.
        unit: of the times, in seconds.
        rate: frames per second, for the length of the last one.
        rule: which frames.
        key: of the video.
        place: of the video.
    """
    count = len(times)
    if rule.fps is None:
        span = rule.stride * (rule.frames - 1) + 1
        if count < span:
            raise ShortVideo(f"{place}: {count} frames, but a window needs {span}.")
        begin = round(rule.place(key) * (count - span))
        return list(range(begin, begin + span, rule.stride))
    seconds = [float((time - times[0]) * unit) for time in times]
    length = (seconds[-1] if seconds else 0.0) + 1 / rate
    step = rule.stride / rule.fps
    span_s = step * (rule.frames - 1)
    # Half a frame of slack, since files round their times.
    if length + 0.5 / rate < span_s:
        raise ShortVideo(f"{place}: {length:.2f} s, but a window needs {span_s:.2f} s.")
    begin_s = rule.place(key) * max(0.0, length - span_s - 1 / rate)
    # A frame is shown until the next one begins.
    moments = [begin_s + step * index + 1e-6 for index in range(rule.frames)]
    return [max(0, bisect_right(seconds, moment) - 1) for moment in moments]


def _gather(
    numbered: Iterator[tuple[int, VideoFrame]],
    wanted: list[int],
    stream: VideoStream,
    rule: ClipRule,
    place: str,
) -> Clip:
    """Decode no further than the window, and keep its frames at the rule's size."""
    needed, last = set(wanted), max(wanted)
    found: dict[int, NDArray[np.uint8]] = {}
    for index, frame in numbered:
        if index in needed:
            found[index] = _picture(frame, stream, rule, place)
        if index >= last:
            break
    missing = sorted(needed - set(found))
    if missing:
        raise DataError(
            f"{place}: {len(missing)} of {len(needed)} frames of its window cannot be decoded "
            f"(the first is frame {missing[0]})."
        )
    if len({picture.shape for picture in found.values()}) > 1:
        raise DataError(f"{place}: the picture changes its size midway.")
    frames = np.stack([found[index] for index in wanted])
    fps = rule.fps if rule.fps is not None else _rate(stream)
    return Clip(frames, fps / rule.stride, stream.codec_context.name)


def _picture(
    frame: VideoFrame, stream: VideoStream, rule: ClipRule, place: str
) -> NDArray[np.uint8]:
    picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    aspect = stream.sample_aspect_ratio
    pixel_aspect = Fraction(aspect) if aspect and 0.1 <= aspect <= 10 else Fraction(1)
    turn = round(frame.rotation) % 360  # counter-clockwise, what the file asks for
    if turn % 90:
        raise DataError(f"{place}: asks to be turned by {turn} degrees; only right angles are.")
    if turn:
        picture = np.ascontiguousarray(np.rot90(picture, turn // 90))
    return fit_frame(picture, rule, pixel_aspect if turn % 180 == 0 else 1 / pixel_aspect)
