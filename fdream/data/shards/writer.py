"""Writes tar shards: the same samples give the same bytes, on any day and by any user."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file, such as a member of another archive."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Return them."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


Content = bytes | Path | FileRange
"""What a member holds: bytes, or where they are copied from."""


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, Content]]]) -> None:
    """Write a shard.

    The members of a sample stand together, in the order of their suffixes, as readers of the
    layout expect; headers carry neither time nor owner.

    Args:
        path: the file to write.
        samples: key and members by suffix, in the order wanted.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples:
            for suffix in sorted(members):
                _add(tar, f"{key}.{suffix}", members[suffix])


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Write JSON as shards carry it: sorted keys, ASCII."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"


def _add(tar: tarfile.TarFile, name: str, content: Content) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o444
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        return
    if isinstance(content, Path):
        content = FileRange(content, 0, content.stat().st_size)
    info.size = content.size
    with content.path.open("rb") as file:
        file.seek(content.offset)
        tar.addfile(info, file)
