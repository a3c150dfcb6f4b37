"""One content-addressed store of arrays: latents, flow and features that are computed once.

An entry is named by the sha256 of everything it depends on, and says inside what that was, with the
sha256 of its own bytes. So an entry cannot go stale: what changes makes another name. Runs and
machines may share a store; whoever needs an entry first computes it, and the others wait.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fdream.core.cache import cache_folder
from fdream.core.errors import DataError, OutputError
from fdream.core.paths import atomic_write

KINDS: Final = ("latents", "flow", "features")
_SUFFIX: Final = ".safetensors"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Pack:
    """An entry of the store.

    Attributes:
        path: its file.
        facts: what its maker noted beside the arrays.
    """

    path: Path
    facts: Mapping[str, Any]

    def read(self, names: list[str]) -> Arrays:
        """Read some of its arrays.

        Raises:
            DataError: it is damaged, or lacks one.
        """
        with _opened(self.path) as opened:
            return {name: opened.get_tensor(name) for name in names}


def entry_path(kind: str, key: Mapping[str, Any]) -> Path:
    """Return where an entry lies, or would lie."""
    return cache_folder(kind) / f"{_name(key)}{_SUFFIX}"


def find(kind: str, key: Mapping[str, Any]) -> Pack | None:
    """Return an entry if it is there."""
    path = entry_path(kind, key)
    if not path.is_file():
        return None
    with _opened(path) as opened:
        facts = json.loads(opened.metadata()["facts"])
    with suppress(OSError):
        path.touch()  # what is used is the last to be pruned
    return Pack(path, facts)


def keep(
    kind: str, key: Mapping[str, Any], compute: Callable[[], tuple[Arrays, Mapping[str, Any]]]
) -> Pack:
    """Return an entry, computing it unless it is there.

    Args:
        kind: a folder of the cache.
        key: everything the content depends on, as JSON values.
        compute: makes the arrays, and facts to note beside them.

    Raises:
        OutputError: it cannot be written.
    """
    path = entry_path(kind, key)
    with making(path):
        found = find(kind, key)
        if found is None:
            arrays, facts = compute()
            _write(path, arrays, key, facts)
            found = Pack(path, facts)
    return found


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Make an entry while other processes wait for it.

    The lock's file goes with it, for `fdream cache` lists what lies there; who waited for one that
    is gone may make the entry a second time, which is whole and the same.
    """
    lock = path.with_name(f".{path.stem}.lock")
    try:
        with FileLock(lock):
            yield
    finally:
        with suppress(OSError):
            lock.unlink()


def damage(path: Path) -> str | None:
    """Say what is wrong with an entry, or None if it is what was written."""
    try:
        with safe_open(path, "numpy") as opened:
            header = opened.metadata() or {}
            if _name(json.loads(header["key"])) != path.stem:
                return "its name is not that of its key"
            names = list(opened.keys())
            arrays = {name: opened.get_tensor(name) for name in names}
        digest = _digest(arrays, header["facts"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        return f"cannot be read ({error})"
    return None if digest == header["sha256"] else "its bytes are not what was written"


def _write(path: Path, arrays: Arrays, key: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    noted = json.dumps(facts)
    header = {"key": json.dumps(key), "facts": noted, "sha256": _digest(whole, noted)}
    with atomic_write(path) as aside:
        try:
            save_file(whole, aside, header)
        except SafetensorError as error:
            raise OutputError(
                f"{path}: cannot be written ({error}); make room (`fdream cache prune`), or choose "
                "another root with FDREAM_CACHE."
            ) from error


def _name(key: Mapping[str, Any]) -> str:
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "numpy") as opened:
            yield opened
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: damaged ({error}); `fdream cache verify --remove` removes such entries, and "
            "the next run computes them again."
        ) from error


def _digest(arrays: Arrays, facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
