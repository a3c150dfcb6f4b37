"""From the ticks of a timeline to finished clips: pictures are made, measured and encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fdream.data.prep.clip_encoder import ClipEncoder
from fdream.data.prep.measures import ClipMeasures
from fdream.data.prep.pictures import PictureMaker
from fdream.data.prep.timeline import Tick

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from fdream.core.prep_recipe import ClipTable, MeasureTable


@dataclass(frozen=True, slots=True)
class FinishedClip:
    """One clip.

    Attributes:
        begins: how it begins, see ``shots.Beginning``.
        start_s: seconds from the source's first frame.
        num_frames: of the clip.
        fps: its rate.
        height: of its pictures.
        width: likewise.
        video: the encoded file; None where the source's own bytes are kept.
        figures: what was measured, by the names of ``samples.Sample``.
    """

    begins: str
    start_s: float
    num_frames: int
    fps: float
    height: int
    width: int
    video: bytes | None
    figures: dict[str, Any]


class ClipMaker:
    """Makes the clips of one source, one after another, and hands each on as it is finished."""

    def __init__(
        self,
        maker: PictureMaker,
        fps: Fraction,
        encode: ClipTable | None,
        measure: MeasureTable,
        deliver: Callable[[FinishedClip], None],
    ) -> None:
        """Start without a clip.

        Args:
            maker: makes pictures of the wanted size.
            fps: rate of the clips.
            encode: how clips are encoded; None: they are not.
            measure: what is measured on them.
            deliver: called with every clip in order.
        """
        self._maker, self._fps, self._deliver = maker, fps, deliver
        self._encode, self._measure = encode, measure
        self._encoder: ClipEncoder | None = None
        self._measures: ClipMeasures | None = None
        self._begins, self._start, self._frames = "", Fraction(0), 0
        self._made: tuple[int, VideoFrame] | None = None
        self._ready: list[VideoFrame] = []

    def take(self, ticks: Iterable[Tick]) -> None:
        """Add ticks; one that begins a clip finishes the one before.

        All their pictures are made before the first is encoded, see ``clipping``.
        """
        for tick in ticks:
            if tick.begins is not None:
                self.finish()
                self._open(tick)
            assert self._measures is not None, "the first tick begins a clip"
            if self._encoder is not None or self._measures.wants(self._frames):
                picture = self._picture(tick)
                self._measures.look(self._frames, picture)
                if self._encoder is not None:
                    self._ready.append(picture)
            self._frames += 1
        self._encode_ready()

    def finish(self) -> None:
        """Hand on the clip in the making, if there is one."""
        if self._measures is None:
            return
        self._encode_ready()
        video = None if self._encoder is None else self._encoder.finish()
        figures = self._measures.figures()
        self._encoder = self._measures = None
        self._deliver(
            FinishedClip(
                begins=self._begins,
                start_s=float(self._start),
                num_frames=self._frames,
                fps=float(self._fps),
                height=self._maker.height,
                width=self._maker.width,
                video=video,
                figures=figures,
            )
        )

    def _encode_ready(self) -> None:
        for picture in self._ready:
            assert self._encoder is not None, "pictures are kept for an encoder alone"
            self._encoder.add(picture)
        self._ready.clear()

    def _open(self, tick: Tick) -> None:
        self._begins, self._start, self._frames = str(tick.begins), tick.start_s, 0
        self._measures = ClipMeasures(self._measure, self._fps)
        if self._encode is not None:
            self._encoder = ClipEncoder(self._maker, self._fps, self._encode)

    def _picture(self, tick: Tick) -> VideoFrame:
        """Make the picture of a tick, once for all ticks that show it."""
        if self._made is None or self._made[0] != tick.frame.number:
            self._made = tick.frame.number, self._maker.make(tick.picture)
        return self._made[1]
