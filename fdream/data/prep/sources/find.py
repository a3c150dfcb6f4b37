"""From what the user named to rows, whatever kind of input it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fdream.core.errors import DataError
from fdream.core.prep_recipe import ReadTable
from fdream.data.prep.sources.archives import shard_rows
from fdream.data.prep.sources.files import file_row, folder_rows, video_files
from fdream.data.prep.sources.rows import (
    SourceRow,
    is_address,
    is_video_name,
    public_address,
    suffix_of,
)
from fdream.data.prep.sources.stores import list_store, store_rows, video_row
from fdream.data.prep.sources.tables import TABLES, table_rows
from fdream.data.shards.reader import find_shards


@dataclass(frozen=True, slots=True)
class Source:
    """An input.

    Attributes:
        kind: ``table``, ``shards``, ``folder`` or ``video``.
        rows: starts reading it from the beginning; the same rows every time.
    """

    kind: str
    rows: Callable[[], Iterator[SourceRow]]


def open_source(name: str, read: ReadTable) -> Source:
    """Find out what an input is; nothing of it is read yet.

    Args:
        name: a table, a folder of videos or of shards, a pattern of shards, or a video; a path, or
            an address that fsspec knows.
        read: the recipe's ``[read]``.

    Raises:
        DataError: nothing there, or nothing that can be prepared.
    """
    if suffix_of(name) in TABLES:
        if not is_address(name) and not Path(name).is_file():
            raise DataError(f"{name}: no such file.")
        return Source("table", lambda: table_rows(name, read))
    pattern = ("*" in name or (".." in name and "{" in name)) and not Path(name).is_file()
    if pattern and is_video_name(name):
        raise DataError(f"{name}: a pattern stands for shards (*.tar); name the videos' folder.")
    if pattern or suffix_of(name) == "tar":
        return _shards(name)
    if is_address(name):
        return _store(name)
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DataError(f"{name}: no such file or folder.")
    return Source("video", lambda: iter([file_row(path, path.name)]))


def _folder(path: Path) -> Source:
    if _holds_shards(str(path), any(path.glob("*.tar")), bool(video_files(path))):
        return _shards(str(path))
    return Source("folder", lambda: folder_rows(path))


def _store(address: str) -> Source:
    if is_video_name(public_address(address)):
        return Source("video", lambda: iter([video_row(address)]))
    listing = list_store(address)
    shards = any(suffix_of(name) == "tar" and "/" not in name for name in listing.names)
    if _holds_shards(address, shards, any(map(is_video_name, listing.names))):
        return _shards(address)
    return Source("folder", lambda: store_rows(listing))


def _holds_shards(place: str, shards: bool, videos: bool) -> bool:
    """Whether a folder is read as shards or as videos; it must be clear which."""
    if shards and videos:
        raise DataError(
            f"{place}: holds both shards and videos; name one of them, such as "
            f"'{place.rstrip('/')}/*.tar'."
        )
    if not shards and not videos:
        raise DataError(
            f"{place}: holds neither videos nor shards; a table (.csv, .jsonl, .parquet) is named "
            "itself."
        )
    return shards


def _shards(name: str) -> Source:
    shards = find_shards(name)

    def rows() -> Iterator[SourceRow]:
        for shard in shards:
            yield from shard_rows(shard)

    return Source("shards", rows)
