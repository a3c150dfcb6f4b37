"""The door: exit codes, errors, help, pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
import typer
from typer.main import get_command

import fdream as package
from fdream.cli import app as app_module
from fdream.core import errors
from fdream.core.errors import FdreamError

# What every command has in common is held here; what it does, in its own test file.


def walk(command: object, name: str = "fdream") -> Iterator[tuple[str, object]]:
    yield name, command
    for sub_name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, f"{name} {sub_name}")


COMMANDS = dict(walk(get_command(app_module.app)))
LEAVES = [name for name, command in COMMANDS.items() if not getattr(command, "commands", None)]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_declares_a_flag_twice(name: str) -> None:
    flags = Counter(
        flag
        for parameter in COMMANDS[name].params
        for flag in [*parameter.opts, *parameter.secondary_opts]
    )
    assert [flag for flag, times in flags.items() if times > 1] == []


def test_no_command_is_registered_twice() -> None:
    """The later one would replace the earlier without a word."""
    names = [command.callback.__name__ for command in app_module.app.registered_commands]
    names += [group.name for group in app_module.app.registered_groups]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", LEAVES)
def test_every_help_has_examples(fdream, name: str) -> None:
    ran = fdream(*name.split()[1:], "--help")
    assert ran.code == 0
    assert "Examples:\n" in ran.out
    assert f"{name}" in ran.out.partition("Examples:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = [p for p in COMMANDS[name].params if p.param_type_name == "option"]
    assert [p.name for p in options if not p.help] == []


def test_version(fdream) -> None:
    ran = fdream("--version")
    assert ran.code == 0
    assert ran.out.startswith(f"fdream {package.__version__} (Python ")


def test_nothing_asked_is_help(fdream) -> None:
    assert fdream().out == fdream("--help").out != ""


@pytest.mark.parametrize("args", [["nonsense"], ["doctor", "--nonsense"], ["-v", "-q", "doctor"]])
def test_wrong_usage_is_2_and_says_so_on_stderr(fdream, args: list[str]) -> None:
    ran = fdream(*args)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("fdream: error: ")


def test_misspelt_command_is_answered_with_the_nearest(fdream) -> None:
    assert "Did you mean 'doctor'?" in fdream("doctr").err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Add a command that raises what it is told to."""

    def make(fault: BaseException):
        broken = typer.Typer(rich_markup_mode=None)
        broken.callback()(app_module.root)

        @broken.command()
        def fail() -> None:
            raise fault

        monkeypatch.setattr(app_module, "app", broken)

    return make


FAULTS = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, FdreamError)
]


@pytest.mark.parametrize("fault", FAULTS)
def test_our_errors_are_one_line_with_their_code(fdream, failing, fault) -> None:
    failing(fault("place = value: rule; next step."))
    ran = fdream("fail")
    assert ran.code == fault.exit_code
    assert ran.err == "fdream: error: place = value: rule; next step.\n"


def test_anything_else_is_our_bug(fdream, failing) -> None:
    failing(KeyError("x"))
    ran = fdream("fail")
    assert ran.code == 70
    assert "bug in fdream: KeyError" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["t2i", "x", "--prior", "diffusers:{}"],
        ["t2i", "x", "--prior", "pocket:{}"],
        ["t2v", "x", "--generator", "dreamer:{}@base"],
        ["train", "{}"],
        ["train", "smoke", "--init-from", "{}"],
        ["models", "{}"],
        ["prep", "{}", "-o", "out"],
        ["doctor", "--model", "diffusers:{}"],
    ],
    ids=" ".join,
)
def test_a_name_too_long_for_any_file_is_no_bug_of_ours(fdream, in_tmp, words) -> None:
    ran = fdream(*(word.format("a" * 400) for word in words))
    assert ran.code == 2
    assert "no file can have a name this long; shorten it." in ran.err


def test_debug_shows_the_traceback(fdream, failing) -> None:
    failing(errors.DataError("unreadable"))
    ran = fdream("--debug", "fail")
    assert ran.code == 4
    assert "Traceback" in ran.err
    assert ran.err.rstrip().endswith("unreadable")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (KeyboardInterrupt(), 130),
        (app_module.Terminated(), 143),
        (MemoryError(), 5),
        (BrokenPipeError(), 141),
        (typer.Exit(1), 1),
    ],
)
def test_ends_that_are_no_errors_of_ours(fdream, failing, fault, code: int) -> None:
    failing(fault)
    assert fdream("fail").code == code


def test_messages_cannot_command_the_terminal(fdream, failing) -> None:
    failing(errors.DataError("a \x1b[2J prompt [red]x[/red]"))
    assert fdream("fail").err == "fdream: error: a \\x1b[2J prompt [red]x[/red]\n"


def shell(code: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **kwargs
    )


HEAVY = "torch pydantic_settings diffusers transformers numpy rich tqdm av cv2"


@pytest.mark.parametrize(
    "work",
    ["import fdream.cli.app", "from fdream.cli.app import run; assert run(['--help']) == 0"],
)
def test_help_loads_nothing_heavy(work: str) -> None:
    ran = shell(
        f"{work}\nimport sys\n"
        f"print('LOADED', *[name for name in {HEAVY.split()!r} if name in sys.modules])"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "fdream", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert ran.stderr == ""
    assert ran.returncode == 141


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_codes(sent: signal.Signals, code: int) -> None:
    program = (
        "import sys, os, signal\n"
        "from fdream.cli import app, render\n"
        # A shell's background job is born deaf to it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(*args, **kwargs):\n"
        f"    os.kill(os.getpid(), {int(sent)})\n"
        "    signal.pause()\n"
        "render.table = wait\n"
        "sys.argv = ['fdream', 'recipes', 'list']\n"
        "app.main()\n"
    )
    ran = shell(program)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr


def test_libraries_report_to_nobody(fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    fdream("--version")
    assert [os.environ.get(name) for name in names] == ["1", "1"]
    monkeypatch.setenv("DO_NOT_TRACK", "0")  # whoever wants it may
    fdream("--version")
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_completion_knows_the_commands() -> None:
    environment = {
        **os.environ,
        "_FDREAM_COMPLETE": "complete_bash",
        "COMP_WORDS": "fdream do",
        "COMP_CWORD": "1",
    }
    ran = shell("from fdream.cli.app import main; main()", env=environment)
    assert ran.stdout.split() == ["doctor"], ran.stderr
