"""One source from file to clips, in one pass over its frames; runs in a worker process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from fdream.core.errors import DataError, OutputError
from fdream.core.prep_recipe import MeasureTable, PrepRecipe
from fdream.data.media import open_video, video_stream
from fdream.data.prep.clip_maker import ClipMaker, FinishedClip
from fdream.data.prep.fetching import FetchError, fetch
from fdream.data.prep.frames import TimedFrame, TimedVideo
from fdream.data.prep.pictures import PictureMaker, frame_picture
from fdream.data.prep.probe import VideoFacts
from fdream.data.prep.shots import Marked, ShotDetector
from fdream.data.prep.sources.rows import SourceRow, Span
from fdream.data.prep.timeline import Timeline
from fdream.data.shards.members import Member, read_member
from fdream.data.shards.reader import open_archive

# A span names a time; the frame meant may begin a rounding error before it.
_SOON: Final = 0.002
_PLACE: Final = "the file"
# Decoder, detector, scaler and encoder take turns on so many frames, not on each: their code and
# data stay in the processor's cache, which saves a sixth of the time. Large frames come fewer.
_AT_ONCE: Final = 16
_AT_ONCE_PIXELS: Final = 32 << 20
_NOTHING: Final = MeasureTable(motion=False, light=False, text=False, hash=False)

Step = Literal["probe", "cut", "measure", "clip"]
"""Steps of one source, each after those before it."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A finished clip whose video lies in a file.

    Attributes:
        clip: without its video.
        file: of the video; None where it is the source's own file.
        span: the number of the input's span that it belongs to; None where it was cut.
    """

    clip: FinishedClip
    file: Path | None
    span: int | None


@dataclass(slots=True)
class SourceResult:
    """What became of one source.

    Attributes:
        facts: None where it could not be probed.
        file: the source itself, as far as it is a local file.
        clips: in order; none where there is a problem.
        problem: why it goes to quarantine; empty where it does not.
        fetched: False where the problem is that it could not be had.
        empty_spans: numbers of spans that hold no frame.
    """

    facts: VideoFacts | None = None
    file: Path | None = None
    clips: list[StoredClip] = field(default_factory=list)
    problem: str = ""
    fetched: bool = True
    empty_spans: list[int] = field(default_factory=list)


def clip_source(
    row: SourceRow, recipe: PrepRecipe, spool: Path, until: Step = "clip"
) -> SourceResult:
    """Make the clips of a source.

    Args:
        row: the source.
        recipe: what to do with it.
        spool: folder for the clips, made here and for this source alone.
        until: the last step wanted; before ``clip`` nothing is encoded.

    Raises:
        OutputError: the clips cannot be written; that is no fault of the source.
    """
    if row.problem:
        return SourceResult(problem=row.problem, fetched=False)
    result = SourceResult()
    try:
        spool.mkdir(parents=True, exist_ok=True)
        with _opened(row, recipe, spool) as file:
            result.file = file
            _clip(row, recipe, file, spool, result, until)
    except FetchError as error:
        return SourceResult(problem=str(error), fetched=False)
    except DataError as error:
        reason = str(error).removeprefix(f"{_PLACE}: ").rstrip(".")
        return SourceResult(facts=result.facts, problem=reason)
    return result


def _clip(
    row: SourceRow,
    recipe: PrepRecipe,
    file: Path,
    spool: Path,
    result: SourceResult,
    until: Step,
) -> None:
    with open_video(file, _PLACE) as container:
        stream = video_stream(container, _PLACE)
        video = TimedVideo(container, stream, recipe.limits.gap_seconds)
        result.facts = facts = video.facts
        if until == "probe":
            return
        size = recipe.resize.model_copy(update={"use": recipe.resize.use and recipe.clip.use})
        maker = PictureMaker(stream, video.first, facts, frame_picture(facts, size))
        clipper = _Clipper(recipe, video, maker, spool, result, until)
        keeps_file = until == "clip" and not recipe.clip.use
        if keeps_file or not (row.spans or recipe.cut.use):
            clipper.whole()
        elif row.spans:
            clipper.along_spans(row.spans)
        else:
            clipper.along_shots()


@contextmanager
def _opened(row: SourceRow, recipe: PrepRecipe, spool: Path) -> Iterator[Path]:
    """Yield the file of a source: its own, or a copy of what lies in an archive or elsewhere."""
    limit = recipe.limits.file_mb << 20
    if row.remote:
        yield fetch(row.path, spool / f"fetched.{row.suffix}", limit)
        return
    if row.size is not None and row.size > limit:
        raise DataError(f"{row.size >> 20} MiB; limits.file_mb is {recipe.limits.file_mb}")
    if row.size == 0:
        raise DataError("an empty file")
    if row.offset is None or row.size is None:
        yield Path(row.path)
        return
    copy = spool / f"member.{row.suffix}"
    with open_archive(row.path) as archive:
        member = Member(row.id, row.suffix, row.offset, row.size)
        copy.write_bytes(read_member(archive, member, row.url))
    yield copy


class _Clipper:
    """Makes the clips of one open source."""

    def __init__(
        self,
        recipe: PrepRecipe,
        video: TimedVideo,
        maker: PictureMaker,
        spool: Path,
        result: SourceResult,
        until: Step,
    ) -> None:
        self._until = until
        self._recipe, self._video, self._maker = recipe, video, maker
        self._spool, self._result = spool, result
        wanted = recipe.clip.fps if recipe.clip.use else None
        self._fps = Fraction(wanted).limit_denominator(1001) if wanted else video.facts.fps

    def along_shots(self) -> None:
        """Cut where shots do."""
        clips, timeline = self._clips(None), self._timeline()
        detector = ShotDetector(self._recipe.cut, self._video.facts.fps, self._video.tick)
        for frames in self._batches():
            decided = [marked for frame in frames for marked in detector.feed(frame)]
            clips.take(tick for marked in decided for tick in timeline.feed(marked))
        clips.take(tick for marked in detector.finish() for tick in timeline.feed(marked))
        clips.take(timeline.finish())
        clips.finish()

    def along_spans(self, spans: tuple[Span, ...]) -> None:
        """Cut where the input says; spans may overlap, so each has a timeline of its own."""
        waiting = sorted(range(len(spans)), key=lambda n: spans[n].start_s, reverse=True)
        starts = [math.ceil((span.start_s - _SOON) / self._video.tick) for span in spans]
        ends = [math.ceil((span.end_s - _SOON) / self._video.tick) for span in spans]
        active: dict[int, tuple[Timeline, ClipMaker]] = {}

        def end(number: int, time: int) -> None:
            timeline, clips = active.pop(number)
            clips.take(timeline.end(min(time, round(spans[number].end_s / self._video.tick))))
            clips.finish()

        last = 0
        for frame in self._video.frames():
            last = frame.time + frame.lasts
            for number in [n for n in active if frame.time >= ends[n]]:
                end(number, frame.time)
            for timeline, clips in active.values():
                clips.take(timeline.feed(Marked(frame, None)))
            while waiting and frame.time >= starts[waiting[-1]]:
                number = waiting.pop()
                if frame.time >= ends[number]:
                    self._result.empty_spans.append(number)
                    continue
                active[number] = self._timeline(), self._clips(number)
                active[number][1].take(active[number][0].feed(Marked(frame, "span")))
        for number in list(active):
            end(number, last)
        self._result.empty_spans += waiting

    def whole(self) -> None:
        """Make one clip of everything."""
        clips, timeline = self._clips(None), self._timeline()
        for frames in self._batches():
            marks = (Marked(frame, None if frame.number else "start") for frame in frames)
            clips.take(tick for marked in marks for tick in timeline.feed(marked))
        clips.take(timeline.finish())
        clips.finish()

    def _batches(self) -> Iterator[list[TimedFrame]]:
        first = self._video.first
        number = min(_AT_ONCE, max(1, _AT_ONCE_PIXELS // (first.width * first.height)))
        frames = self._video.frames()
        while batch := list(islice(frames, number)):
            yield batch

    def _timeline(self) -> Timeline:
        clip = self._recipe.clip
        longest = clip.max_seconds if clip.use else None
        return Timeline(self._fps, self._video.tick, longest)

    def _clips(self, span: int | None) -> ClipMaker:
        def store(clip: FinishedClip) -> None:
            file = self._spool / f"{len(self._result.clips):05d}.mp4"
            if clip.video is not None:
                _write(file, clip.video)
            stored = file if clip.video is not None else None
            self._result.clips.append(StoredClip(replace(clip, video=None), stored, span))

        return ClipMaker(
            self._maker,
            self._fps,
            self._recipe.clip if self._until == "clip" and self._recipe.clip.use else None,
            self._recipe.measure if self._until != "cut" else _NOTHING,
            store,
        )


def _write(file: Path, video: bytes) -> None:
    try:
        file.write_bytes(video)
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}; make room there.") from error
