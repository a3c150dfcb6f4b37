"""Where files go: the cache, and results that appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fdream.core.errors import DataError, OutputError

APP_NAME: Final = "fdream"
CACHE_VARIABLE: Final = "FDREAM_CACHE"
CONFIG_VARIABLE: Final = "FDREAM_CONFIG"
_LONGEST_SLUG: Final = 48
_LONGEST_STEM: Final = 100
# Windows opens a device for these, whatever their ending.
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))]
)


def cache_root() -> Path:
    """Return the folder for what can be made or fetched again; it may not exist yet."""
    from platformdirs import user_cache_path

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_cache_path(APP_NAME)


def user_settings_file() -> Path:
    """Return the user's settings file; it may not exist."""
    from platformdirs import user_config_path

    chosen = os.environ.get(CONFIG_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_config_path(APP_NAME) / "config.toml"


@contextmanager
def atomic_write(path: Path, *, replace_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` on success and vanishes on failure.

    The name and suffix are kept, because encoders choose their format by it. What is written may
    be a file or a folder; a folder replaces nothing but an absent or empty one. A device or a
    named pipe cannot be renamed over and gets the bytes instead.

    Args:
        path: the final place; missing parent folders are made.
        replace_folder: whether a folder that holds something is replaced too: the caller knows
            that nothing else is lost with it.

    Raises:
        OutputError: the place cannot be written.
    """
    special = path.exists() and not (path.is_file() or path.is_dir())
    final = path.resolve() if path.is_symlink() and not special else path
    with _as_output_error(path):
        if final.is_dir() and any(final.iterdir()) and not replace_folder:
            raise OutputError(f"{path} is a folder that is not empty; name another output.")
        if not special:
            final.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own, so that the temporary file can have the right name and mode.
        beside = None if special else final.parent
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name[:32]}.", dir=beside))
    temporary = aside / final.name
    try:
        with _as_output_error(path, aside):
            yield temporary
            if special:
                _copy_bytes(temporary, final)
            else:
                _put(temporary, final, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(temporary: Path, final: Path, aside: Path) -> None:
    """Rename into place; a folder that holds something has to step aside, to vanish with it."""
    if not (final.is_dir() and any(final.iterdir())):
        temporary.replace(final)
        return
    # No name of ours: it may not meet the temporary's.
    old = Path(tempfile.mkdtemp(dir=aside)) / "old"
    final.replace(old)
    try:
        temporary.replace(final)
    except OSError:
        old.replace(final)
        raise


def _copy_bytes(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer)


@contextmanager
def _as_output_error(path: Path, aside: Path | None = None) -> Iterator[None]:
    """Name the output in errors of the file system that are about it, and let others pass."""
    try:
        yield
    except OSError as error:
        named = error.filename
        about_us = aside is None or named is None or Path(str(named)).is_relative_to(aside)
        # No errno: not the file system's, such as Pillow's complaint about an unknown image.
        if isinstance(error, BrokenPipeError) or error.errno is None or not about_us:
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}. "
            "Choose another place with -o, or make room and check its permissions."
        ) from error


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Name the input in errors of the file system: a disk may fail midway, a share may go away.

    Args:
        place: what to call it in messages.

    Raises:
        DataError: something inside the block could not be read.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}).") from error


def slug(text: str) -> str:
    """Turn a prompt into a file name's stem: ASCII letters, digits and single hyphens.

    Args:
        text: anything.

    Returns:
        1 to 48 characters, cut at a word where possible; ``untitled`` when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.lower())
    stem = ""
    for word in words:
        longer = f"{stem}-{word}" if stem else word[:_LONGEST_SLUG]
        if len(longer) > _LONGEST_SLUG:
            break
        stem = longer
    return stem or "untitled"


def file_stem(name: str) -> str:
    """Turn a name that somebody gave into a file name's stem, changed as little as possible.

    Args:
        name: anything; it may come from a stranger's list.

    Returns:
        At most 100 bytes of letters, digits, spaces and ``._-``, anything else as ``_``; it hides
        no file, is no option and names no device.
    """
    kept = "".join(c if c.isalnum() or c in "._- " else "_" for c in name.strip())
    stem = kept.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(". ")
    if not stem:
        return "untitled"
    taken = stem.startswith("-") or stem.split(".")[0].upper() in _DEVICES
    return f"_{stem}" if taken else stem


def is_same(one: Path, other: Path) -> bool:
    """Whether two names lead to one file or folder that is there."""
    return one.exists() and other.exists() and one.samefile(other)


def unused(path: Path) -> Path:
    """Return ``path``, or the first of ``stem-2.ext``, ``stem-3.ext``, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
