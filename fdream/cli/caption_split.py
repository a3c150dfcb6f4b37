"""``fdream caption-split``: a table of captions in, the same with both halves out."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from fdream.cli import render
from fdream.cli.params import DeviceOption, DtypeOption, reporter_of
from fdream.cli.standard_input import PLACE, STDIN
from fdream.core.errors import DataError, UsageError
from fdream.core.paths import is_same

if TYPE_CHECKING:
    from fdream.core.report import Reporter
    from fdream.data.caption_tables.rows import Columns, Table, TableFormat
    from fdream.pipelines.caption_job import Job
    from fdream.pipelines.split_captions import Tally

_FLUSHED = 256
"""Rows after which standard output is handed on."""

InputArgument = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="Table of captions [default: standard input]."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write there instead of to standard output; .jsonl turns any table into JSON Lines.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="KIND",
        help="lines, jsonl, csv (commas, tabs or semicolons) or parquet [default: by the file's "
        "ending, else by its first line].",
    ),
]
ColumnOption = Annotated[
    str | None,
    typer.Option(
        "--column",
        "-c",
        metavar="NAME",
        help="Column with the captions [default: caption, text, name, prompt, ...].",
    ),
]
StageOption = Annotated[
    str,
    typer.Option(
        "--splitter",
        metavar="NAME",
        help="grammar, whole, llm:MODEL, endpoint:MODEL or a plugin's.",
    ),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="Set an option of the splitter; repeatable."
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", "-w", min=1, max=256, metavar="N", help="Processes.")
]
DetailsOption = Annotated[
    bool, typer.Option("--details", help="Add camera, confidence and note as well.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace columns that are called as the added ones.")
]
FromLineOption = Annotated[
    int,
    typer.Option(
        "--from-line",
        min=1,
        metavar="N",
        help="Begin with this line of the input (row, for Parquet); a header is read all the same.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on with FILE.part, which an interrupted run left behind."),
]
JsonRowsOption = Annotated[
    bool,
    typer.Option("--json", help="Write JSON to stdout: the rows; with -o, counts of them."),
]


def caption_split(
    ctx: typer.Context,
    file: InputArgument = None,
    output: OutputOption = None,
    kind: FormatOption = None,
    column: ColumnOption = None,
    splitter: StageOption = "grammar",
    option: OptionOption = None,
    workers: WorkersOption = 1,
    details: DetailsOption = False,
    overwrite: OverwriteOption = False,
    from_line: FromLineOption = 1,
    resume: ResumeOption = False,
    json: JsonRowsOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """Split captions into what is seen and what happens.

    Reads plain lines, JSON Lines, CSV or Parquet and writes the same rows in the same order, with
    the columns appearance and motion added; plain lines become tab-separated. Lines that cannot be
    read are told with their numbers and left out; the rest goes on, and the exit code is 4.

    \b
    Examples:
      echo "a corgi surfing, the camera zooms in" | fdream caption-split
      fdream caption-split < captions.jsonl > pairs.jsonl
      fdream caption-split webvid.csv -o pairs.csv --workers 2
      fdream caption-split webvid.csv -o pairs.csv --workers 2 --resume
      fdream caption-split captions.parquet -o pairs.parquet --splitter endpoint:my-model
    """
    from fdream.data.caption_tables.rows import DETAILS, HALVES, Columns
    from fdream.pipelines.caption_job import Job, write_file
    from fdream.pipelines.split_captions import SplitterChoice, Tally

    if resume and (output is None or from_line > 1):
        raise UsageError(
            "--resume: goes on with the file of -o, from where it ends; name it alone."
        )
    if output is not None and file not in (None, STDIN) and is_same(Path(str(file)), output):
        raise UsageError(f"-o {output}: is the input itself, and would replace it; name another.")
    columns = Columns(column, HALVES + DETAILS if details else HALVES, overwrite)
    choice = SplitterChoice(splitter, _options(option), device or "auto", dtype or "auto")
    choice.check()
    tally = Tally()
    reporter = reporter_of(ctx)
    with _opened(file, kind, column) as (stream, place, found):
        table = _table(found, columns, place)
        as_json = _as_json(output, found, json)
        job = Job(table, place, as_json, from_line - 1, choice, workers)
        if output is None:
            _to_stdout(job, stream, tally, reporter)
        else:
            write_file(job, stream, output, resume, tally, reporter)
    _report(tally, output, json, reporter)


def _options(given: list[str] | None) -> dict[str, Any]:
    from fdream.core.recipe_merge import parse_assignment

    options: dict[str, Any] = {}
    for text in given or ():
        try:
            location, value = parse_assignment(text)
        except ValueError as error:
            raise UsageError(f"--option: {error}.") from error
        options[".".join(location)] = value
    return options


@contextmanager
def _opened(
    file: str | None, kind: str | None, column: str | None
) -> Iterator[tuple[IO[bytes], str, TableFormat]]:
    """Open the input and tell its format."""
    from fdream.data.caption_tables.rows import FORMATS, SUFFIXES, recognise

    if kind is not None and kind not in FORMATS:
        raise UsageError(f"--format {kind!r}: expected {', '.join(FORMATS)}.")
    asked = next((name for name in FORMATS if name == kind), None)
    with ExitStack() as stack:
        if file is None or file == STDIN:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError(
                    'caption-split: no captions; name a file, or pipe them in: echo "a corgi '
                    'surfing" | fdream caption-split'
                )
            stream: Any = io.BufferedReader(sys.stdin.buffer, 1 << 16)
            stack.callback(stream.detach)
            found = asked or recognise(stream.peek(1 << 16)[: 1 << 16], column)
            if found == "parquet":
                stream = stack.enter_context(_seekable(stream))
            yield stream, PLACE, found
            return
        path = Path(file)
        try:
            opened = stack.enter_context(path.open("rb"))
            beginning = opened.peek(1 << 16)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}.") from error
        by_name = SUFFIXES.get(path.suffix.lower())
        yield opened, str(path), asked or by_name or recognise(beginning, column)


@contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Keep a stream in a file: the index of a Parquet file stands at its end."""
    import shutil
    import tempfile

    from fdream.core.errors import OutputError

    with tempfile.TemporaryFile(prefix="fdream-") as kept:
        try:
            shutil.copyfileobj(stream, kept)
        except OSError as error:
            raise OutputError(
                f"{PLACE} cannot be kept in a temporary file ({error.strerror or error}); make "
                "room, or set TMPDIR to a larger place."
            ) from error
        kept.seek(0)
        yield kept


def _table(found: TableFormat, columns: Columns, place: str) -> Table:
    from fdream.data.caption_tables import text

    if found == "parquet":
        from fdream.data.caption_tables.parquet import ParquetTable

        return ParquetTable(columns, place)
    if found == "csv":
        return text.CsvTable(columns, place)
    return (text.JsonLinesTable if found == "jsonl" else text.LinesTable)(columns, place)


def _as_json(output: Path | None, found: TableFormat, json: bool) -> bool:
    """Decide whether rows become JSON Lines; no other format is turned into another."""
    from fdream.data.caption_tables.rows import SUFFIXES

    if output is None:
        return json
    wanted = SUFFIXES.get(output.suffix.lower(), found)
    if wanted == found:
        return False
    if wanted == "jsonl":
        return True
    ending = next(suffix for suffix, kind in SUFFIXES.items() if kind == found)
    raise UsageError(
        f"-o {output}: the input is {found}, and rows keep their format or become JSON Lines; "
        f"name a {ending} or .jsonl file."
    )


def _to_stdout(job: Job, stream: IO[bytes], tally: Tally, reporter: Reporter) -> None:
    from fdream.pipelines.caption_job import write_rows

    shown = sys.stdout.isatty()
    if shown and not job.as_json and not job.table.resumable:
        raise UsageError("caption-split: a terminal shows no Parquet; give -o FILE or --json.")
    target = io.BytesIO() if shown else sys.stdout.buffer

    def flush() -> None:
        if shown and isinstance(target, io.BytesIO):
            for line in target.getvalue().decode("utf-8").splitlines():
                render.line(line)
            target.seek(0)
            target.truncate()
        sys.stdout.flush()

    sys.stdout.flush()
    for count, _ in enumerate(write_rows(job, stream, target, tally, reporter, {}), 1):
        if count % _FLUSHED == 0:
            flush()
    flush()


def _report(tally: Tally, output: Path | None, json: bool, reporter: Reporter) -> None:
    notes = [f"{count} {note}" for note, count in sorted(tally.notes.items())]
    reporter.say(", ".join([f"{tally.rows} captions split", *notes]))
    if output is not None and json:
        facts = {"path": str(output), **tally.counts(), "notes": dict(tally.notes)}
        render.as_json(facts)
    elif output is not None:
        render.line(str(output))
    if tally.bad:
        first = tally.first_bad
        where = "" if first is None else f", the first on line {first.number} ({first.reason})"
        raise DataError(
            f"{tally.bad} of {tally.rows + tally.bad} lines could not be read{where}; they are "
            "left out. Mend them, and run again."
        )
