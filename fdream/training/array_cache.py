"""Arrays that are computed once for a run and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from fdream.core.report import Reporter

_CHUNK = 64


def cached_array(
    base: Path,
    key: Mapping[str, Any],
    rows: int,
    compute: Callable[[range], np.ndarray],
    reporter: Reporter,
) -> np.ndarray:
    """Return the rows of an array, computing them unless a cache with this key is complete.

    The key is part of the file's name, so a cache made under another key is never read.

    Args:
        base: path without ending; the cache is ``<base>-<key hash>.npy``.
        key: everything the content depends on, as JSON values.
        rows: how many.
        compute: makes the rows of a range, all alike in shape and type.
        reporter: where progress goes.

    Returns:
        The array, (rows, ...), mapped read-only from disk.
    """
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = base.with_name(f"{base.name}-{name}.npy")
    if not path.is_file():
        with FileLock(f"{path}.lock"):  # of several processes one computes, the others wait
            _compute(path, base.name, rows, compute, reporter)
    return np.load(path, mmap_mode="r")


def _compute(
    path: Path,
    name: str,
    rows: int,
    compute: Callable[[range], np.ndarray],
    reporter: Reporter,
) -> None:
    if not path.is_file():
        partial = path.with_suffix(".partial")
        first = compute(range(1))
        array = np.lib.format.open_memmap(
            partial, mode="w+", dtype=first.dtype, shape=(rows, *first.shape[1:])
        )
        with reporter.progress(rows, name) as bar:
            for start in range(0, rows, _CHUNK):
                chunk = range(start, min(start + _CHUNK, rows))
                array[chunk.start : chunk.stop] = compute(chunk)
                bar.update(len(chunk))
        array.flush()
        del array
        partial.rename(path)
