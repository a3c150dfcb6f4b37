"""What was measured in each clip, kept on disk: a killed run goes on where it was.

A store belongs to one metric under one protocol; a row is named by the clip's content and window.
Rows are appended in small files that appear whole or not at all, so several processes may share a
store, and a kill costs what was not yet written.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdream.core.paths import atomic_write

Columns = dict[str, NDArray[np.float32]]

_SECONDS: Final = 20.0
_ROWS: Final = 256


class RowStore:
    """The rows of one metric under one protocol.

    Args:
        root: folder of all stores.
        name: of the metric.
        protocol: everything a row depends on beside the clip, as JSON values.
    """

    def __init__(self, root: Path, name: str, protocol: Mapping[str, Any]) -> None:
        text = json.dumps(protocol, sort_keys=True)
        self.folder = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._protocol = text
        self._place: dict[str, tuple[Path, int]] = {}
        self._waiting: list[tuple[str, Columns]] = []
        self._written = time.monotonic()
        self.refresh()

    def refresh(self) -> None:
        """Learn of the rows that are on disk, other processes' too."""
        for part in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(part, framework="numpy") as file:
                    names = json.loads((file.metadata() or {})["rows"])
            except (SafetensorError, OSError, KeyError, ValueError):
                part.unlink(missing_ok=True)  # damaged: what it held is measured again
                continue
            self._place.update({name: (part, row) for row, name in enumerate(names)})

    def __contains__(self, name: str) -> bool:
        """Say whether a row is there."""
        return name in self._place

    def add(self, names: Sequence[str], columns: Mapping[str, NDArray[np.floating]]) -> None:
        """Take in rows, (B, ...) by column; they are written now and then."""
        for row, name in enumerate(names):
            kept = {key: np.asarray(values[row], np.float32) for key, values in columns.items()}
            self._waiting.append((name, kept))
            self._place[name] = (Path(), -1)
        if len(self._waiting) >= _ROWS or time.monotonic() - self._written > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._written = time.monotonic()
        if not self._waiting:
            return
        names = [name for name, _ in self._waiting]
        columns = {
            key: np.stack([kept[key] for _, kept in self._waiting]) for key in self._waiting[0][1]
        }
        part = self.folder / f"{uuid.uuid4().hex}.safetensors"
        protocol = {"rows": json.dumps(names), "protocol": self._protocol}
        with atomic_write(part) as temporary:
            temporary.write_bytes(save(columns, metadata=protocol))
        self._place.update({name: (part, row) for row, name in enumerate(names)})
        self._waiting.clear()

    def rows(self, names: Sequence[str]) -> Columns:
        """Return the rows of these names, in their order, (N, ...) by column."""
        self.flush()
        by_part: dict[Path, list[tuple[int, int]]] = {}
        for position, name in enumerate(names):
            part, row = self._place[name]
            by_part.setdefault(part, []).append((position, row))
        gathered: Columns = {}
        for part, places in by_part.items():
            positions, rows = (list(numbers) for numbers in zip(*places, strict=True))
            with safe_open(part, framework="numpy") as file:
                for key in file.keys():  # noqa: SIM118
                    values = file.get_tensor(key)
                    if key not in gathered:
                        shape = (len(names), *values.shape[1:])
                        gathered[key] = np.empty(shape, np.float32)
                    gathered[key][positions] = values[rows]
        return gathered


def row_name(content: str, place: float, kind: str) -> str:
    """Name a row by what the clip shows: its content, where the window starts, and its kind."""
    return hashlib.sha256(f"{content}/{place:.12f}/{kind}".encode()).hexdigest()[:32]
