"""Shards of video2dataset, ours or others', as an input: every sample is a source again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import PurePosixPath
from typing import IO, Any, Final

from fdream.core.errors import DataError
from fdream.data.prep.sources.rows import LONGEST_CAPTION, SourceRow, caption_in
from fdream.data.shards.members import Member, read_member, scan_members
from fdream.data.shards.reader import VIDEO_SUFFIXES, open_archive

_LARGEST_SIDE_MEMBER: Final = 1 << 20
# What the layout itself says about a sample; it is said anew for what becomes of it.
_OF_THE_LAYOUT: Final = frozenset({"url", "caption", "key", "status", "error_message"})


def shard_rows(shard: str) -> Iterator[SourceRow]:
    """Yield the samples of one shard; where it breaks, a row that says so.

    Args:
        shard: path or address of a tar file.
    """
    name = PurePosixPath(shard).name
    try:
        with open_archive(shard) as archive:
            members = scan_members(archive, name)
            for key, group in groupby(members, key=attrgetter("key")):
                yield _row(archive, shard, key, list(group))
    except DataError as error:
        yield SourceRow(id=f"{name}: rest", url=name, caption="", problem=str(error))


def _row(archive: IO[bytes], shard: str, key: str, members: list[Member]) -> SourceRow:
    name = PurePosixPath(shard).name
    by_suffix = {member.suffix: member for member in members}
    problem = next((member.problem for member in members if member.problem), "")
    video = next((by_suffix[s] for s in VIDEO_SUFFIXES if s in by_suffix), None)
    fields: dict[str, Any] = {}
    caption = ""
    if not problem:
        try:
            fields = _json(archive, by_suffix.get("json"), name)
            text = _side(archive, by_suffix.get("txt"), name)
            caption = caption_in(fields) if text is None else text.decode("utf-8").strip()
        except (DataError, ValueError, RecursionError) as error:
            problem = f"its txt or json cannot be read ({error})"
    if not problem and len(caption) > LONGEST_CAPTION:
        problem = f"a caption of {len(caption)} characters; the limit is {LONGEST_CAPTION}"
        caption = ""
    if not problem and video is None:
        # video2dataset drops the media of a download that failed, and says why.
        problem = str(fields.get("error_message") or "no video among its members")
    return SourceRow(
        id=key,
        url=str(fields.get("url") or f"{name}#{key}"),
        caption=caption,
        path=shard,
        offset=video.offset if video else None,
        size=video.size if video else None,
        suffix=video.suffix if video else "",
        fields={name: value for name, value in fields.items() if name not in _OF_THE_LAYOUT},
        problem=problem,
    )


def _json(archive: IO[bytes], member: Member | None, place: str) -> dict[str, Any]:
    text = _side(archive, member, place)
    found = {} if text is None else json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("its json is no object")
    return found


def _side(archive: IO[bytes], member: Member | None, place: str) -> bytes | None:
    if member is None:
        return None
    if member.size > _LARGEST_SIDE_MEMBER:
        raise ValueError(f"{member.key}.{member.suffix} is larger than 1 MiB")
    return read_member(archive, member, place)
