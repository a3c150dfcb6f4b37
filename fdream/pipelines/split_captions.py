"""Captions into halves, row by row: in this process or in several, in order, in constant memory."""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast

from fdream.core.errors import DeviceError, UsageError
from fdream.data.caption_tables.rows import BadRow, Row
from fdream.stages import registry

if TYPE_CHECKING:
    from fdream.core.captions import CaptionPair
    from fdream.core.device import DeviceManager
    from fdream.stages.interfaces import SplitterStage

BATCH: Final = 256
"""Rows that are split together."""

_AHEAD: Final = 3
"""Batches that wait at each worker, so that none runs dry."""


@dataclass(frozen=True, slots=True)
class SplitterChoice:
    """A splitter as the user chose it.

    Attributes:
        name: ``NAME`` or ``NAME:ARG``.
        options: for its options model.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``, for one that computes on it; None: settings.
        dtype: likewise.
    """

    name: str = "grammar"
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"

    def check(self) -> None:
        """Validate name and options without building anything.

        Raises:
            StageError: it is not installed, or disabled.
            UsageError: its options are not valid.
        """
        registry.options("splitter", self.name, self.options)

    def build(self) -> SplitterStage:
        """Build the stage; torch is imported only for one that requires it."""
        from fdream.core.device import DeviceManager

        declares = registry.spec("splitter", self.name)
        builtin = registry.declaration("splitter", self.name).builtin
        if builtin and "torch" not in declares.requires:
            nowhere = cast("DeviceManager", None)  # it computes on no device, and is handed none
            return registry.build("splitter", self.name, self.options, device=nowhere)
        device = DeviceManager.choose(self.device, self.dtype)
        return registry.build("splitter", self.name, self.options, device=device)


@dataclass(slots=True)
class Tally:
    """What happened to the rows.

    Attributes:
        rows: how many were split.
        notes: how many pairs carry each kind of note.
        bad: how many lines could not be read.
        first_bad: the first of these.
    """

    rows: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    first_bad: BadRow | None = None

    def count(self, pair: CaptionPair) -> None:
        """Count a pair; notes of one kind differ after a colon or a bracket."""
        self.rows += 1
        if pair.note:
            self.notes[pair.note.partition(":")[0].partition(" (")[0]] += 1

    def counts(self) -> dict[str, int]:
        """Return the counts that a later run goes on from."""
        return {"rows": self.rows, "bad": self.bad}

    def resume(self, counts: Mapping[str, int]) -> None:
        """Go on from the counts of an earlier run."""
        self.rows, self.bad = counts.get("rows", 0), counts.get("bad", 0)

    def count_bad(self, row: BadRow) -> None:
        """Count a line that could not be read."""
        self.bad += 1
        self.first_bad = self.first_bad or row


Split = tuple[Row, "CaptionPair"]


def split_rows(
    rows: Iterable[Row | BadRow], choice: SplitterChoice, workers: int
) -> Iterator[Split | BadRow]:
    """Split the captions of rows; all come back in order, bad ones as they are.

    Args:
        rows: read as needed, a few batches ahead.
        choice: the splitter.
        workers: processes; 1 splits here.

    Raises:
        StageError: the splitter cannot be built or used.
        UsageError: it cannot be shared out.
        DeviceError: a worker was killed, as for want of memory.
    """
    batches = _batches(rows)
    stage = choice.build()
    if workers == 1:
        for batch in batches:
            yield from _joined(batch, stage.split(_captions(batch)))
        return
    if not stage.in_processes:
        raise UsageError(
            f"--workers {workers}: splitter {choice.name!r} works in one process and shares out "
            "its work itself; leave --workers away."
        )
    del stage
    yield from _split_in_processes(batches, choice, workers)


def _split_in_processes(
    batches: Iterator[list[Row | BadRow]], choice: SplitterChoice, workers: int
) -> Iterator[Split | BadRow]:
    # Not forked: the parent may have threads, and a child must not inherit its half-read input.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start_worker, initargs=(choice,)
    )
    waiting: deque[tuple[list[Row | BadRow], Future[list[CaptionPair]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(_work, _captions(batch))))
            if len(waiting) > _AHEAD * workers:
                done, future = waiting.popleft()
                yield from _joined(done, future.result())
        while waiting:
            done, future = waiting.popleft()
            yield from _joined(done, future.result())
    except BrokenProcessPool as error:
        raise DeviceError(
            f"--workers {workers}: a worker process was killed, which is what happens when memory "
            "runs out; try fewer."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_stage: SplitterStage | None = None


def _start_worker(choice: SplitterChoice) -> None:
    global _stage
    # Ctrl-C reaches the whole group; the parent alone answers it, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed ends nobody: its workers would wait for work for ever.
    Thread(target=_end_with_parent, daemon=True).start()
    _stage = choice.build()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "the pool's workers have one"
    parent.join()
    os._exit(1)


def _work(captions: list[str]) -> list[CaptionPair]:
    assert _stage is not None, "the pool starts its workers with _start_worker"
    return _stage.split(captions)


def _batches(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


def _captions(batch: list[Row | BadRow]) -> list[str]:
    return [row.caption for row in batch if isinstance(row, Row)]


def _joined(batch: list[Row | BadRow], pairs: list[CaptionPair]) -> Iterator[Split | BadRow]:
    found = iter(pairs)
    for row in batch:
        yield row if isinstance(row, BadRow) else (row, next(found))
