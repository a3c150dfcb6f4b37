"""Step clip: marked frames of uneven timing become clips of constant rate.

Each clip counts from its own first frame. A frame fills the ticks from its time, rounded, to that
of the next; so a regular video keeps every frame once, a frame that stands long is repeated, and
of several within one tick the last is taken. What is cut off by the longest length is the next
clip, down to the last frame: nothing is lost, what is too short is for the filter to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fdream.data.prep.frames import TimedFrame
from fdream.data.prep.shots import Beginning, Marked

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class Tick:
    """One picture of a clip.

    Attributes:
        frame: the source's frame that is shown.
        begins: set on the first tick of a clip: how it begins.
        start_s: seconds from the source's first frame to the clip's.
    """

    frame: TimedFrame
    begins: Beginning | None
    start_s: Fraction

    @property
    def picture(self) -> VideoFrame:
        """The stored picture."""
        return self.frame.picture


class Timeline:
    """Fills the ticks of one clip after another.

    Times are whole numbers of the video's ticks. Ticks of clips are counted in whole numbers too,
    ``position`` being a time multiplied by the clips' ticks per tick of the video.
    """

    def __init__(self, fps: Fraction, tick: Fraction, max_seconds: float | None) -> None:
        """Start before the first frame.

        Args:
            fps: rate of the clips.
            tick: seconds of one tick of the video.
            max_seconds: length at which a clip is full; None: never.
        """
        self._fps = fps
        self._up, self._down = (fps * tick).as_integer_ratio()
        self._full = None
        if max_seconds is not None:
            self._full = max(1, (Fraction(max_seconds) * fps + Fraction(1, 2)).__floor__())
        self._shown: TimedFrame | None = None
        self._position = 0
        self._ticks = 0
        self._beginning: Beginning | None = None

    def feed(self, marked: Marked) -> Iterator[Tick]:
        """Yield the ticks that are certain once this frame has come."""
        if marked.beginning is not None:
            yield from self.end(marked.frame.time)
            self._position, self._ticks = marked.frame.time * self._up, 0
            self._beginning = marked.beginning
        elif self._shown is not None:
            yield from self._fill(marked.frame.time)
        self._shown = marked.frame

    def finish(self) -> Iterator[Tick]:
        """Yield the ticks of the last frame, for as long as the file says it is shown."""
        if self._shown is not None:
            yield from self.end(self._shown.time + self._shown.lasts)

    def end(self, time: int) -> Iterator[Tick]:
        """Yield what is left of the clip that ends at ``time``: one tick at least."""
        if self._shown is None:
            return
        yield from self._fill(time)
        if self._beginning is not None and self._beginning != "length":
            yield self._tick()
        self._shown = None

    def _fill(self, until: int) -> Iterator[Tick]:
        while self._ticks < self._rounded(until):
            if self._ticks == self._full:
                self._position += self._full * self._down
                self._ticks, self._beginning = 0, "length"
                continue
            yield self._tick()

    def _rounded(self, time: int) -> int:
        """Ticks of the clip until a time, rounded to the nearest, a half up."""
        return (2 * (time * self._up - self._position) + self._down) // (2 * self._down)

    def _tick(self) -> Tick:
        assert self._shown is not None, "a tick shows a frame"
        start_s = Fraction(self._position, self._down) / self._fps if self._beginning else _ZERO
        tick = Tick(self._shown, self._beginning, start_s)
        self._beginning = None
        self._ticks += 1
        return tick


_ZERO: Final = Fraction(0)
