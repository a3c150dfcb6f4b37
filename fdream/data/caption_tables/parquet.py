"""Parquet tables of captions; pyarrow comes with the extra ``prep``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Final, final

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError, UsageError
from fdream.data.caption_tables.rows import BadRow, Columns, Row, Sink, Table

BATCH: Final = 1024
"""Rows held in memory at a time."""


def pyarrow() -> Any:
    """Import pyarrow with its Parquet half, or say how to install it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, not installed here: pip install 'fdream[prep]'"
        ) from error
    return pyarrow


@final
class ParquetTable(Table):
    """Rows travel as the Arrow values they are, so that no type changes."""

    resumable = False
    unit = "row"

    def __init__(self, columns: Columns, place: str) -> None:
        super().__init__(columns, place)
        self._arrow = pyarrow()
        self._schema: Any = None
        self._caption = ""

    def rows(self, stream: IO[bytes], skip: int) -> Iterator[Row | BadRow]:
        """Read batch after batch; ``stream`` has to be able to seek."""
        try:
            file = self._arrow.parquet.ParquetFile(stream)
            self._schema = file.schema_arrow
        except (self._arrow.ArrowException, OSError) as error:
            raise DataError(f"{self.place}: not a Parquet file: {error}") from error
        self._caption = self.columns.find(self._schema.names, self.place)
        number = 0
        try:
            for batch in file.iter_batches(BATCH):
                captions = batch.column(self._schema.get_field_index(self._caption))
                for index in range(batch.num_rows):
                    number += 1
                    if number > skip:
                        yield self._row(number, captions[index].as_py(), batch.slice(index, 1))
        except (self._arrow.ArrowException, OSError) as error:
            raise DataError(
                f"{self.place}: damaged after row {number}: {error}. The rows before are done."
            ) from error

    def _row(self, number: int, caption: Any, values: Any) -> Row | BadRow:
        if not isinstance(caption, str):
            kind = "null" if caption is None else type(caption).__name__
            return BadRow(number, f"{self._caption!r} is {kind}, not a string")
        return Row(number, caption, values, _LazyCells(values))

    def sink(self, target: IO[bytes], *, resumed: bool) -> Sink:
        """Write row groups; a Parquet file is whole or unreadable, so none is ever resumed."""
        assert not resumed, "a Parquet file cannot be gone on with"
        return ParquetSink(self, target)

    def schema(self) -> Any:
        """Return the schema of the result."""
        schema = self._schema
        for name in self.columns.added:
            if name in schema.names:
                schema = schema.remove(schema.get_field_index(name))
        for name in self.columns.added:
            kind = self._arrow.float64() if name == "confidence" else self._arrow.string()
            schema = schema.append(self._arrow.field(name, kind))
        return schema


class _LazyCells(dict[str, Any]):
    """The cells of an Arrow row, made into Python values only if somebody asks."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self._values = values

    def items(self) -> Any:
        return self._values.to_pylist()[0].items()

    def __contains__(self, name: object) -> bool:
        return name in self._values.schema.names


@final
class ParquetSink(Sink):
    """Gathers rows and writes them in groups; what is written is readable once it is closed."""

    def __init__(self, table: ParquetTable, target: IO[bytes]) -> None:
        """Open a file.

        Args:
            table: whose rows come; it has read its first row.
            target: where bytes go; needs not seek.
        """
        self._table = table
        self._arrow = pyarrow()
        self._schema = table.schema()
        self._writer = self._arrow.parquet.ParquetWriter(target, self._schema)
        self._values: list[Any] = []
        self._pairs: list[CaptionPair] = []

    def write(self, row: Row, pair: CaptionPair) -> None:
        """Add one row."""
        self._values.append(row.raw)
        self._pairs.append(pair)
        if len(self._pairs) >= 8 * BATCH:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the index without which the file cannot be read."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._pairs:
            return
        there = self._arrow.Table.from_batches(self._values)
        added = self._table.columns.added
        there = there.drop_columns([name for name in added if name in there.column_names])
        for name in added:
            cells = [getattr(pair, name) for pair in self._pairs]
            field = self._schema.field(name)
            there = there.append_column(field, self._arrow.array(cells, field.type))
        self._writer.write_table(there.cast(self._schema))
        self._values, self._pairs = [], []
