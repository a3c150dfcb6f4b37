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
from typing import TYPE_CHECKING

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
        start: seconds from the source's first frame to the clip's; on the first tick.
    """

    frame: TimedFrame
    begins: Beginning | None
    start: Fraction

    @property
    def picture(self) -> VideoFrame:
        """The stored picture."""
        return self.frame.picture


class Timeline:
    """Fills the ticks of one clip after another."""

    def __init__(self, fps: Fraction, max_seconds: float | None) -> None:
        """Start before the first frame.

        Args:
            fps: rate of the clips.
            max_seconds: length at which a clip is full; None: never.
        """
        self._fps = fps
        self._full = max(1, _rounded(Fraction(max_seconds) * fps)) if max_seconds else None
        self._shown: TimedFrame | None = None
        self._start = Fraction(0)
        self._ticks = 0
        self._beginning: Beginning | None = None

    def feed(self, marked: Marked) -> Iterator[Tick]:
        """Yield the ticks that are certain once this frame has come."""
        if marked.beginning is not None:
            yield from self.end(marked.frame.time)
            self._start, self._ticks = marked.frame.time, 0
            self._beginning = marked.beginning
        elif self._shown is not None:
            yield from self._fill(marked.frame.time)
        self._shown = marked.frame

    def finish(self) -> Iterator[Tick]:
        """Yield the ticks of the last frame, for as long as the file says it is shown."""
        if self._shown is not None:
            yield from self.end(self._shown.time + self._shown.lasts)

    def end(self, time: Fraction) -> Iterator[Tick]:
        """Yield what is left of the clip that ends at ``time``: one tick at least."""
        if self._shown is None:
            return
        yield from self._fill(time)
        if self._beginning is not None and self._beginning != "length":
            yield self._tick()
        self._shown = None

    def _fill(self, until: Fraction) -> Iterator[Tick]:
        while self._ticks < _rounded((until - self._start) * self._fps):
            if self._full is not None and self._ticks == self._full:
                self._start += self._full / self._fps
                self._ticks, self._beginning = 0, "length"
                continue
            yield self._tick()

    def _tick(self) -> Tick:
        assert self._shown is not None, "a tick shows a frame"
        tick = Tick(self._shown, self._beginning, self._start)
        self._beginning = None
        self._ticks += 1
        return tick


def _rounded(value: Fraction) -> int:
    """Round to the nearest integer, a half up."""
    return (value + Fraction(1, 2)).__floor__()
