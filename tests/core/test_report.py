from __future__ import annotations

import os
import sys

import pytest

from fdream.core.report import SilentReporter, printable, reporter


class Terminal:
    """A stderr that claims to be a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no file")


def test_without_a_terminal_bars_are_silent_and_lines_are_not(capsys) -> None:
    told = reporter()
    with told.progress(3, "sampling") as bar:
        bar.update(3, loss=0.5)
    told.say("a note")
    told.detail("a detail")
    told.warn("a warning")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "a note\nwarning: a warning\n"


def test_bars_appear_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporter().progress(2, "sampling") as bar:
        bar.update(1, loss=0.5)
        bar.update(1)
    assert "sampling" in terminal.text


@pytest.mark.skipif(os.name == "nt", reason="terminals as POSIX has them")
def test_bars_appear_on_a_terminal_that_does_not_know_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.openpty()
    assert os.get_terminal_size(theirs) == (0, 0)
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with reporter().progress(2, "sampling") as bar:
            bar.update(1)
    assert b"sampling" in os.read(ours, 10_000)
    os.close(ours)


def test_quiet_keeps_warnings_only(capsys) -> None:
    told = reporter(quiet=True)
    told.say("a note")
    told.warn("a warning")
    assert capsys.readouterr().err == "warning: a warning\n"


def test_verbose_adds_details(capsys) -> None:
    reporter(verbose=True).detail("a detail")
    assert capsys.readouterr().err == "a detail\n"


def test_silent_reporter_hands_warnings_to_the_logger(caplog, capsys) -> None:
    SilentReporter().warn("lost?")
    assert caplog.messages == ["lost?"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain caf\u00e9 \u72ac\n", "plain caf\u00e9 \u72ac\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bell\x07 \x9b", "bell\\x07 \\x9b"),
        ("right-to-left \u202e", "right-to-left \\u202e"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown
