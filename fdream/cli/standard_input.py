"""Standard input as a file, for readers that have to go back in it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import reading

STDIN: Final = "-"
PLACE: Final = "standard input"

_PIECE: Final = 1 << 20


def nobody_pipes() -> bool:
    """Whether standard input is a terminal, or closed."""
    return sys.stdin is None or sys.stdin.isatty()


@contextmanager
def spooled_input(command: str) -> Iterator[Path]:
    """Write all of standard input to a file that lasts as long as the block.

    Args:
        command: whose input it is, for the message to somebody at a terminal.

    Raises:
        UsageError: standard input is a terminal.
        DataError: it cannot be read to its end.
        OutputError: there is no room for it.
    """
    if nobody_pipes():
        raise UsageError(
            f"{command}: no file; name one that fdream made, or pipe it in: "
            f'fdream t2i "a corgi surfing" | fdream {command}'
        )
    with tempfile.TemporaryDirectory(prefix="fdream-") as folder:
        path = Path(folder) / "input"
        try:
            # Closed before it is read: Windows opens no file twice.
            with path.open("wb") as file:
                for piece in iter(_read_piece, b""):
                    file.write(piece)
        except OSError as error:
            raise OutputError(
                f"{PLACE} cannot be kept in {folder} ({error.strerror or error}); make room, or "
                "set TMPDIR to a larger place."
            ) from error
        yield path


def _read_piece() -> bytes:
    with reading(PLACE):
        return sys.stdin.buffer.read(_PIECE)
