"""What the terminal shows. Only this module draws with rich, and only it writes results as text.

Prompts, paths and metadata may come from strangers: control characters are shown as escapes, and
nothing is ever parsed as rich markup.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TextIO

from fdream.core.report import printable

_NARROWEST: Final = 20
_TALL: Final = 4
"""Lines of a cell; a table of taller ones is hard to read, and columns are left out first."""


def line(text: str, stream: TextIO | None = None) -> None:
    """Write one line of result; to stdout where no stream is given."""
    (stream or sys.stdout).write(printable(text) + "\n")


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a result to stdout as JSON: ASCII only, so that any pipe carries it."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    stream: TextIO | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Write a table: drawn on a terminal, tab-separated and whole elsewhere.

    Args:
        columns: headings; not written where the table is for a program.
        rows: cells, one for each column.
        stream: where to; None: stdout.
        optional: columns to leave out, one after the other, as long as a terminal is too narrow: a
            word would be cut, or a row become tall.
    """
    stream = sys.stdout if stream is None else stream
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if not stream.isatty():
        for row in cells:
            stream.write("\t".join(row) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream)
    shown, spared = list(zip(columns, *cells, strict=True)), list(optional)
    while True:
        widths = _widths(shown, console.width)
        if not spared or (widths and _height(shown, widths) <= _TALL):
            break
        left_out = spared.pop(0)
        shown = [column for column in shown if column[0] != left_out]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for (heading, *_), width in zip(shown, widths or repeat(None), strict=False):
        drawn.add_column(heading, overflow="fold", width=width)
    for drawn_row in zip(*(column[1:] for column in shown), strict=True):
        drawn.add_row(*map(Text, drawn_row))
    console.print(drawn)


def _height(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> int:
    """Return the number of lines of the tallest cell."""
    return max(
        len(textwrap.wrap(cell, width))
        for column, width in zip(columns, widths, strict=True)
        for cell in column
    )


def _widths(columns: Sequence[Sequence[str]], terminal: int) -> list[int] | None:
    """Share out a terminal among columns of cells; None where some word would have to be cut."""
    from rich.cells import cell_len

    words = [[word for cell in column for word in cell.split()] for column in columns]
    least = [max(map(cell_len, column), default=1) for column in words]
    most = [max(map(cell_len, column)) for column in columns]
    # Three between two columns, one at each edge.
    room = terminal - 3 * (len(columns) - 1) - 2 - sum(least)
    if room < 0:
        return None
    widths = list(least)
    for _ in range(room):
        wanting = [k for k in range(len(widths)) if widths[k] < most[k]]
        if not wanting:
            break
        widths[min(wanting, key=widths.__getitem__)] += 1
    return widths


def facts(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write a heading and aligned facts to stdout, for people; on a terminal long ones wrap.

    Args:
        title: the heading.
        rows: name and value; a row with an empty name continues the one before.
    """
    indent = max((len(name) for name, _ in rows), default=0) + 4
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = [_one_line(title)]
    for name, value in rows:
        text = _one_line(value)
        room = width - indent
        parts = textwrap.wrap(text, room) if room >= _NARROWEST else [text]
        for number, part in enumerate(parts or [""]):
            head = f"  {_one_line(name)}" if number == 0 else ""
            lines.append(f"{head:<{indent}}{part}".rstrip())
    sys.stdout.write("\n".join(lines) + "\n")


def error(message: str) -> None:
    """Write an error to stderr: in a panel on a terminal, as plain lines elsewhere."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"fdream: error: {printable(message)}\n")
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    panel = Panel(Text(printable(message)), title="error", title_align="left", border_style="red")
    Console(file=sys.stderr).print(panel)


def _one_line(cell: str) -> str:
    """Keep a cell from being taken for two, or for two rows."""
    return printable(cell).replace("\t", " ").replace("\n", " ")
