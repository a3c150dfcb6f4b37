"""What a running command tells its user, on stderr; results go elsewhere.

Library code is handed a ``Reporter`` and never prints. Only this module knows tqdm.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol, TextIO

LOGGER_NAME: Final = "fdream"
_KEPT: Final = frozenset("\n\t\u200d")  # the last one joins emoji


def logger() -> logging.Logger:
    """Return the one logger of the library; only the command line configures it."""
    return logging.getLogger(LOGGER_NAME)


def printable(text: str) -> str:
    r"""Show control and direction-changing characters as escapes, such as ``\x1b``.

    Prompts and metadata come from strangers, and a terminal obeys escape sequences.
    """
    return "".join(c if _is_harmless(c) else _escape(c) for c in text)


class Bar(Protocol):
    """Progress of one task."""

    def update(self, n: int = 1, **figures: object) -> None:
        """Advance by ``n`` and show the latest figures, such as ``loss=0.12``."""

    def row(self, figures: Mapping[str, float]) -> None:
        """Tell figures worth keeping, as one JSON line where no bar is drawn."""


class Reporter(Protocol):
    """Progress, notes and warnings."""

    def progress(
        self, total: int | None, description: str, initial: int = 0
    ) -> AbstractContextManager[Bar]:
        """Open a progress bar; ``initial`` is what an earlier run had done."""

    def say(self, text: str) -> None:
        """Tell something worth knowing; silent under ``-q``."""

    def detail(self, text: str) -> None:
        """Tell something only ``-v`` asks for."""

    def warn(self, text: str) -> None:
        """Tell something the user should act on; never silent."""


def reporter(quiet: bool = False, verbose: bool = False) -> Reporter:
    """Return the reporter for this process' stderr: bars on a terminal, else lines alone."""
    return StderrReporter(quiet=quiet, verbose=verbose)


class StderrReporter:
    """Writes to stderr as it is at the moment of writing, so that tests may capture it."""

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        """Remember how much to tell."""
        self._quiet = quiet
        self._verbose = verbose

    @contextmanager
    def progress(self, total: int | None, description: str, initial: int = 0) -> Iterator[Bar]:
        """Open a tqdm bar on a terminal, one that only writes rows elsewhere."""
        if self._quiet or not sys.stderr.isatty():
            yield SilentBar() if self._quiet else _Lines()
            return
        from tqdm import tqdm

        with tqdm(
            total=total,
            initial=initial,
            desc=printable(description),
            file=sys.stderr,
            leave=False,
            **_shape(),
        ) as bar:
            yield _TqdmBar(bar)

    def say(self, text: str) -> None:
        """Write a line unless quiet."""
        if not self._quiet:
            _write_line(sys.stderr, text)

    def detail(self, text: str) -> None:
        """Write a line if verbose."""
        if self._verbose:
            _write_line(sys.stderr, text)

    def warn(self, text: str) -> None:
        """Write a line that begins with ``warning:``."""
        _write_line(sys.stderr, f"warning: {text}")


def _shape() -> dict[str, Any]:
    """How tqdm learns the terminal's size; a fresh one, as containers have, says 0 by 0."""
    try:
        sized = all(os.get_terminal_size(sys.stderr.fileno()))
    except OSError:  # it is none that the system knows
        sized = False
    return {"dynamic_ncols": True} if sized else {"ncols": 80, "nrows": 24}


class SilentReporter:
    """Tells nothing; for library use and tests. Warnings go to the logger."""

    @contextmanager
    def progress(self, total: int | None, description: str, initial: int = 0) -> Iterator[Bar]:
        """Open a bar that shows nothing."""
        del total, description, initial
        yield SilentBar()

    def say(self, text: str) -> None:
        """Drop the text."""

    def detail(self, text: str) -> None:
        """Drop the text."""

    def warn(self, text: str) -> None:
        """Hand the text to the logger, so that it is not lost."""
        logger().warning("%s", text)


class SilentBar:
    """A bar that shows nothing."""

    def update(self, n: int = 1, **figures: object) -> None:
        """Do nothing."""

    def row(self, figures: Mapping[str, float]) -> None:
        """Do nothing."""


class _Lines(SilentBar):
    def row(self, figures: Mapping[str, float]) -> None:
        _write_line(sys.stderr, json.dumps(dict(figures)))


class _TqdmBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, n: int = 1, **figures: object) -> None:
        if figures:
            self._bar.set_postfix(figures, refresh=False)
        self._bar.update(n)

    def row(self, figures: Mapping[str, float]) -> None:
        """Drop them: the bar shows them already."""


def _write_line(stream: TextIO, text: str) -> None:
    if not stream.isatty():
        stream.write(printable(text) + "\n")
        stream.flush()
        return
    from tqdm import tqdm

    tqdm.write(printable(text), file=stream)  # draws over no bar


def _is_harmless(character: str) -> bool:
    # Cc: control, Cf: format (bidirectional overrides, joiners), Cs: lone surrogates.
    return character in _KEPT or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
