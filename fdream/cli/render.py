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
from typing import Any, Final, TextIO

from fdream.core.report import printable

_NARROWEST: Final = 20


def line(text: str, stream: TextIO | None = None) -> None:
    """Write one line of result; to stdout where no stream is given."""
    (stream or sys.stdout).write(printable(text) + "\n")


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a result to stdout as JSON: ASCII only, so that any pipe carries it."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None
) -> None:
    """Write a table: drawn on a terminal, tab-separated and whole elsewhere.

    Args:
        columns: headings; not written where the table is for a program.
        rows: cells, one for each column.
        stream: where to; None: stdout.
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

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(drawn)


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
