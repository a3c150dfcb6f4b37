"""Write docs/cli.md from the commands themselves: ``python docs/generate_cli.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from fdream.cli.app import app

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 100
INTRODUCTION = """\
# The commands

Generated from `--help` by `make docs`; do not edit. Results go to stdout, all else to stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a check answered no |
| 2 | usage, recipe or settings |
| 3 | stage, plugin or weights |
| 4 | input data |
| 5 | device or memory |
| 6 | the output cannot be written |
| 70 | a bug in fdream |
| 130, 143 | interrupted, terminated |
| 141 | the reader of stdout went away |
"""


def page() -> str:
    """Return the whole page."""
    sections = [f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in _helps()]
    return "\n".join([INTRODUCTION, *sections])


def _helps() -> Iterator[tuple[str, str]]:
    yield from _walk(typer.main.get_command(app), "fdream", None)


def _walk(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **{"help_option_names": ["-h", "--help"]},
    )
    yield context.command_path, command.get_help(context).rstrip()
    for sub_name, sub in getattr(command, "commands", {}).items():
        yield from _walk(sub, sub_name, context)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
