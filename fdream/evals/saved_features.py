"""A reference set that was measured once: its features, with the protocol inside.

Features are kept, not only their moments: a limit, a kernel distance and an interval need them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdream.core.errors import DataError
from fdream.core.paths import atomic_write
from fdream.evals.measuring import Measured
from fdream.evals.row_store import Columns

SUFFIX: Final = ".safetensors"
SCHEMA: Final = 1


def save_features(
    path: Path, measured: Measured, protocols: Mapping[str, Mapping[str, str]]
) -> None:
    """Write what was measured of a reference set.

    Args:
        path: ends in ``.safetensors``.
        measured: of the set.
        protocols: of each metric on this set: its own, and which frames it saw.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {
        f"{metric}/{column}": np.ascontiguousarray(values)
        for (metric, kind), columns in measured.columns.items()
        if kind == "clip"
        for column, values in columns.items()
    }
    facts = {
        "schema": SCHEMA,
        "keys": measured.keys,
        "contents": measured.contents,
        "fps": dict(measured.fps),
        "codecs": dict(measured.codecs),
        "sizes": dict(measured.sizes),
        "protocols": {name: dict(said) for name, said in protocols.items()},
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"fdream": json.dumps(facts)}))


def load_features(path: Path, protocols: Mapping[str, Mapping[str, str]]) -> Measured:
    """Read a reference set that was saved, for these metrics.

    Raises:
        DataError: it cannot be read, or was measured under another protocol; names what differs.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["fdream"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if facts["schema"] != SCHEMA:
            raise ValueError(f"schema {facts['schema']}")
        columns = _columns(path, tensors, facts["protocols"], protocols)
        return Measured(
            keys=list(facts["keys"]),
            contents=list(facts["contents"]),
            columns=columns,
            fps=Counter(facts["fps"]),
            codecs=Counter(facts["codecs"]),
            sizes=Counter(facts["sizes"]),
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no saved features of `fdream eval` ({error}).") from error


def _columns(
    path: Path,
    tensors: Mapping[str, Any],
    saved: Mapping[str, Mapping[str, str]],
    wanted: Mapping[str, Mapping[str, str]],
) -> dict[tuple[str, Any], Columns]:
    columns: dict[tuple[str, Any], Columns] = {}
    for metric, protocol in wanted.items():
        if metric not in saved:
            raise DataError(
                f"{path}: holds no features of {metric}, only of {', '.join(saved) or 'none'}. "
                "Measure the reference videos again with --save-real."
            )
        differing = [
            f"{key}: {saved[metric].get(key, 'not said')!r}, wanted {text!r}"
            for key, text in protocol.items()
            if saved[metric].get(key) != text
        ]
        if differing:
            raise DataError(
                f"{path}: {metric} was measured under another protocol: {'; '.join(differing)}. "
                "Use the same recipe, or measure the reference videos again."
            )
        prefix = f"{metric}/"
        columns[metric, "clip"] = {
            key.removeprefix(prefix): values
            for key, values in tensors.items()
            if key.startswith(prefix)
        }
    return columns
