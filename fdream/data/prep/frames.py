"""The pictures of a video in order, each with the time at which it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fdream.core.errors import DataError
from fdream.core.limits import MAX_PIXELS
from fdream.data.prep.probe import VideoFacts, probe

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# A file that promises so much more than it holds was cut off; encoders miscount by a frame or two.
_PROMISE_KEPT: Final = 0.9


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded picture.

    Attributes:
        number: in decoding order, from 0.
        time: when it is shown, in the video's ticks since the first picture.
        lasts: for how many ticks the file says it is shown; 0 where it does not.
        picture: as stored: not turned, not scaled.
    """

    number: int
    time: int
    lasts: int
    picture: VideoFrame


class TimedVideo:
    """An open video, probed and ready to be decoded once.

    Attributes:
        first: its first picture.
        facts: what is known of it.
        tick: seconds of one tick; times are counted in whole ticks, so they are exact.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, gap_s: float) -> None:
        """Decode the first picture and gather the facts.

        Args:
            container: as ``media.open_video`` yields it.
            stream: as ``media.video_stream`` chooses it.
            gap_s: longest time that one picture may stand.

        Raises:
            DataError: no picture can be decoded, or the facts are refused.
        """
        # One thread: clips must not depend on timing, and parallelism comes from processes.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._pictures = container.decode(stream)
        # A file cut out of a stream begins with pictures whose references lie before it.
        first = next((picture for picture in self._pictures if not picture.is_corrupt), None)
        if first is None:
            raise DataError("holds no readable picture")
        self.first: VideoFrame = first
        self.facts: VideoFacts = probe(container, stream, first)
        base = first.time_base if self.facts.timed and first.pts is not None else None
        self._timed = base is not None
        self.tick = 1 / self.facts.fps if base is None else Fraction(base)
        self._longest = int(gap_s / self.tick)

    def frames(self) -> Iterator[TimedFrame]:
        """Yield every picture; once.

        Raises:
            DataError: a picture is damaged or of another size, time runs backwards or stands too
                long, or the file ends long before it says so.
        """
        size = self.first.width, self.first.height
        start, before, number = self.first.pts or 0, -1, 0
        picture: VideoFrame | None = self.first
        while picture is not None:
            if picture.is_corrupt:
                raise DataError(f"frame {number} is damaged")
            if (picture.width, picture.height) != size:
                raise DataError(f"the picture changes its size at frame {number}")
            time = number if not self._timed or picture.pts is None else picture.pts - start
            if time <= before:
                raise DataError(f"time runs backwards at frame {number}")
            if time - before > self._longest and number:
                stood = float((time - before) * self.tick)
                raise DataError(f"frame {number - 1} stands for {stood:.0f} s")
            yield TimedFrame(number, time, self._lasts(picture), picture)
            before, number = time, number + 1
            picture = next(self._pictures, None)
        if number < self.facts.frames * _PROMISE_KEPT:
            raise DataError(f"ends after {number} of the {self.facts.frames} frames it promises")

    def _lasts(self, picture: VideoFrame) -> int:
        return min(picture.duration or 0, self._longest) if self._timed else 1
