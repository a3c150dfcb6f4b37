"""Step cut: where one shot ends and the next begins, by PySceneDetect's own detectors.

The library's scene manager reads files itself; here the pictures come from our one opener, as they
are decoded, so a file is decoded once for cutting and clipping together. The detectors see what
they would see there: a small copy of each picture, 256 pixels on its longer side.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import numpy as np
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import AdaptiveDetector, ThresholdDetector

from fdream.data.prep.frames import TimedFrame

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from fdream.core.prep_recipe import CutTable

Beginning = Literal["start", "cut", "fade", "length", "span"]
"""How a clip begins: with the file, at a cut, after black, where the one before was full, or where
the input says."""

_LONGER_SIDE: Final = 256
_EIGHT_BIT_PLANES: Final = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"}
)
_FULL_RANGE: Final = 2
# Full range to that of video, which OpenCV takes 4:2:0 to have.
_LUMA: Final = (np.arange(256) * 219 / 255 + 16).round().astype(np.uint8)
_CHROMA: Final = ((np.arange(256) - 128) * 224 / 255 + 128).round().astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Marked:
    """A frame of which it is known whether a shot begins with it."""

    frame: TimedFrame
    beginning: Beginning | None


class ShotDetector:
    """Marks the frames with which shots begin; a frame leaves it a little later than it came."""

    def __init__(self, options: CutTable, fps: Fraction, tick: Fraction) -> None:
        """Start before the first frame.

        Args:
            options: the recipe's ``[cut]``.
            fps: mean rate of the video.
            tick: seconds of one tick of the video.
        """
        self._fps, self._tick = fps, tick
        self._adaptive = _QuickAdaptiveDetector(
            adaptive_threshold=options.threshold,
            min_scene_len=options.min_seconds,
            window_width=options.window,
            min_content_val=options.min_content,
        )
        self._fades = None
        if options.fades:
            # fade_bias 1: the cut stands where the picture comes back, the frame just seen.
            self._fades = ThresholdDetector(
                options.fade_level, min_scene_len=options.min_seconds, fade_bias=1.0
            )
        self._window = options.window
        self._waiting: deque[tuple[TimedFrame, FrameTimecode]] = deque()
        self._cuts: dict[int, Beginning] = {0: "start"}

    def feed(self, frame: TimedFrame) -> list[Marked]:
        """Look at the next frame and return those that are decided."""
        small = small_copy(frame.picture)
        now = FrameTimecode(Timecode(pts=frame.time, time_base=self._tick), self._fps)
        self._waiting.append((frame, now))
        # It asks for the mean level alone, which OpenCV finds sooner.
        mean = np.array(cv2.mean(small)[:3])
        if self._fades is not None and self._fades.process_frame(now, mean):
            self._cuts[frame.number] = "fade"
        for cut in self._adaptive.process_frame(now, small):
            number = next(waiting.number for waiting, at in self._waiting if at == cut)
            self._cuts[number] = "cut"
        return self._release(keep=self._window)

    def finish(self) -> list[Marked]:
        """Return what is still undecided at the end: no cut can come any more."""
        return self._release(keep=0)

    def _release(self, keep: int) -> list[Marked]:
        decided = []
        while len(self._waiting) > keep:
            frame, _ = self._waiting.popleft()
            decided.append(Marked(frame, self._cuts.pop(frame.number, None)))
        return decided


class _QuickAdaptiveDetector(AdaptiveDetector):
    """The library's detector with its sum of differences taken by OpenCV: the same number.

    The library widens every plane to 32 bits first, which is a tenth of all the work on a frame.
    """

    _last_frame: Any  # the library keeps three planes there, we one picture

    def _calculate_frame_score(
        self, timecode: FrameTimecode, frame_img: NDArray[np.uint8]
    ) -> float:
        del timecode
        hsv = cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV)
        before, self._last_frame = self._last_frame, hsv
        if before is None:
            return 0.0
        # Hue, saturation and luma weigh the same, so their mean is that of all values.
        return float(cv2.norm(hsv, before, cv2.NORM_L1) / hsv.size)


def small_copy(picture: VideoFrame) -> NDArray[np.uint8]:
    """Scale a picture down as PySceneDetect does, in BGR, without converting all of it first.

    Interpolation and the conversion of colours are both linear, so their order does not matter
    but for rounding; sampling the planes first costs a tenth.

    Returns:
        uint8 (h, w, 3), its longer side at most 256, both sides even.
    """
    if picture.format.name not in _EIGHT_BIT_PLANES:
        picture = picture.reformat(format="yuv420p")
    factor = max(1.0, max(picture.width, picture.height) / _LONGER_SIDE)
    width, height = (max(2, round(s / factor / 2) * 2) for s in (picture.width, picture.height))
    # One array of all planes, as OpenCV wants 4:2:0.
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    cv2.resize(plane_array(picture, 0), (width, height), luma, interpolation=cv2.INTER_LINEAR)
    for index in range(1, len(picture.planes)):
        plane = plane_array(picture, index)
        size = width // 2, height // 2
        cv2.resize(plane, size, chroma[index - 1], interpolation=cv2.INTER_LINEAR)
    if picture.format.name.startswith(("yuvj", "gray")) or int(picture.color_range) == _FULL_RANGE:
        cv2.LUT(luma, _LUMA, luma)
        cv2.LUT(chroma, _CHROMA, chroma)
    return cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)


def plane_array(picture: VideoFrame, index: int) -> NDArray[np.uint8]:
    """Return one plane of an 8-bit planar picture without copying it, uint8 (h, w)."""
    plane = picture.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
