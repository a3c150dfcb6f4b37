"""The verdict over a whole run: thresholds anew, and duplicates, which no shard can see alone.

Every shard is first written by its own figures. Then the figures of all are looked at together,
and the shards whose verdicts differ are rewritten: clips move between the shard and its filtered
twin, and nothing is decoded. The same figures and thresholds always lead to the same shards, so
this may be interrupted, repeated, or done later with other thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fdream.core.errors import DataError
from fdream.data.prep.hashes import HashIndex
from fdream.data.prep.samples import Sample, Status, samples_of
from fdream.data.prep.shard_builder import Members, write_shard
from fdream.data.prep.verdicts import judge
from fdream.data.shards.members import scan_members
from fdream.data.shards.reader import VIDEO_SUFFIXES
from fdream.data.shards.writer import FileRange

if TYPE_CHECKING:
    from fdream.core.prep_recipe import PrepRecipe
    from fdream.core.report import Reporter
    from fdream.data.shards.folder import ShardFolder

# Written anew from the sample whenever a shard is.
_TEXTS = frozenset({"txt", "json", "appearance.txt", "motion.txt"})


def read_samples(folder: ShardFolder, number: int) -> list[Sample]:
    """Read the table of a shard.

    Raises:
        DataError: it is missing, broken, or not ours.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = folder.table(number)
    try:
        return samples_of(parquet.read_table(path))
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as the table of our shards ({error}).") from error


def settle(folder: ShardFolder, recipe: PrepRecipe, reporter: Reporter) -> int:
    """Bring all shards to the verdicts that their figures and these thresholds lead to.

    Args:
        folder: of the shards; the caller holds its lock.
        recipe: its ``[filter]`` decides, and whether filtered clips are stored.
        reporter: told how far it is.

    Returns:
        How many shards were rewritten.

    Raises:
        DataError: clips would come back that were not stored; nothing is changed then.
    """
    changed: dict[int, list[tuple[Status, str, int]]] = {}
    missing = 0
    for number, old, new in _verdicts(folder, recipe):
        if old == new:
            continue
        changed[number] = [(sample.status, sample.error_message, sample.bytes) for sample in new]
        pairs = zip(old, new, strict=True)
        missing += sum(b.status == "success" and not b.bytes for a, b in pairs if a != b)
    if missing:
        raise DataError(
            f"{folder.root}: {missing} filtered clips would pass now, but were not stored "
            "(shard.keep_filtered = false); prepare the input again into another folder."
        )
    with reporter.progress(len(changed), "settling") as bar:
        for number, verdicts in changed.items():
            samples = read_samples(folder, number)
            for sample, verdict in zip(samples, verdicts, strict=True):
                sample.status, sample.error_message, sample.bytes = verdict
            rewrite(folder, number, samples)
            bar.update()
    return len(changed)


def rewrite(
    folder: ShardFolder, number: int, samples: list[Sample], more: dict[str, Members] | None = None
) -> None:
    """Write a shard again from what is stored of it.

    Args:
        folder: of the shards.
        number: of the shard.
        samples: all of it, with the statuses wanted.
        more: members to add, by key.
    """
    members: dict[str, Members] = {k: dict(m) for k, m in stored_members(folder, number).items()}
    for key, added in (more or {}).items():
        members[key] = members[key] | added
    stamp = json.loads(folder.stats(number).read_text(encoding="utf-8"))["fdream"]
    write_shard(folder, number, samples, members, stamp)


def stored_members(folder: ShardFolder, number: int) -> dict[str, dict[str, FileRange]]:
    """Find what is stored of each clip of a shard, kept or filtered, but for its texts."""
    found: dict[str, dict[str, FileRange]] = {}
    for path in (folder.tar(number), folder.filtered_tar(number)):
        if not path.exists():
            continue
        with path.open("rb") as archive:
            for member in scan_members(archive, str(path)):
                if member.suffix not in _TEXTS:
                    place = FileRange(path, member.offset, member.size)
                    found.setdefault(member.key, {})[member.suffix] = place
    return found


def stored_videos(folder: ShardFolder, number: int) -> dict[str, FileRange]:
    """Find the video of each clip of a shard, kept or filtered."""
    return {
        key: part
        for key, members in stored_members(folder, number).items()
        for suffix, part in members.items()
        if suffix in VIDEO_SUFFIXES
    }


def _verdicts(
    folder: ShardFolder, recipe: PrepRecipe
) -> Iterator[tuple[int, list[Sample], list[Sample]]]:
    """Yield each shard with its samples as they are and as they should be."""
    index = HashIndex()
    keys: list[str] = []
    for number in folder.done():
        old, new = read_samples(folder, number), read_samples(folder, number)
        judge(new, recipe.filter)
        for sample in new:
            _judge_duplicate(sample, recipe.filter.max_duplicate_bits, index, keys)
            if sample.status == "filtered" and not recipe.shard.keep_filtered:
                sample.bytes = 0
        yield number, old, new


def _judge_duplicate(sample: Sample, within: int | None, index: HashIndex, keys: list[str]) -> None:
    """Filter a clip that an earlier source has already; of several the first is kept."""
    if within is None or sample.status != "success" or sample.phash is None:
        return
    source = int(sample.key.partition("_")[0])
    found = index.nearest(sample.phash, source, within)
    if found is not None:
        sample.status = "filtered"
        sample.error_message = f"max_duplicate_bits: like {keys[found]}"
        return
    index.add(sample.phash, source)
    keys.append(sample.key)
