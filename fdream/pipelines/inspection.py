"""Looking at data: single steps on an input, finished runs, and other people's shards."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.core.errors import DataError
from fdream.core.prep_recipe import PrepRecipe, ReadTable
from fdream.core.recipe_io import load_recipe, resolved_toml
from fdream.data.prep.report import (
    Findings,
    count_samples,
    examples,
    folder_samples,
    folder_table,
    folder_videos,
    histograms,
    quarantined_samples,
)
from fdream.data.prep.samples import table_of
from fdream.data.prep.shard_builder import row_samples
from fdream.data.prep.sources.find import open_source
from fdream.data.prep.tally import count
from fdream.data.shards.folder import RECIPE, ShardFolder
from fdream.data.shards.overlay import read_overlay
from fdream.data.shards.writer import FileRange

if TYPE_CHECKING:
    from fdream.core.report import Reporter
    from fdream.data.prep.clipping import SourceResult, Step
    from fdream.data.prep.samples import Sample
    from fdream.data.prep.sources.rows import SourceRow
    from fdream.data.prep.tally import Tally
    from fdream.data.shards.overlay import Overlay

_LOOKED_AT: Final = 200
"""Samples of other people's shards that are decoded to be measured."""

_MOST_QUARANTINED: Final = 50
_MOST_SHARDS: Final = 8
"""From which examples are taken."""


def run_findings(
    folder: ShardFolder, recipe: PrepRecipe, tally: Tally, overlay: Overlay | None
) -> Findings:
    """Gather what the report of a run shows.

    Args:
        folder: of its shards.
        recipe: its recipe.
        tally: its counts.
        overlay: what its clips share.
    """
    kept, filtered = examples(
        folder_samples(folder, _MOST_SHARDS), folder_videos(folder), recipe.report.examples
    )
    return Findings(
        title=folder.root.resolve().name,
        tally=tally,
        histograms=list(histograms(folder_table(folder), recipe.filter)),
        kept=kept,
        filtered=filtered,
        quarantined=quarantined_samples(folder.root / "quarantine.parquet", _MOST_QUARANTINED),
        overlay=overlay,
        recipe=resolved_toml(recipe),
    )


def inspect(source: str, workers: int, reporter: Reporter) -> Findings:
    """Look at shards, ours or other people's.

    Ours say what they are in their tables. Of others, the samples are counted, and some of them,
    spread over all shards, are decoded and measured in worker processes.

    Args:
        source: a folder of shards, a shard, or a pattern of them.
        workers: processes that decode.
        reporter: told how far it is.

    Raises:
        DataError: no shards there.
    """
    folder = ShardFolder(Path(source))
    recipe = folder.state / RECIPE
    if recipe.is_file():
        known = load_recipe(recipe, model=PrepRecipe).recipe
        return run_findings(folder, known, count(folder), read_overlay(folder.root))
    found = open_source(source, ReadTable())
    if found.kind != "shards":
        raise DataError(f"{source}: no shards there; --inspect looks at folders of *.tar.")
    total = sum(1 for _ in found.rows())
    if not total:
        raise DataError(f"{source}: its shards hold no samples.")
    every = -(-total // _LOOKED_AT)
    rows = list(islice(found.rows(), 0, None, every))
    return _measured(source, rows, total, workers, reporter)


def single_step(
    source: str, recipe: PrepRecipe, step: Step, workers: int, reporter: Reporter
) -> Iterator[dict[str, Any]]:
    """Do one step, and those it needs, on every source; nothing is stored.

    Args:
        source: as ``run_prep`` takes it.
        recipe: of the steps.
        step: the last one wanted.
        workers: processes that decode.
        reporter: told how far it is.

    Yields:
        For each source what is known of it, ready for JSON.
    """
    found = open_source(source, recipe.read)
    total = sum(1 for _ in found.rows())
    with reporter.progress(total, step) as bar:
        for row, result in _results(found.rows(), recipe, step, workers):
            bar.update(1)
            yield _told(row, result)


def _results(
    rows: Iterator[SourceRow], recipe: PrepRecipe, step: Step, workers: int
) -> Iterator[tuple[SourceRow, SourceResult]]:
    from fdream.data.prep.isolation import IsolatedWorkers, Job

    begun: deque[SourceRow] = deque()
    with tempfile.TemporaryDirectory(prefix="fdream-") as spool:

        def jobs() -> Iterator[Job]:
            for number, row in enumerate(rows):
                begun.append(row)
                yield Job(row, recipe, Path(spool) / str(number), step)

        with IsolatedWorkers(workers, recipe.limits) as pool:
            for result in pool.results(jobs()):
                yield begun.popleft(), result


def _told(row: SourceRow, result: SourceResult) -> dict[str, Any]:
    told: dict[str, Any] = {"id": row.id, "url": row.url}
    if result.problem:
        told["problem"] = result.problem
    if result.facts is not None:
        told["facts"] = asdict(result.facts) | {"fps": float(result.facts.fps)}
    if result.clips:
        told["clips"] = [
            {
                "begins": stored.clip.begins,
                "start_s": round(stored.clip.start_s, 6),
                "seconds": round(stored.clip.num_frames / stored.clip.fps, 6),
                "num_frames": stored.clip.num_frames,
                **stored.clip.figures,
            }
            for stored in result.clips
        ]
    return told


def _measured(
    source: str, rows: list[SourceRow], total: int, workers: int, reporter: Reporter
) -> Findings:
    """Decode and measure samples of shards that no run of ours made."""
    recipe = PrepRecipe.model_validate(
        {"name": "inspect", "clip": {"use": False}, "cut": {"use": False}}
    )
    samples: list[Sample] = []
    places: dict[str, FileRange] = {}
    with reporter.progress(len(rows), "looking") as bar:
        for row, result in _results(iter(rows), recipe, "measure", workers):
            bar.update(1)
            for sample, _ in row_samples(f"{len(samples):09d}", row, result, recipe):
                sample.bytes = row.size or 0
                samples.append(sample)
                if row.offset is not None and row.size is not None and not row.remote:
                    places[sample.key] = FileRange(Path(row.path), row.offset, row.size)
    kept, _ = examples(samples, lambda sample: places.get(sample.key), recipe.report.examples)
    looked = "" if len(rows) == total else f": {len(rows)} of {total} samples"
    return Findings(
        title=f"{Path(source).name}{looked}",
        tally=count_samples(samples, len({row.path for row in rows})),
        histograms=list(histograms(table_of(samples), None)),
        kept=kept,
        filtered=[],
        quarantined=[sample for sample in samples if sample.quarantined][:_MOST_QUARANTINED],
        overlay=None,
        recipe="",
    )
