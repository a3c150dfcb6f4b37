"""What all tables of captions share: rows, columns, and how a table is recognised."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final, Literal

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError

TableFormat = Literal["lines", "jsonl", "csv", "parquet"]
FORMATS: Final[tuple[TableFormat, ...]] = ("lines", "jsonl", "csv", "parquet")
SUFFIXES: Final[Mapping[str, TableFormat]] = {
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
CAPTION_NAMES: Final = ("caption", "text", "name", "prompt", "description", "sentence", "title")
"""What a column of captions is called, the likeliest first; WebVid's is ``name``."""

HALVES: Final = ("appearance", "motion")
DETAILS: Final = ("camera", "confidence", "note")

LONGEST_LINE: Final = 16 << 20
"""Bytes; a longer line is no caption, and would be held in memory."""


@dataclass(slots=True)
class Row:
    """One caption and what stands beside it.

    Attributes:
        number: of the line it begins on, or of the row in a Parquet file; from 1.
        caption: to be split.
        raw: as it was read, without its line end.
        cells: its columns by name.
    """

    number: int
    caption: str
    raw: Any = b""
    cells: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be read, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is read and which are added.

    Attributes:
        caption: the column to read; None: the first of ``CAPTION_NAMES`` that is there.
        added: the columns to write.
        overwrite: whether columns of these names may be replaced.
    """

    caption: str | None = None
    added: tuple[str, ...] = HALVES
    overwrite: bool = False

    def find(self, names: Sequence[str], place: str) -> str:
        """Choose the column of captions.

        Raises:
            DataError: none of ``names`` is one, or an added one is there already.
        """
        if self.caption is not None and self.caption not in names:
            raise DataError(
                f"{place}: no column {self.caption!r}; it has {', '.join(names) or 'none'}. "
                "Name one of them with --column."
            )
        lower = {name.strip().lower(): name for name in reversed(names)}
        found = self.caption or next((lower[n] for n in CAPTION_NAMES if n in lower), None)
        if found is None:
            raise DataError(
                f"{place}: no column is called {', '.join(CAPTION_NAMES[:-1])} or "
                f"{CAPTION_NAMES[-1]}; it has {', '.join(names) or 'none'}. Name the one with the "
                "captions with --column."
            )
        there = [name for name in self.added if name in names]
        if there and not self.overwrite:
            raise DataError(
                f"{place}: there is already a column {there[0]!r}; --overwrite replaces it."
            )
        return found

    def values(self, pair: CaptionPair) -> dict[str, Any]:
        """Return the added columns of a row."""
        return {name: getattr(pair, name) for name in self.added}


class Sink(ABC):
    """Writes rows with their columns added."""

    @abstractmethod
    def write(self, row: Row, pair: CaptionPair) -> None:
        """Write one row."""

    def close(self) -> None:  # noqa: B027 - most have nothing left to write
        """Write what is left; the target stays open."""


class Table(ABC):
    """One format: reads rows, and writes them with columns added."""

    resumable: bool = True
    """Whether what is written can be cut off after any row and gone on with."""

    unit: str = "line"
    """What is counted."""

    def __init__(self, columns: Columns, place: str) -> None:
        """Remember what to read and add.

        Args:
            columns: the user's wish.
            place: the input's name, for messages.
        """
        self.columns = columns
        self.place = place

    @abstractmethod
    def rows(self, stream: IO[bytes], skip: int) -> Iterator[Row | BadRow]:
        """Read rows.

        Args:
            stream: positioned at its start.
            skip: lines, or rows of a Parquet file, that are passed over; a header is always read.

        Raises:
            DataError: it is no table of this format, or has no captions.
        """

    @abstractmethod
    def sink(self, target: IO[bytes], *, resumed: bool) -> Sink:
        """Open what writes the rows; call it once the first row has been read.

        Args:
            target: where bytes go; need not seek.
            resumed: whether ``target`` already holds the first rows.
        """


def delimiter_of(header: str) -> str:
    """Return what separates the cells of a header: a comma, a tab or a semicolon."""
    return max(",\t;", key=header.count)


def recognise(beginning: bytes, column: str | None) -> TableFormat:
    """Tell the format of a stream that has no name.

    Args:
        beginning: its first bytes.
        column: the column that the user named, if any.
    """
    if beginning.startswith(b"PAR1"):
        return "parquet"
    text = beginning.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    if text.startswith("{"):
        return "jsonl"
    header = text.partition("\n")[0].rstrip("\r")
    if len(header) > LONGEST_HEADER:
        return "lines"
    try:
        cells = next(csv.reader(io.StringIO(header), delimiter=delimiter_of(header)), [])
    except csv.Error:
        return "lines"
    names = {cell.strip().lower() for cell in cells}
    known = {column.lower()} if column is not None else set(CAPTION_NAMES)
    # A caption such as "text, on a wall" is no header: its cells are none of plain names.
    plain = all(name.replace("_", "").replace(" ", "").isalnum() for name in names)
    if names & known and plain and (len(cells) > 1 or "caption" in names or column is not None):
        return "csv"
    return "lines"


LONGEST_HEADER: Final = 10_000
