"""What lies in shards, without decoding it: one line a clip, remembered while a shard is unchanged.

The line holds the sha256 of the clip's bytes. Whatever is computed from a clip is kept under that
name, so that a clip that was replaced, or another file of the same name, is never mistaken for it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Final

from fdream.core.cache import cache_folder
from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError
from fdream.core.paths import atomic_write
from fdream.core.report import Reporter
from fdream.data.media import open_video, video_stream
from fdream.data.shards.members import Member, read_member, scan_members
from fdream.data.shards.reader import VIDEO_SUFFIXES, ShardSample, open_archive
from fdream.data.store import making

KIND: Final = "shard-index"
_REVISION: Final = 2
_TEXTS: Final = frozenset({"json", "txt", "appearance.txt", "motion.txt"})


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """A clip in a shard.

    Attributes:
        shard: where the shard is.
        key: of the sample.
        offset: of the video in the archive.
        size: of the video in bytes.
        sha256: of the video.
        source: the video that it was cut out of, where the shard says so.
        height: of its pictures.
        width: likewise.
        frames: how many; 0 where it cannot be read.
        fps: frames per second.
        appearance: its caption's half for the first frame.
        motion: its caption's half for what happens.
        trouble: why it cannot be read; empty when it can.
    """

    shard: str
    key: str
    offset: int
    size: int
    sha256: str
    source: str = ""
    height: int = 0
    width: int = 0
    frames: int = 0
    fps: float = 0.0
    appearance: str = ""
    motion: str = ""
    trouble: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{Path(self.shard).name}/{self.key}"

    @property
    def captions(self) -> CaptionPair:
        """Both halves."""
        return CaptionPair(self.appearance, self.motion)

    def read(self) -> bytes:
        """Read the video's bytes.

        Raises:
            DataError: the shard is gone, or has changed since it was looked at.
        """
        with open_archive(self.shard) as archive:
            member = Member(self.key, "video", self.offset, self.size)
            data = read_member(archive, member, self.shard)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DataError(f"{self.name}: changed since the run began; start the run again.")
        return data


def index_shards(shards: Sequence[str], reporter: Reporter) -> list[ClipRecord]:
    """List the clips of shards, those that cannot be read among them.

    Raises:
        DataError: a shard is missing or broken.
    """
    found: list[ClipRecord] = []
    with reporter.progress(len(shards), "looking into shards") as bar:
        for shard in shards:
            found += _index(shard)
            bar.update(1, clips=len(found))
    return found


def _index(shard: str) -> list[ClipRecord]:
    identity = json.dumps([_REVISION, *_identity(shard)])
    path = cache_folder(KIND) / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
    with making(path):
        if not path.is_file():
            records = [asdict(record) for record in _scan(shard)]
            with atomic_write(path) as aside:
                aside.write_text(json.dumps(records), encoding="utf-8")
    # The same archive may be found by another path next time.
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [ClipRecord(**{**row, "shard": shard}) for row in rows]


def _identity(shard: str) -> list[Any]:
    """What changes when a shard does: its path, size and time, or what its store says of it."""
    if "://" in shard:
        import fsspec

        store, path = fsspec.core.url_to_fs(shard)
        return [shard, store.ukey(path)]
    path = Path(shard)
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(f"{shard}: cannot be opened ({error.strerror}).") from error
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]


def _scan(shard: str) -> Iterator[ClipRecord]:
    with open_archive(shard) as archive:
        for key, members in groupby(scan_members(archive, shard), key=attrgetter("key")):
            parts = {member.suffix: member for member in members}
            video = next((parts[s] for s in VIDEO_SUFFIXES if s in parts), None)
            if video is not None:
                yield _record(archive, shard, key, video, parts)


def _record(
    archive: IO[bytes], shard: str, key: str, video: Member, parts: dict[str, Member]
) -> ClipRecord:
    if video.problem:
        return ClipRecord(shard, key, video.offset, video.size, "", trouble=video.problem)
    data = read_member(archive, video, shard)
    texts = {s: read_member(archive, m, shard) for s, m in parts.items() if s in _TEXTS}
    known: dict[str, Any] = {
        "shard": shard,
        "key": key,
        "offset": video.offset,
        "size": video.size,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    sample = ShardSample(key, shard, texts)
    try:
        pair = sample.captions
        known |= {"appearance": pair.appearance, "motion": pair.motion}
        known["source"] = str(sample.metadata.get("url") or "")
        return ClipRecord(**known, **_measured(sample.metadata, data, f"{shard}, sample {key}"))
    except DataError as error:
        return ClipRecord(**known, trouble=str(error))


def _measured(metadata: dict[str, Any], data: bytes, place: str) -> dict[str, Any]:
    """Size, length and rate: as ``fdream prep`` noted them, else from the file."""
    noted = [metadata.get(key) for key in ("height", "width", "num_frames", "fps")]
    if all(isinstance(value, (int, float)) and value > 0 for value in noted):
        height, width, frames, fps = (float(value) for value in noted if value is not None)
        return {"height": int(height), "width": int(width), "frames": int(frames), "fps": fps}
    with open_video(io.BytesIO(data), place) as container:
        stream = video_stream(container, place)
        # Counted, not believed: what a header says of the number of frames is often nothing.
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if not frames or not rate:
            raise DataError(f"{place}: holds no readable frame.")
        return {
            "height": stream.height,
            "width": stream.width,
            "frames": frames,
            "fps": rate,
        }
