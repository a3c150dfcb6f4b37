"""Reads shards: tar files of samples, ours, video2dataset's or any others that webdataset reads.

    for sample in read_shards(find_shards("shards/")):
        sample.key, sample.caption, sample.read_video().frames

One pass, in order, one sample in memory at a time. Which process reads which shards is said by
``part``; shuffling is the caller's, who knows the seed.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError
from fdream.data.shards.members import Member, read_member, scan_members

if TYPE_CHECKING:
    from fdream.data.media import VideoFrames

VIDEO_SUFFIXES: Final = (
    *("mp4", "webm", "mkv", "mov", "avi", "m4v", "ts", "m2ts", "mts", "mpg", "mpeg", "flv"),
    *("ogv", "ogg", "wmv", "asf", "3gp", "3g2", "gif", "apng", "h264", "hevc", "ivf"),
)
APPEARANCE: Final = "appearance.txt"
MOTION: Final = "motion.txt"
FLOW: Final = "flow.safetensors"
LATENTS: Final = "latents.safetensors"
MAX_MEMBER_BYTES: Final = 4 << 30
_RANGE: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardSample:
    """One sample of a shard.

    Attributes:
        key: its name in the shard.
        shard: where the shard is.
        parts: its members by suffix, such as ``mp4``, ``txt``, ``json``, ``motion.txt``.
    """

    key: str
    shard: str
    parts: Mapping[str, bytes]

    @property
    def video_suffix(self) -> str:
        """The suffix of its video.

        Raises:
            DataError: it has none.
        """
        found = next((suffix for suffix in VIDEO_SUFFIXES if suffix in self.parts), None)
        if found is None:
            raise DataError(
                f"{self.shard}, sample {self.key}: no video among {', '.join(sorted(self.parts))}."
            )
        return found

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Its ``json``; empty where there is none.

        Raises:
            DataError: it is not a JSON object.
        """
        try:
            found = json.loads(self.parts.get("json", b"{}"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.shard}, sample {self.key}: broken JSON ({error}).") from error
        if not isinstance(found, dict):
            raise DataError(f"{self.shard}, sample {self.key}: its JSON is not an object.")
        return found

    @property
    def caption(self) -> str:
        """Its whole caption: ``txt``, else what its JSON says, else nothing."""
        if "txt" in self.parts:
            return self._text("txt")
        return str(self.metadata.get("caption") or "")

    @property
    def captions(self) -> CaptionPair:
        """Its caption in two halves; where it was not split, both are the whole."""
        if APPEARANCE not in self.parts and MOTION not in self.parts:
            return CaptionPair(self.caption, self.caption)
        return CaptionPair(self._text(APPEARANCE), self._text(MOTION))

    def _text(self, suffix: str) -> str:
        return self.parts.get(suffix, b"").decode("utf-8", "replace")

    def read_video(self, max_frames: int | None = None) -> VideoFrames:
        """Decode its video.

        Raises:
            DataError: it has none, or one that cannot be read.
        """
        from fdream.data.media import read_video

        video = io.BytesIO(self.parts[self.video_suffix])
        return read_video(video, max_frames, place=f"{self.shard}, sample {self.key}")


def find_shards(source: str | Path) -> list[str]:
    """Find the shards that a user means.

    Args:
        source: a folder, a tar file, or a pattern such as ``shards/{00000..00012}.tar`` or
            ``shards/*.tar``; an address where fsspec knows its protocol.

    Raises:
        DataError: there are none.
    """
    text = str(source)
    if found := _RANGE.search(text):
        first, last = found[1], found[2]
        numbers = range(int(first), int(last) + 1)
        spelt = (f"{number:0{len(first)}d}" for number in numbers)
        return [text[: found.start()] + number + text[found.end() :] for number in spelt]
    if "://" in text:
        return _remote_shards(text)
    path = Path(text)
    if path.is_dir():
        shards = sorted(str(tar) for tar in path.glob("*.tar"))
    elif "*" in text or "?" in text:
        shards = sorted(
            str(tar) for tar in Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        )
    else:
        shards = [text] if path.is_file() else []
    if not shards:
        raise DataError(f"{text}: no shards there; a folder with *.tar, or a tar file, is wanted.")
    return shards


def read_shards(shards: Sequence[str], part: tuple[int, int] = (0, 1)) -> Iterator[ShardSample]:
    """Yield the samples of shards in order.

    Args:
        shards: as ``find_shards`` returns them.
        part: (i, n) reads the i-th of every n shards, for the i-th of n processes.

    Raises:
        DataError: a shard is missing, broken, or holds a member that must not be read.
    """
    mine, parts = part
    for shard in shards[mine::parts]:
        yield from read_shard(shard)


def read_shard(shard: str) -> Iterator[ShardSample]:
    """Yield the samples of one shard; see ``read_shards``."""
    with open_archive(shard) as archive:
        for key, members in groupby(scan_members(archive, shard), key=attrgetter("key")):
            yield ShardSample(key, shard, {m.suffix: _read(archive, m, shard) for m in members})


def open_archive(shard: str) -> IO[bytes]:
    """Open a shard, or any other file that may lie in a remote store, for reading.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        if "://" not in shard:
            return Path(shard).open("rb")
        import fsspec

        return fsspec.open(shard, "rb").open()  # type: ignore[no-any-return]
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shard}: cannot be opened ({reason}).") from error


def _read(archive: IO[bytes], member: Member, shard: str) -> bytes:
    if member.problem:
        raise DataError(f"{shard}: {member.problem}; refused.")
    if member.size > MAX_MEMBER_BYTES:
        raise DataError(f"{shard}: {member.key}.{member.suffix} is larger than 4 GiB; refused.")
    return read_member(archive, member, shard)


def _remote_shards(address: str) -> list[str]:
    import fsspec

    if address.endswith(".tar") and "*" not in address:
        return [address]
    pattern = address if "*" in address else f"{address.rstrip('/')}/*.tar"
    try:
        files = fsspec.open_files(pattern, "rb")
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{address}: cannot be listed ({error}).") from error
    if not files:
        raise DataError(f"{address}: no shards there; *.tar is wanted.")
    return sorted(file.full_name for file in files)
