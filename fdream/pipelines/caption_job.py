"""A table of captions into the same table with halves: row by row, whole or gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from fdream.core.errors import UsageError
from fdream.data.caption_tables.partial import PartialFile
from fdream.data.caption_tables.rows import BadRow, Sink, Table
from fdream.data.caption_tables.text import JsonSink
from fdream.pipelines.split_captions import Split, SplitterChoice, Tally, split_rows

if TYPE_CHECKING:
    from fdream.core.report import Reporter

_SHOWN: Final = 50
"""Bad lines that are told one by one; the others are counted."""

_FINGERPRINT: Final = 4096
"""Bytes of the input by which it is known again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is read and written, and how.

    Attributes:
        table: reads and writes rows.
        place: the input's name.
        as_json: whether rows are written as JSON Lines.
        skip: lines to pass over.
        choice: the splitter.
        workers: processes.
    """

    table: Table
    place: str
    as_json: bool
    skip: int
    choice: SplitterChoice
    workers: int


def write_file(
    job: Job, stream: IO[bytes], output: Path, resume: bool, tally: Tally, reporter: Reporter
) -> None:
    """Write a file that appears whole, and grows beside its place until then.

    Args:
        job: what to do.
        stream: the input, at its start.
        output: the result's place.
        resume: go on with what an interrupted run left there.
        tally: counts along.
        reporter: hears of bad lines, and of progress.

    Raises:
        DataError: the input is no table, or has no captions.
        UsageError: ``output`` is a folder, or what is there was made by another job.
        OutputError: the place cannot be written.
    """
    if output.is_dir():
        raise UsageError(f"-o {output}: a folder; name a file in it.")
    whole = not job.as_json and not job.table.resumable
    if resume and whole:
        raise UsageError("--resume: a Parquet file cannot be gone on with; name a .jsonl file.")
    peek = getattr(stream, "peek", None)
    beginning = peek(_FINGERPRINT)[:_FINGERPRINT] if peek is not None else b""
    part = PartialFile(output, _fingerprint(job, beginning))
    if resume and output.exists() and not part.part.exists():
        reporter.say(f"{output} is whole: there is nothing to resume.")
        return
    reached = part.reached() if resume else {}
    tally.resume(reached)
    if reached:
        reporter.say(f"goes on after line {reached['line']}")
    with part.open(reached) as target:
        line = 0
        try:
            for line in write_rows(job, stream, target, tally, reporter, reached):
                if not whole:
                    part.reach({"line": line, **tally.counts()})
        except BaseException:
            if line and not whole:
                part.reach({"line": line, **tally.counts()}, now=True)
                reporter.warn(f"{part.part} holds what is done; the same with --resume goes on.")
            raise


def _fingerprint(job: Job, beginning: bytes) -> dict[str, Any]:
    """Say what rows depend on, so that --resume never joins halves of two results."""
    return {
        "input": hashlib.sha256(beginning[:_FINGERPRINT]).hexdigest(),
        "table": type(job.table).__name__,
        "column": job.table.columns.caption,
        "columns added": list(job.table.columns.added),
        "form": "json" if job.as_json else "same",
        "splitter": job.choice.name,
        "options": {name: repr(value) for name, value in sorted(job.choice.options.items())},
    }


def write_rows(
    job: Job,
    stream: IO[bytes],
    target: IO[bytes],
    tally: Tally,
    reporter: Reporter,
    reached: Mapping[str, int],
) -> Iterator[int]:
    """Write every row.

    Args:
        job: what to do.
        stream: the input, at its start.
        target: where bytes go.
        tally: counts along.
        reporter: hears of bad lines, and of progress.
        reached: counts of an earlier run whose rows ``target`` holds already; else empty.

    Yields:
        The number of the line that each row began on, once it is written.

    Raises:
        DataError: the input is no table, or has no captions.
    """
    rows = job.table.rows(stream, max(job.skip, reached.get("line", 0)))
    sink: Sink | None = None
    with reporter.progress(None, f"splitting {job.place}") as bar:
        for done in _with_header(split_rows(rows, job.choice, job.workers)):
            if sink is None:
                sink = (
                    JsonSink(job.table.columns, target)
                    if job.as_json
                    else job.table.sink(target, resumed=bool(reached))
                )
            if done is None:
                continue
            bar.update(1)
            if isinstance(done, BadRow):
                tally.count_bad(done)
                if tally.bad <= _SHOWN:
                    where = f"{job.place}, {job.table.unit} {done.number}"
                    reporter.warn(f"{where}: {done.reason.rstrip('.')}; left out.")
                yield done.number
                continue
            row, pair = done
            sink.write(row, pair)
            tally.count(pair)
            yield row.number
    if sink is not None:
        sink.close()


def _with_header(rows: Iterator[Split | BadRow]) -> Iterator[Split | BadRow | None]:
    """Begin with None once the header has been read, so that a table without rows has one too."""
    first = next(rows, None)
    yield None
    if first is not None:
        yield first
        yield from rows
