"""The cache: one root, in it a folder for each kind, in that an entry for each thing kept.

    <root>/
      <kind>/              such as latents
        CACHEDIR.TAG       says that the folder is ours, and to backup programs that it may be lost
        <entry>            a file or a folder: what is listed, dated and removed as one

Whatever keeps something goes through ``cache_folder``, which tags. Removal is the other side of
that: only entries of tagged folders are ever removed, and no link is followed. So a root that is
set to a folder with a life of its own, such as a home, loses nothing but what fdream put there.

Source: the tag is that of the Cache Directory Tagging Specification (bford.info/cachedir).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import cache_root

TAG_NAME: Final = "CACHEDIR.TAG"
_TAG: Final = """\
Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by fdream.
# What lies beside it can be made or fetched again; `fdream cache prune` removes it.
"""
_KIND: Final = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache.

    Attributes:
        kind: the folder it lies in.
        path: where.
        size: bytes of its files; of a link that of the link alone.
        changed: when anything in it last changed, seconds since the epoch.
    """

    kind: str
    path: Path
    size: int
    changed: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A folder of the cache.

    Attributes:
        name: of the folder.
        ours: whether fdream made it, so that its entries may be removed.
        entries: what lies in it.
    """

    name: str
    ours: bool
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self.entries)


def cache_folder(kind: str) -> Path:
    """Return the cache's folder for a kind, made and tagged if need be.

    Raises:
        OutputError: it cannot be made, or a folder of that name stands there that is not ours.
    """
    assert _KIND.fullmatch(kind), kind
    folder = cache_root() / kind
    if _is_ours(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
            _refuse_unless_ours(folder)
            return folder
        # Tagged aside and renamed over nothing: of several processes all find it whole.
        aside = folder.with_name(f".{kind}.{uuid4().hex}")
        aside.mkdir()
        (aside / TAG_NAME).write_text(_TAG, encoding="ascii")
        try:
            aside.rename(folder)
        except OSError:  # another was first, or an empty folder may not be replaced here
            if folder.is_dir() and not any(folder.iterdir()):
                (aside / TAG_NAME).replace(folder / TAG_NAME)
            shutil.rmtree(aside)
            _refuse_unless_ours(folder)
    except OSError as error:
        raise OutputError(
            f"cache {folder}: cannot be made ({error.strerror or error}); choose another root with "
            "FDREAM_CACHE."
        ) from error
    return folder


def _refuse_unless_ours(folder: Path) -> None:
    if not _is_ours(folder):
        raise OutputError(
            f"cache {folder}: holds files that fdream did not put there; choose another root with "
            "FDREAM_CACHE."
        )


def survey(root: Path) -> list[Kind]:
    """List what lies in a cache, the folders of others too; an absent root holds nothing.

    Raises:
        UsageError: the root is no folder, or cannot be read.
    """
    if not root.exists():
        return []
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.is_symlink())
        return [Kind(f.name, _is_ours(f), tuple(_entries(f))) for f in folders]
    except OSError as error:
        raise UsageError(
            f"cache {root}: cannot be read ({error.strerror or error}); set FDREAM_CACHE to a "
            "folder of yours."
        ) from error


def to_prune(
    kinds: Iterable[Kind],
    *,
    now: float,
    older_than: float | None = None,
    max_size: int | None = None,
) -> list[Entry]:
    """Choose what to remove from the folders that are ours, oldest first.

    Args:
        kinds: where to choose from.
        now: seconds since the epoch.
        older_than: seconds; what has not changed for so long goes.
        max_size: bytes; of what is left, the oldest goes until no more than this stays.

    Returns:
        The entries; all of them where neither limit is given.
    """
    entries = sorted((e for k in kinds if k.ours for e in k.entries), key=lambda e: e.changed)
    if older_than is None and max_size is None:
        return entries
    chosen = [e for e in entries if older_than is not None and now - e.changed > older_than]
    if max_size is None:
        return chosen
    kept = entries[len(chosen) :]  # both are ordered by age
    size = sum(entry.size for entry in kept)
    for entry in kept:
        if size <= max_size:
            break
        chosen.append(entry)
        size -= entry.size
    return chosen


def remove(entries: Sequence[Entry]) -> None:
    """Remove entries; what cannot be removed stays, and the rest goes all the same.

    Raises:
        OutputError: something could not be removed; names the first of it.
    """
    failed: list[str] = []
    for entry in entries:
        try:
            _remove(entry.path)
        except OSError as error:
            failed.append(f"{entry.path} ({error.strerror or error})")
    if failed:
        raise OutputError(
            f"cache: {len(failed)} of {len(entries)} could not be removed, first {failed[0]}; "
            "check who owns it."
        )


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Out of the way first: a folder that is half gone must not be found by its name.
    doomed = path.with_name(f".pruned-{path.name}")
    if path.name.startswith(".pruned-"):
        doomed = path
    else:
        path.rename(doomed)
    shutil.rmtree(doomed)


def _is_ours(folder: Path) -> bool:
    tag = folder / TAG_NAME
    if folder.is_symlink() or tag.is_symlink() or not tag.is_file():
        return False
    with tag.open("rb") as stream:
        return stream.read(len(_TAG) + 1) == _TAG.encode("ascii")


def _entries(folder: Path) -> list[Entry]:
    paths = sorted(p for p in folder.iterdir() if p.name != TAG_NAME)
    return [_entry(folder.name, path) for path in paths]


def _entry(kind: str, path: Path) -> Entry:
    facts = [path.lstat()]
    if stat.S_ISDIR(facts[0].st_mode):
        for place, _, names in os.walk(path):  # follows no link
            facts += [(Path(place) / name).lstat() for name in names]
    size = sum(fact.st_size for fact in facts if not stat.S_ISDIR(fact.st_mode))
    return Entry(kind, path, size, max(fact.st_mtime for fact in facts))
