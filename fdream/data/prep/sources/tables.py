"""Tables of sources: CSV, TSV, JSON Lines, Parquet; read row by row, so size does not matter."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from fdream.core.errors import DataError
from fdream.core.prep_recipe import ReadTable
from fdream.data.prep.sources.columns import Columns, spans_in
from fdream.data.prep.sources.local_copies import find_local
from fdream.data.prep.sources.rows import (
    LONGEST_CAPTION,
    SourceRow,
    is_address,
    public_address,
    suffix_of,
)
from fdream.data.shards.reader import open_archive

_LONGEST_FIELD: Final = 1 << 20
_BATCH: Final = 1024
RawRow = dict[str, Any] | str
"""The cells of a row by column, or why it cannot be read."""


def table_rows(table: str, read: ReadTable) -> Iterator[SourceRow]:
    """Yield the sources that a table names.

    Args:
        table: path or address of a ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
        read: the recipe's ``[read]``.

    Raises:
        DataError: it cannot be read as a table, or no column says where the videos are.
    """
    raw = TABLES[suffix_of(table)](table)
    folders = [Path(read.media)] if read.media is not None else []
    if not is_address(table):
        folders.append(Path(table).parent)
    columns: Columns | None = None
    for number, cells in enumerate(raw):
        if isinstance(cells, str):
            yield SourceRow(id=f"row {number}", url="", caption="", problem=cells)
            continue
        if columns is None:
            columns = Columns.choose(list(cells), read, table)
        yield _source(cells, columns, folders, read.fetch, number)


def _source(
    cells: dict[str, Any], columns: Columns, folders: list[Path], fetch: bool, number: int
) -> SourceRow:
    video = _text(cells.get(columns.video)) if columns.video else None
    name = _text(cells.get(columns.id)) if columns.id else None
    caption: Any = cells.get(columns.caption) if columns.caption else None
    spans: tuple[Any, ...] = ()
    problem = ""
    span_cell = cells.get(columns.spans) if columns.spans else None
    if span_cell not in (None, ""):
        try:
            spans, caption = spans_in(span_cell, caption)
        except ValueError as error:
            problem = f"column {columns.spans!r}: {error}"
    local = find_local(folders, video, name, _text(cells.get("page_dir")))
    known = {columns.video, columns.id, columns.caption, columns.spans}
    url = _recorded(video, local, folders)
    remote = local is None and bool(video and is_address(video)) and fetch
    return SourceRow(
        id=name or url or f"row {number}",
        url=url,
        caption=_text(caption) or "",
        path=str(local) if local else (video or "") if remote else "",
        remote=remote,
        size=local.stat().st_size if local else None,
        suffix=suffix_of(local.name if local else (video or "").partition("?")[0]),
        spans=spans,
        fields={key: _plain(value) for key, value in cells.items() if key not in known},
        problem=problem
        or _text_problem(caption)
        or ("" if local or remote else _missing(video, url or name)),
    )


def _missing(video: str | None, name: str | None) -> str:
    if not video and not name:
        return "the row says neither where its video is nor what it is called"
    if video and is_address(video):
        return (
            "no local copy; name their folder with -s read.media=FOLDER, or fetch it with "
            "-s read.fetch=true"
        )
    return f"no such file: {name}"


def _text_problem(caption: Any) -> str:
    text = _text(caption) or ""
    if "\ufffd" in text:
        return "the caption is not UTF-8 text"
    if len(text) > LONGEST_CAPTION:
        return f"a caption of {len(text)} characters; the limit is {LONGEST_CAPTION}"
    return ""


def _recorded(video: str | None, local: Path | None, folders: list[Path]) -> str:
    """Say where a video came from: its address, or its place below a folder; no absolute path."""
    if video and is_address(video):
        return public_address(video)
    place = local or Path(video or "")
    for folder in folders:
        if place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    return place.name if place.is_absolute() else place.as_posix()


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _plain(value: Any) -> Any:
    """Keep what JSON can say; everything else becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def _separated(separator: str) -> Callable[[str], Iterator[RawRow]]:
    def rows(table: str) -> Iterator[RawRow]:
        csv.field_size_limit(_LONGEST_FIELD)
        with _text_file(table) as file:
            reader = csv.reader(file, delimiter=separator)
            header = next(reader, None)
            if not header:
                raise DataError(f"{table}: empty; a table with a line of column names is wanted.")
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield f"line {reader.line_num}: {error}"
                    continue
                if cells is None:
                    return
                if cells:  # a blank line is nothing
                    yield dict(zip(header, cells, strict=False))

    return rows


def _json_lines(table: str) -> Iterator[RawRow]:
    with _text_file(table) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line {number}: not JSON ({error})"
                continue
            yield found if isinstance(found, dict) else f"line {number}: not a JSON object"


def _parquet(table: str) -> Iterator[RawRow]:
    import pyarrow as pa
    from pyarrow import parquet

    with open_archive(table) as file:
        try:
            for batch in parquet.ParquetFile(file).iter_batches(_BATCH):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{table}: cannot be read as Parquet ({error}).") from error


def _text_file(table: str) -> IO[str]:
    binary = open_archive(table)
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace", newline="")


TABLES: Final[dict[str, Callable[[str], Iterator[RawRow]]]] = {
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "parquet": _parquet,
}
"""Readers by suffix."""
