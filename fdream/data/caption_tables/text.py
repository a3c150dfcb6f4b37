"""Tables of captions that are text: plain lines, JSON Lines and CSV.

A row is written as it was read, with columns added at its end, so that nothing else changes: no
number is rounded, no quotes come or go.
"""

from __future__ import annotations

import csv
import io
import json
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import IO, Any, Final, final

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError
from fdream.data.caption_tables.rows import (
    LONGEST_LINE,
    BadRow,
    Columns,
    Row,
    Sink,
    Table,
    delimiter_of,
)

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_RECORD: Final = 256
"""Lines that one CSV record may span; more means that a quote was never closed."""


class TextTable(Table):
    """A table whose rows are lines of text."""

    def sink(self, target: IO[bytes], *, resumed: bool) -> Sink:
        """Write the header, unless it is there, and lines."""
        if not resumed:
            target.write(self.head())
        return _TextSink(self, target)

    def head(self) -> bytes:
        """Return what stands before the first row."""
        return b""

    @abstractmethod
    def line(self, row: Row, pair: CaptionPair) -> bytes:
        """Return a row with its columns added, with its line end."""


@final
class _TextSink(Sink):
    def __init__(self, table: TextTable, target: IO[bytes]) -> None:
        self._table = table
        self._target = target

    def write(self, row: Row, pair: CaptionPair) -> None:
        self._target.write(self._table.line(row, pair))


@final
class JsonSink(Sink):
    """Writes the rows of any table as JSON Lines."""

    def __init__(self, columns: Columns, target: IO[bytes]) -> None:
        """Remember which columns are added, and where bytes go."""
        self._columns = columns
        self._target = target

    def write(self, row: Row, pair: CaptionPair) -> None:
        """Write one object."""
        self._target.write(json_line(self._columns, row, pair))


@final
class LinesTable(TextTable):
    """A caption a line; what is added follows after tabs."""

    def rows(self, stream: IO[bytes], skip: int) -> Iterator[Row | BadRow]:
        """Read each line as a caption, empty ones too."""
        if self.columns.caption not in (None, "caption"):
            raise DataError(
                f"{self.place}: read as plain lines, which have no column "
                f"{self.columns.caption!r}; say what it is with --format."
            )
        for line in _lines(stream, skip):
            if isinstance(line, BadRow):
                yield line
                continue
            number, raw = line
            text = _decode(number, raw)
            yield text if isinstance(text, BadRow) else Row(number, text, raw, {"caption": text})

    def line(self, row: Row, pair: CaptionPair) -> bytes:
        """Return the caption and what is added, separated by tabs."""
        cells = [row.caption, *(str(v) for v in self.columns.values(pair).values())]
        return _encode("\t".join(" ".join(cell.split()) for cell in cells)) + b"\n"


@final
class JsonLinesTable(TextTable):
    """A JSON object a line."""

    def rows(self, stream: IO[bytes], skip: int) -> Iterator[Row | BadRow]:
        """Read each line as an object; blank ones are passed over."""
        for line in _lines(stream, skip):
            if isinstance(line, BadRow):
                yield line
                continue
            number, raw = line
            if raw.strip():
                yield self._row(number, raw.strip())

    def _row(self, number: int, raw: bytes) -> Row | BadRow:
        text = _decode(number, raw)
        if isinstance(text, BadRow):
            return text
        try:
            cells = json.loads(text)
        except json.JSONDecodeError as error:
            return BadRow(number, f"broken JSON at character {error.colno}: {error.msg}")
        except (RecursionError, ValueError) as error:  # too deep, or a number too long to read
            return BadRow(number, f"JSON that cannot be read: {error}")
        if not isinstance(cells, dict):
            return BadRow(number, "JSON, but no object: expected one {...} a line")
        try:
            column = self.columns.find(list(cells), f"{self.place}, line {number}")
        except DataError as error:
            return BadRow(number, str(error).partition(f"line {number}: ")[2])
        caption = cells[column]
        if not isinstance(caption, str):
            return BadRow(number, f"{column!r} is {type(caption).__name__}, not a string")
        return Row(number, caption, raw, cells)

    def line(self, row: Row, pair: CaptionPair) -> bytes:
        """Return the object with members added at its end."""
        return json_line(self.columns, row, pair)


def json_line(columns: Columns, row: Row, pair: CaptionPair) -> bytes:
    """Return a row of any table as a JSON object on a line.

    The added values are ASCII, so that half characters, which JSON can carry, come through.
    """
    added = columns.values(pair)
    raw = row.raw
    if isinstance(raw, bytes) and raw.startswith(b"{") and not any(n in row.cells for n in added):
        return raw[:-1].rstrip() + b", " + json.dumps(added)[1:].encode() + b"\n"
    cells = {name: value for name, value in row.cells.items() if name not in added}
    return json.dumps(cells | added, default=str).encode() + b"\n"


@final
class CsvTable(TextTable):
    """CSV with a header; separated by commas, tabs or semicolons."""

    def __init__(self, columns: Columns, place: str) -> None:
        super().__init__(columns, place)
        self._names: list[str] = []
        self._delimiter = ","
        self._caption = 0
        self._head = b""
        self._end = b"\n"
        self._replaced: list[str] = []

    def rows(self, stream: IO[bytes], skip: int) -> Iterator[Row | BadRow]:
        """Read the header, then each record; one may span lines inside quotes."""
        records = _Records(_lines(stream, 0))
        header = next(records, None)
        if header is None or isinstance(header, BadRow):
            reason = "empty" if header is None else f"line 1: {header.reason}"
            raise DataError(f"{self.place}: {reason}; a CSV begins with the names of its columns.")
        self._read_header(header[1])
        for record in records:
            number = record.number if isinstance(record, BadRow) else record[0]
            if number <= skip:
                continue
            if isinstance(record, BadRow):
                yield record
            elif record[1].strip():
                yield self._row(*record)

    def _read_header(self, raw: bytes) -> None:
        text = _decode(1, raw.removeprefix(_BOM))
        if isinstance(text, BadRow):
            raise DataError(f"{self.place}, line 1: {text.reason}; CSV has to be UTF-8.")
        self._delimiter = delimiter_of(text)
        self._names = self._cells(text.rstrip("\r"))
        self._caption = self._names.index(self.columns.find(self._names, self.place))
        self._end = b"\r\n" if raw.endswith(b"\r") else b"\n"
        self._replaced = [n for n in self.columns.added if n in self._names]
        self._head = raw.rstrip(b"\r")
        if self._replaced:
            kept = [n for n in self._names if n not in self._replaced]
            self._head = _encode(self._line(kept))
        self._head += _encode(self._delimiter + self._line(list(self.columns.added))) + self._end

    def _row(self, number: int, raw: bytes) -> Row | BadRow:
        raw = raw.removesuffix(b"\r")
        text = _decode(number, raw)
        if isinstance(text, BadRow):
            return text
        try:
            cells = self._cells(text)
        except csv.Error as error:
            return BadRow(number, f"broken CSV: {error}")
        if len(cells) != len(self._names):
            return BadRow(number, f"{len(cells)} cells, and the header has {len(self._names)}")
        return Row(number, cells[self._caption], raw, dict(zip(self._names, cells, strict=True)))

    def head(self) -> bytes:
        """Return the header with the added columns."""
        return self._head

    def line(self, row: Row, pair: CaptionPair) -> bytes:
        """Return the record with cells added at its end."""
        raw = row.raw
        if self._replaced:
            raw = _encode(self._line([v for n, v in row.cells.items() if n not in self._replaced]))
        added = self._line([str(value) for value in self.columns.values(pair).values()])
        return bytes(raw + _encode(self._delimiter + added) + self._end)

    def _cells(self, text: str) -> list[str]:
        return next(csv.reader([text], delimiter=self._delimiter, strict=True), [])

    def _line(self, cells: list[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter, lineterminator="").writerow(cells)
        return line.getvalue()


class _Records:
    """Joins lines to CSV records: a record ends where its quotes are closed."""

    def __init__(self, lines: Iterator[tuple[int, bytes] | BadRow]) -> None:
        self._source = lines
        self._back: deque[tuple[int, bytes] | BadRow] = deque()

    def __iter__(self) -> Iterator[tuple[int, bytes] | BadRow]:
        return self

    def __next__(self) -> tuple[int, bytes] | BadRow:
        first = self._line()
        if isinstance(first, BadRow) or first[1].count(b'"') % 2 == 0:
            return first
        gathered, size = [first], len(first[1])
        while len(gathered) < _LONGEST_RECORD and size < LONGEST_LINE:
            line = next(self._source, None) if not self._back else self._back.popleft()
            if line is None:
                break
            if isinstance(line, BadRow):
                self._back.appendleft(line)
                break
            gathered.append(line)
            size += len(line[1])
            if line[1].count(b'"') % 2 == 1:
                return first[0], b"\n".join(raw for _, raw in gathered)
        # Nothing closes the quote: that line alone is at fault, and those after it are read anew.
        self._back.extendleft(reversed(gathered[1:]))
        return BadRow(first[0], "broken CSV: a quote is never closed")

    def _line(self) -> tuple[int, bytes] | BadRow:
        return self._back.popleft() if self._back else next(self._source)


def _lines(stream: IO[bytes], skip: int) -> Iterator[tuple[int, bytes] | BadRow]:
    """Yield (number, line without its end), a line being what ends with a line feed."""
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
        while not line.endswith(b"\n") and len(line) == LONGEST_LINE:
            line = stream.readline(LONGEST_LINE)
        if number <= skip:
            continue
        if not whole:
            yield BadRow(number, f"longer than {LONGEST_LINE >> 20} MiB")
            continue
        raw = line.removesuffix(b"\n")
        yield number, raw.removeprefix(_BOM) if number == 1 else raw


def _decode(number: int, raw: bytes) -> str | BadRow:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow(number, f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")
