from __future__ import annotations

import io
import sys

import pytest

from fdream.cli import render


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_table_for_a_program_is_whole_and_tab_separated(capsys) -> None:
    render.table(["a", "b"], [["x" * 300, "two\nlines\tand a tab"], ["[red]", "\x1b[0m"]])
    assert capsys.readouterr().out == "x" * 300 + "\ttwo lines and a tab\n[red]\t\\x1b[0m\n"


def test_table_on_a_terminal_has_headings_and_no_markup(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    render.table(["heading"], [["[bold]text[/bold]"]])
    assert "heading" in terminal.getvalue()
    assert "[bold]text[/bold]" in terminal.getvalue()


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True)])
def test_colour_is_the_users_choice(monkeypatch, variable: str, coloured: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    render.error("it broke")
    assert "it broke" in terminal.getvalue()
    assert ("\x1b[31m" in terminal.getvalue()) is coloured


def test_json_is_ascii(capsys) -> None:
    render.as_json({"prompt": "caf\u00e9 \U0001f600"})
    assert capsys.readouterr().out.isascii()
