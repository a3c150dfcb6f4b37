"""The Typer app, and the one place where what went wrong becomes an exit code.

Importing this module, and ``--help``, load neither torch nor pydantic-settings: commands import
their work when they run.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from fdream.cli import (
    cache,
    caption_split,
    config,
    doctor,
    eval,
    generate,
    models,
    plugins,
    prep,
    recipes,
    render,
    replay,
    show,
    train,
)
from fdream.cli.params import Verbosity
from fdream.cli.sharing import WORDS
from fdream.core import telemetry
from fdream.core.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_PIPE_CLOSED,
    EXIT_TERMINATED,
    DeviceError,
    FdreamError,
    OutputError,
    UsageError,
)

_COMPLETION_VARIABLE = "_FDREAM_COMPLETE"
# Libraries leave the terminal to us.
_LIBRARY_MANNERS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}

app = typer.Typer(
    name="fdream",
    # Plain help: no rich to import, the same text on every terminal and in docs/cli.md.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(generate.t2v)
app.command()(generate.t2i)
app.command()(generate.i2v)
app.command()(show.show)
app.command()(replay.replay)
app.command()(prep.prep)
app.command()(caption_split.caption_split)
app.command()(train.train)
app.add_typer(eval.app, name="eval")
app.add_typer(recipes.app, name="recipes")
app.command()(models.models)
app.add_typer(plugins.app, name="plugins")
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(cache.app, name="cache")


class Terminated(BaseException):
    """SIGTERM arrived; derived so that no ``except Exception`` keeps the process alive."""


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        from fdream import __version__

        try:
            torch = version("torch")
        except PackageNotFoundError:
            torch = "missing"
        render.line(f"fdream {__version__} (Python {sys.version.split()[0]}, torch {torch})")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more on stderr.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Tell only warnings and errors.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and all logs.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show versions and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Make videos from text: first the image, then its motion.

    Results go to stdout, everything else to stderr. Options of fdream itself come before the
    command: fdream -v doctor

    \b
    Examples:
      fdream t2v "a corgi surfing" -o out.mp4
      fdream t2i "a corgi surfing" | fdream i2v -o out.mp4
      fdream doctor
    """
    del version
    if verbose and quiet:
        raise UsageError("--verbose and --quiet contradict each other; keep one of them.")
    ctx.obj = Verbosity(quiet=quiet, verbose=verbose, debug=debug)
    _configure_logging(ctx.obj)


def main() -> NoReturn:
    """Run the process' command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    _refuse_closed_streams()
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run a command line.

    Args:
        args: without the program's name; none at all asks for help.

    Returns:
        The exit code; the table is in ``core.errors``.
    """
    telemetry.switch_off()
    for name, value in _LIBRARY_MANNERS.items():
        os.environ.setdefault(name, value)
    try:
        code = _invoke(list(args) or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        # Quietly: the reader, such as ``head``, has had enough.
        _abandon_stdout()
        return EXIT_PIPE_CLOSED
    except OSError as fault:
        if not _is_without_room(fault):
            raise
        _abandon_stdout()
        render.error(f"cannot write to standard output: {fault.strerror}; make room there.")
        return OutputError.exit_code
    return code


def _invoke(args: list[str]) -> int:
    debug = "--debug" in args
    try:
        if _COMPLETION_VARIABLE in os.environ:
            app(args, prog_name="fdream")
        # make_context and invoke, not main: that one would swallow closed pipes and interrupts.
        command = typer.main.get_command(app)
        words = tuple(args)  # making a context uses them up
        with command.make_context("fdream", args) as ctx:
            ctx.meta[WORDS] = words
            command.invoke(ctx)
        return 0
    except typer.Exit as done:
        return done.exit_code
    except typer.TyperException as fault:
        render.error(_usage_letter(fault))
        return fault.exit_code
    except FdreamError as fault:
        render.error(_letter(fault, debug))
        return fault.exit_code
    except MemoryError as fault:
        render.error(
            _letter(fault, debug, "out of memory; try a smaller --size or fewer --frames.")
        )
        return DeviceError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        render.error("interrupted.")
        return EXIT_INTERRUPTED
    except Terminated:
        render.error("terminated.")
        return EXIT_TERMINATED
    except BrokenPipeError:
        raise
    except Exception as fault:
        if _is_without_room(fault):
            raise
        if isinstance(fault, OSError) and fault.errno == errno.ENAMETOOLONG:
            # Only what the user wrote is that long; a path may stand in any option.
            message = f"{fault.filename}: no file can have a name this long; shorten it."
            render.error(_letter(fault, debug, message))
            return UsageError.exit_code
        # The last door: what gets here is our mistake, and the user is told so.
        message = f"this is a bug in fdream: {type(fault).__name__}: {fault}".rstrip(".") + "."
        hint = "" if debug else " Run it again as `fdream --debug ...` and report what it shows."
        render.error(_letter(fault, debug, message + hint))
        return EXIT_BUG


def _letter(fault: BaseException, debug: bool, message: str | None = None) -> str:
    """Return the message of an error, with the traceback if that was asked for."""
    text = message or str(fault)
    if not debug:
        return text
    return "".join(traceback.format_exception(fault)) + text


def _usage_letter(fault: typer.TyperException) -> str:
    """Return Typer's complaint with the command whose help explains it."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context else "fdream"
    said = fault.format_message().rstrip(".")
    said += "" if said.endswith("?") else "."
    return f"{said} Try `{command} --help`."


def _refuse_closed_streams() -> None:
    """Meet streams that were closed from outside, as by ``>&-``; Python leaves None in their place.

    Without stderr nothing can be told, and without stdout no result: only the second is a fault.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        render.error("standard output is closed; send it to a file, or to /dev/null.")
        sys.exit(OutputError.exit_code)


def _is_without_room(fault: Exception) -> bool:
    """Whether stdout is full: it alone is written to without a name."""
    no_room = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(fault, OSError) and fault.filename is None and fault.errno in no_room


def _abandon_stdout() -> None:
    """Let what is still to be written go nowhere: Python flushes once more when it exits."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _configure_logging(told: Verbosity) -> None:
    import logging

    from fdream.core.report import LOGGER_NAME

    level = logging.DEBUG if told.debug else logging.INFO if told.verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger(LOGGER_NAME).setLevel(level)
