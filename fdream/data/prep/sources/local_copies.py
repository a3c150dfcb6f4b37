"""Where the local copy of a row's video lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from fdream.data.prep.sources.rows import is_address
from fdream.data.shards.reader import VIDEO_SUFFIXES


def find_local(
    folders: Sequence[Path], video: str | None, name: str | None, page: str | None
) -> Path | None:
    """Find the local copy of a video.

    Args:
        folders: where copies may lie, in the order of search.
        video: a path or an address, as the input says it.
        name: the video's name, such as WebVid's ``videoid``.
        page: the folder of its name, such as WebVid's ``page_dir``.

    Returns:
        A plain file; None when there is none.
    """
    for folder in folders:
        for candidate in _candidates(video, name, page):
            path = folder / candidate
            if path.is_file():
                return path
    return None


def _candidates(video: str | None, name: str | None, page: str | None) -> Iterator[str]:
    if video and not is_address(video):
        yield video
    remote = PurePosixPath(unquote(urlsplit(video).path)) if video and is_address(video) else None
    places = [f"{page}/{name}", name] if name and page else [name] if name else []
    for place in places:
        # A name comes from a table of strangers: it names a file, it does not lead elsewhere.
        if not _is_plain(place):
            continue
        first = [remote.suffix.lstrip(".").lower()] if remote else []
        for suffix in dict.fromkeys([*first, *VIDEO_SUFFIXES]):
            yield f"{place}.{suffix}"
    if remote is not None and _is_plain(remote.name):
        yield remote.name


def _is_plain(place: str) -> bool:
    parts = PurePosixPath(place.replace("\\", "/")).parts
    return (
        bool(parts) and not place.startswith(("/", "\\")) and ".." not in parts and ":" not in place
    )
