"""Step shard: from the rows and results of one shard to its files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.core.captions import CaptionPair
from fdream.core.prep_recipe import PrepRecipe
from fdream.data.prep.clipping import SourceResult, StoredClip
from fdream.data.prep.languages import language_of
from fdream.data.prep.samples import Sample, Status, table_of
from fdream.data.prep.sources.rows import SourceRow, fingerprint
from fdream.data.prep.verdicts import judge
from fdream.data.shards.folder import FILTERED, ShardFolder, shard_name
from fdream.data.shards.reader import APPEARANCE, MOTION, VIDEO_SUFFIXES
from fdream.data.shards.writer import Content, json_bytes, write_tar

if TYPE_CHECKING:
    from fdream.stages.interfaces import SplitterStage

# What a shard's bytes depend on; thresholds may change later, see ``settling``.
_DECIDING: Final = ("limits", "cut", "clip", "resize", "measure", "split", "stages", "shard")

Members = dict[str, Content]


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows of one shard.

    Attributes:
        number: of the shard.
        rows: in the order of the input.
    """

    number: int
    rows: Sequence[SourceRow]

    def stamp(self, recipe: PrepRecipe) -> dict[str, str]:
        """Say what the shard is made of, to tell later whether it is still the one wanted."""
        return {"rows": fingerprint(self.rows), "recipe": recipe_stamp(recipe)}


def recipe_stamp(recipe: PrepRecipe) -> str:
    """Hash what the bytes of shards depend on."""
    deciding = recipe.model_dump(mode="json", include=set(_DECIDING))
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


class ShardBuilder:
    """Writes the shards of a run."""

    def __init__(
        self,
        folder: ShardFolder,
        recipe: PrepRecipe,
        splitter: Callable[[], SplitterStage] | None,
    ) -> None:
        """Prepare.

        Args:
            folder: where shards go.
            recipe: of the run.
            splitter: makes what splits captions, when the first are there; None: they stay whole.
        """
        self._folder, self._recipe = folder, recipe
        self._splitter = cache(splitter) if splitter else None

    def build(self, part: Partition, results: Sequence[SourceResult]) -> list[Sample]:
        """Write a shard.

        Args:
            part: its rows.
            results: what became of each.

        Returns:
            Its samples, kept or not.
        """
        samples: list[Sample] = []
        videos: dict[str, Path] = {}
        for index, (row, result) in enumerate(zip(part.rows, results, strict=True)):
            base = f"{part.number:05d}{index:04d}"
            for sample, video in row_samples(base, row, result, self._recipe):
                samples.append(sample)
                if video is not None:
                    videos[sample.key] = video
        self._split_captions(samples)
        judge(samples, self._recipe.filter)
        members: dict[str, Members] = {}
        for sample in samples:
            stored = sample.key in videos and self._stores(sample)
            sample.bytes = videos[sample.key].stat().st_size if stored else 0
            if stored:
                members[sample.key] = {_video_suffix(videos[sample.key]): videos[sample.key]}
        write_shard(self._folder, part.number, samples, members, part.stamp(self._recipe))
        return samples

    def _split_captions(self, samples: Sequence[Sample]) -> None:
        if self._splitter is None:
            return
        captions = sorted({sample.caption for sample in samples})
        halves = dict(zip(captions, self._splitter().split(captions), strict=True))
        for sample in samples:
            pair: CaptionPair = halves[sample.caption]
            sample.appearance, sample.motion_caption = pair.appearance, pair.motion
            sample.camera, sample.split_note = pair.camera or None, pair.note or None
            sample.split_confidence = round(pair.confidence, 6)

    def _stores(self, sample: Sample) -> bool:
        return sample.status == "success" or self._recipe.shard.keep_filtered


def row_samples(
    base: str, row: SourceRow, result: SourceResult, recipe: PrepRecipe
) -> list[tuple[Sample, Path | None]]:
    """Make the samples of one row: one at least, whatever happened.

    Args:
        base: key of the row.
        row: the row.
        result: what became of it.
        recipe: of the run.

    Returns:
        Each with the file of its video.
    """
    about = _about(row, result)
    if result.problem:
        status: Status = "failed_to_subsample" if result.fetched else "failed_to_download"
        failed = Sample(key=base, status=status, error_message=result.problem, **about)
        failed.words = len(failed.caption.split())
        return [(failed, None)]
    made: list[tuple[Sample, Path | None]] = []
    for number, stored in enumerate(result.clips):
        key = f"{base}_{number:05d}" if recipe.clip.use else base
        made.append((_clip_sample(key, row, stored, about, recipe), stored.file or result.file))
    for number, span in enumerate(result.empty_spans, len(result.clips)):
        where = row.spans[span]
        lost = Sample(
            key=f"{base}_{number:05d}",
            status="failed_to_subsample",
            error_message=f"no frame between {where.start_s:g} and {where.end_s:g} s",
            **(about | _span_caption(row, span)),
        )
        made.append((lost, None))
    return made


def write_shard(
    folder: ShardFolder,
    number: int,
    samples: Sequence[Sample],
    members: Mapping[str, Members],
    stamp: Mapping[str, str],
) -> None:
    """Replace the files of a shard.

    Args:
        folder: of the shards.
        number: of the shard.
        samples: all of it, in order.
        members: what is stored of each, by key: its video and what is computed from it; the rest
            is written anew from the sample.
        stamp: what the shard is made of.
    """
    from pyarrow import parquet

    name = shard_name(number)
    stored = [sample for sample in samples if sample.bytes]
    kept = [sample for sample in stored if sample.status == "success"]
    filtered = [sample for sample in stored if sample.status == "filtered"]
    with folder.replacing(number, remove=(folder.filtered_tar(number),)) as aside:
        write_tar(aside / f"{name}.tar", ((s.key, _whole(s, members[s.key])) for s in kept))
        if filtered:
            pairs = ((s.key, _whole(s, _video_alone(members[s.key]))) for s in filtered)
            write_tar(aside / FILTERED / f"{name}.tar", pairs)
        parquet.write_table(table_of(list(samples)), aside / f"{name}.parquet")
        (aside / f"{name}_stats.json").write_bytes(json_bytes(stats_of(samples, stamp)))


def stats_of(samples: Sequence[Sample], stamp: Mapping[str, str]) -> dict[str, Any]:
    """Count a shard as video2dataset does; times are left out, or no two runs would be alike."""
    status = Counter(sample.status for sample in samples)
    reasons = Counter("success" if s.status == "success" else s.error_message for s in samples)
    return {
        "count": len(samples),
        "successes": status["success"],
        "filtered": status["filtered"],
        "failed_to_download": status["failed_to_download"],
        "failed_to_subsample": status["failed_to_subsample"],
        "bytes_downloaded": sum(sample.bytes for sample in samples),
        "status_dict": dict(reasons),
        "fdream": dict(stamp),
    }


def _video_alone(stored: Members) -> Members:
    """Leave out what was computed from the video; only kept clips carry it."""
    return {suffix: part for suffix, part in stored.items() if suffix in VIDEO_SUFFIXES}


def _whole(sample: Sample, stored: Members) -> Members:
    texts: Members = {"txt": sample.caption.encode(), "json": json_bytes(sample.record())}
    if sample.appearance is not None:
        texts[APPEARANCE] = sample.appearance.encode()
    if sample.motion_caption is not None:
        texts[MOTION] = sample.motion_caption.encode()
    return stored | texts


def _about(row: SourceRow, result: SourceResult) -> dict[str, Any]:
    known: dict[str, Any] = {
        "url": row.url,
        "caption": row.caption,
        "id": row.id,
        "source": json.dumps(row.fields, sort_keys=True),
    }
    facts = result.facts
    if facts is not None:
        known |= {
            "source_height": facts.height,
            "source_width": facts.width,
            "source_fps": round(float(facts.fps), 6),
            "source_seconds": round(facts.seconds, 6),
            "container": facts.container,
            "codec": facts.codec,
            "pixels": facts.pixels,
            "rotation": facts.rotation,
            "pixel_aspect": round(facts.pixel_aspect, 6),
            "hdr": facts.hdr or None,
        }
    return known


def _clip_sample(
    key: str, row: SourceRow, stored: StoredClip, about: dict[str, Any], recipe: PrepRecipe
) -> Sample:
    clip = stored.clip
    known = about | _span_caption(row, stored.span)
    caption = str(known["caption"])
    return Sample(
        key=key,
        begins=clip.begins,
        start_s=round(clip.start_s, 6),
        seconds=round(clip.num_frames / clip.fps, 6),
        fps=round(clip.fps, 6),
        num_frames=clip.num_frames,
        height=clip.height,
        width=clip.width,
        words=len(caption.split()),
        language=language_of(caption) if recipe.measure.language and caption else None,
        **known,
        **clip.figures,
    )


def _span_caption(row: SourceRow, span: int | None) -> dict[str, str]:
    caption = row.spans[span].caption if span is not None else None
    return {} if caption is None else {"caption": caption}


def _video_suffix(file: Path) -> str:
    return file.suffix.lstrip(".").lower() or "mp4"
