from __future__ import annotations

import io
import re
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


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, optional: list[str]) -> list[str]:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    rows = [["diffusers:cogvideox-5b", "stable-video-diffusion", "forty-nine frames at eight a s"]]
    render.table(["name", "licence", "good at"], rows, optional=optional)
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


def test_a_narrow_terminal_cuts_no_word_that_has_room(monkeypatch) -> None:
    lines = drawn(monkeypatch, 70, [])
    assert max(map(len, lines)) <= 70
    assert any("diffusers:cogvideox-5b" in line for line in lines)
    assert any("stable-video-diffusion" in line for line in lines)


def test_a_narrow_terminal_loses_the_columns_that_may_be_left_out(monkeypatch) -> None:
    assert any("licence" in line for line in drawn(monkeypatch, 90, ["licence"]))
    lines = drawn(monkeypatch, 50, ["licence"])
    assert max(map(len, lines)) <= 50
    assert not any("licence" in line for line in lines)
    assert any("diffusers:cogvideox-5b" in line for line in lines)


def test_a_terminal_too_narrow_for_a_word_still_shows_all_of_it(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "12")
    render.table(["name"], [["diffusers:cogvideox-5b"]])
    assert "diffusers:cogvideox-5b" in "".join(terminal.getvalue().split())


def test_columns_of_one_name_are_all_drawn(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    render.table(["a", "a"], [["left", "right"]])
    assert "left" in terminal.getvalue()
    assert "right" in terminal.getvalue()


def test_characters_two_cells_wide_are_counted_as_two(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    render.table(["name"], [["\u732b" * 12]])
    assert "\u732b" * 12 in terminal.getvalue()
