"""One pass over a set: every video is decoded once, and every metric looks at it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fdream.core.errors import DataError, OutputError
from fdream.evals.clips import Clip, ClipRule
from fdream.evals.row_store import Columns, RowStore, row_name
from fdream.evals.sets import Source
from fdream.stages.interfaces import ClipBatch, Metric

if TYPE_CHECKING:
    from fdream.core.report import Reporter

Kind = Literal["clip", "frozen"]

_FACTS: Final = "facts.jsonl"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A video that could not be measured, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pass:
    """How a set is gone through.

    Attributes:
        rule: which frames.
        metrics: by name.
        cache: folder of the rows.
        batch_size: clips that a metric sees together.
        workers: threads that decode.
        frozen: metrics that also look at the clip frozen at its first frame.
    """

    rule: ClipRule
    metrics: Mapping[str, Metric]
    cache: Path
    batch_size: int = 8
    workers: int = 2
    frozen: frozenset[str] = frozenset()


@dataclass(slots=True)
class Measured:
    """What is known of a set after the pass.

    Attributes:
        keys: of the videos measured, in drawn order.
        contents: their content hashes, in the same order.
        columns: by metric and kind.
        fps: how many clips have which rate.
        codecs: how many clips are of which codec.
        sizes: how many clips are of which size, ``WIDTHxHEIGHT``.
        rejected: the others, and why.
    """

    keys: list[str]
    contents: list[str]
    columns: dict[tuple[str, Kind], Columns]
    fps: Counter[str] = field(default_factory=Counter)
    codecs: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)

    def content_hash(self) -> str:
        """Return what identifies the set, whatever the order of its videos."""
        joined = "\n".join(sorted(self.contents))
        return hashlib.sha256(joined.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Task:
    source: Source
    content: str
    captions: bool

    def row(self, rule: ClipRule, kind: Kind, caption: str) -> str:
        # A row that read the caption is another where the caption is another.
        name = f"{self.content}/{caption}" if caption else self.content
        return row_name(name, rule.place(self.source.key), kind)


@dataclass(frozen=True, slots=True)
class _Decoded:
    task: _Task
    caption: str
    clip: Clip


class SetMeasurer:
    """Measures sets, one after another, with the same metrics and stores."""

    def __init__(self, job: Pass, reporter: Reporter) -> None:
        self.job = job
        self._reporter = reporter
        self._facts: dict[str, dict[str, str]] = {}
        self._stores = {
            name: RowStore(job.cache, name, {**metric.protocol(), **_shape_of(job.rule)})
            for name, metric in job.metrics.items()
        }
        self._facts_file = job.cache / f"clips-{_hash(_shape_of(job.rule))}" / _FACTS
        self._load_facts()

    def measure(self, sources: Sequence[Source], wanted: int | None, title: str) -> Measured:
        """Measure a set in its order, until as many videos as wanted are measured.

        Args:
            sources: in drawn order.
            wanted: how many videos; None: all.
            title: what to call the set on the progress bar.
        """
        found = Measured([], [], {})
        rows: dict[tuple[str, Kind], list[str]] = {pair: [] for pair in self._wanted_rows()}
        total = len(sources) if wanted is None else min(wanted, len(sources))
        batch: list[_Decoded] = []
        with self._reporter.progress(total, title) as bar:
            for outcome in self._arrive(sources):
                if isinstance(outcome, Rejected):
                    found.rejected.append(outcome)
                    continue
                task, caption, decoded = outcome
                found.keys.append(task.source.key)
                found.contents.append(task.content)
                for name, kind in rows:
                    rows[name, kind].append(self._row_of(name, kind, task, caption))
                if decoded is not None:
                    batch = self._collect(batch, _Decoded(task, caption, decoded))
                bar.update(1)
                if wanted is not None and len(found.keys) >= wanted:
                    break
            self._measure_batch(batch)
        for store in self._stores.values():
            store.flush()
        for (name, kind), names in rows.items():
            if names:
                found.columns[name, kind] = self._stores[name].rows(names)
        for content, key in zip(found.contents, found.keys, strict=True):
            fact = self._facts[self._fact_name(content, key)]
            found.fps[fact["fps"]] += 1
            found.codecs[fact["codec"]] += 1
            found.sizes[fact["size"]] += 1
        return found

    def _wanted_rows(self) -> Iterator[tuple[str, Kind]]:
        for name in self.job.metrics:
            yield name, "clip"
            if name in self.job.frozen:
                yield name, "frozen"

    def _row_of(self, name: str, kind: Kind, task: _Task, caption: str) -> str:
        reads = "captions" in self.job.metrics[name].needs
        return task.row(self.job.rule, kind, caption if reads else "")

    def _arrive(
        self, sources: Sequence[Source]
    ) -> Iterator[Rejected | tuple[_Task, str, Clip | None]]:
        """Yield each source's outcome in order; decoding runs ahead in threads, but not far."""
        ahead = self.job.workers + self.job.batch_size
        waiting: deque[Future[Rejected | tuple[_Task, str, Clip | None]]] = deque()
        with ThreadPoolExecutor(self.job.workers, thread_name_prefix="decode") as pool:
            try:
                for source in sources:
                    waiting.append(pool.submit(self._prepare, source))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _prepare(self, source: Source) -> Rejected | tuple[_Task, str, Clip | None]:
        """Decode a source, unless all that is asked of it is known already."""
        try:
            task = _Task(source, source.content(), self._reads_captions())
            caption = source.caption() if task.captions else ""
            known = self._fact_name(task.content, source.key) in self._facts
            if known and not self._missing(task, caption):
                return task, caption, None
            clip = source.read(self.job.rule)
        except DataError as error:
            # A result travels, and where a set lies on this machine is nobody's business.
            return Rejected(source.key, str(error).replace(source.place, source.key))
        return task, caption, clip

    def _reads_captions(self) -> bool:
        return any("captions" in metric.needs for metric in self.job.metrics.values())

    def _missing(self, task: _Task, caption: str) -> list[tuple[str, Kind]]:
        return [
            (name, kind)
            for name, kind in self._wanted_rows()
            if self._row_of(name, kind, task, caption) not in self._stores[name]
        ]

    def _collect(self, batch: list[_Decoded], decoded: _Decoded) -> list[_Decoded]:
        """Add a clip to the batch; a full one, or one of another size, is measured first."""
        if batch and batch[0].clip.frames.shape != decoded.clip.frames.shape:
            self._measure_batch(batch)
            batch = []
        batch.append(decoded)
        if len(batch) == self.job.batch_size:
            self._measure_batch(batch)
            batch = []
        return batch

    def _measure_batch(self, batch: list[_Decoded]) -> None:
        for name, kind in self._wanted_rows():
            part = [
                item
                for item in batch
                if self._row_of(name, kind, item.task, item.caption) not in self._stores[name]
            ]
            if part:
                self._measure_part(name, kind, part)
        self._remember(batch)

    def _measure_part(self, name: str, kind: Kind, part: list[_Decoded]) -> None:
        clips = [item.clip.frozen() if kind == "frozen" else item.clip for item in part]
        flows = [clip.flow for clip in clips]
        visible = [clip.visible for clip in clips]
        columns = self.job.metrics[name].measure(
            ClipBatch(
                frames=np.stack([clip.frames for clip in clips]),
                captions=[item.caption for item in part],
                fps=[clip.fps for clip in clips],
                flow=None if any(f is None for f in flows) else np.stack(flows),  # type: ignore[arg-type]
                visible=None if any(v is None for v in visible) else np.stack(visible),  # type: ignore[arg-type]
            )
        )
        for column, values in columns.items():
            finite = np.isfinite(values.reshape(len(part), -1)).all(axis=1)
            if not finite.all():
                place = part[int(np.argmin(finite))].task.source.place
                raise DataError(
                    f"{place}: {name} measures {column} values that are not finite; no figure can "
                    "be made of them. Try --dtype float32, or leave the video out."
                )
        names = [self._row_of(name, kind, item.task, item.caption) for item in part]
        self._stores[name].add(names, columns)

    def _fact_name(self, content: str, key: str) -> str:
        return row_name(content, self.job.rule.place(key), "clip")

    def _remember(self, batch: Iterable[_Decoded]) -> None:
        lines = []
        for item in batch:
            name = self._fact_name(item.task.content, item.task.source.key)
            if name not in self._facts:
                height, width = item.clip.frames.shape[1:3]
                rate = f"{item.clip.fps:.3f}".rstrip("0").rstrip(".")
                fact = {"fps": rate, "codec": item.clip.codec, "size": f"{width}x{height}"}
                self._facts[name] = fact
                lines.append(json.dumps({"row": name, **fact}))
        if not lines:
            return
        try:
            self._facts_file.parent.mkdir(parents=True, exist_ok=True)
            with self._facts_file.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise OutputError(
                f"cannot write {self._facts_file}: {error.strerror}. Make room, or choose another "
                "cache with FDREAM_CACHE."
            ) from error

    def _load_facts(self) -> None:
        if not self._facts_file.is_file():
            return
        for line in self._facts_file.read_text(encoding="utf-8").splitlines():
            try:
                fact = json.loads(line)
                self._facts[fact.pop("row")] = {k: fact[k] for k in ("fps", "codec", "size")}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the line that a kill cut off


def _shape_of(rule: ClipRule) -> dict[str, str]:
    """Return what rows depend on; where a window starts is part of each row's name."""
    return {key: text for key, text in rule.protocol().items() if key != "start"}


def _hash(table: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]
