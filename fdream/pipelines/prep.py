"""Data preparation: an input becomes shards; interrupted anywhere, it goes on where it was."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fdream.core.errors import DataError, RecipeError, StageError
from fdream.core.paths import atomic_write
from fdream.core.prep_recipe import PrepRecipe
from fdream.core.recipe_io import LoadedRecipe, Problem, load_recipe
from fdream.core.recipe_merge import differing_keys
from fdream.data.prep.overlay import find_overlay
from fdream.data.prep.report_page import write_report
from fdream.data.prep.settling import settle
from fdream.data.prep.shard_builder import Partition, recipe_stamp
from fdream.data.prep.sources.find import open_source
from fdream.data.prep.tally import Tally, count, write_quarantine
from fdream.data.shards.folder import RECIPE, ShardFolder
from fdream.pipelines.inspection import run_findings
from fdream.pipelines.prep_engines import Making, make_locally, make_on_ray
from fdream.stages import registry

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Bar, Reporter
    from fdream.data.prep.sources.rows import SourceRow

_LIBRARIES: Final = (
    "fdream",
    "av",
    "opencv-python-headless",
    "scenedetect-headless",
    "numpy",
    "pyarrow",
)


def check_prep(recipe: PrepRecipe) -> Iterable[Problem]:
    """Find what a recipe gets wrong beyond its shape, before anything is read."""
    if recipe.resize.size is not None and recipe.resize.short_side is not None:
        yield Problem(("resize", "short_side"), "size says it all; keep one of them.")
    wanted = recipe.filter
    for figures, names in _FIGURES.items():
        used = [name for name in names if getattr(wanted, name) not in (None, ())]
        if used and not getattr(recipe.measure, figures):
            key = ("filter", used[0])
            rule = f"needs measure.{figures} = true."
            yield Problem(key, rule, getattr(wanted, used[0]))
    choice = recipe.stages.splitter
    try:
        registry.options("splitter", choice.use, choice.options)
    except StageError as error:
        yield Problem(("stages", "splitter"), str(error))


_FIGURES: Final = {
    "motion": ("min_motion", "max_motion", "max_frozen"),
    "light": ("min_brightness", "max_brightness", "max_bars"),
    "text": ("max_text",),
    "hash": ("max_duplicate_bits",),
    "language": ("languages",),
}


@dataclass(frozen=True, slots=True)
class PrepRun:
    """A run that is about to happen.

    Attributes:
        source: what the user named.
        output: folder of the shards.
        loaded: the recipe.
        workers: processes that decode.
        engine: one of ``ENGINES``.
        device: chooses the device when a stage needs one.
        reporter: progress and warnings.
    """

    source: str
    output: Path
    loaded: LoadedRecipe[PrepRecipe]
    workers: int
    engine: str
    device: Callable[[], DeviceManager]
    reporter: Reporter


def run_prep(run: PrepRun) -> Tally:
    """Prepare an input, or go on preparing it.

    Raises:
        DataError: the input cannot be read, is empty, or is not the one these shards were made of.
        RecipeError: these shards were made by a recipe that differs in more than thresholds.
        OutputError: the shards cannot be written.
    """
    recipe = run.loaded.recipe
    source = open_source(run.source, recipe.read)
    folder = ShardFolder(run.output)
    engine = {"local": make_locally, "ray": make_on_ray}[run.engine]
    with folder.locked():
        _claim(folder, run.loaded)
        total = sum(1 for _ in source.rows())
        if not total:
            raise DataError(f"{run.source}: holds not one row or video; name another input.")
        parts = partitions(source.rows(), recipe.shard.rows)
        making = Making(run.output.absolute(), recipe, run.workers, run.device)
        with run.reporter.progress(total, "preparing") as bar:
            for rows in engine(making, _missing(folder, recipe, parts, bar)):
                bar.update(rows)
        _refuse_leftovers(folder, -(-total // recipe.shard.rows))
        return _finish(folder, recipe, run.device, run.reporter)


def run_refilter(
    output: Path,
    sets: Iterable[str],
    unsets: Iterable[str],
    device: Callable[[], DeviceManager],
    reporter: Reporter,
) -> Tally:
    """Apply other thresholds to shards that exist; no source is decoded.

    Raises:
        DataError: no shards of ours, or clips would come back that were not stored.
        RecipeError: something else than thresholds would change.
    """
    folder = ShardFolder(output)
    path = folder.state / RECIPE
    if not path.is_file():
        raise DataError(f"{output}: no shards of `fdream prep` there; --refilter needs theirs.")
    before = load_recipe(path, model=PrepRecipe).recipe
    loaded = load_recipe(path, list(sets), list(unsets), [check_prep], model=PrepRecipe)
    if loaded.recipe.model_copy(update={"filter": before.filter}) != before:
        raise RecipeError(
            f"{output}: without decoding only filter.* can change; prepare the input again into "
            "another folder."
        )
    with folder.locked():
        _write_recipe(folder, loaded.recipe)
        return _finish(folder, loaded.recipe, device, reporter)


def partitions(rows: Iterator[SourceRow], size: int) -> Iterator[Partition]:
    """Divide the rows of an input into shards, the same way every time."""
    number = 0
    while part := list(islice(rows, size)):
        yield Partition(number, part)
        number += 1


def _missing(
    folder: ShardFolder, recipe: PrepRecipe, parts: Iterable[Partition], bar: Bar
) -> Iterator[Partition]:
    """Yield the shards that are not there yet, and hold the others to the input."""
    done = set(folder.done())
    for part in parts:
        if part.number not in done:
            yield part
            continue
        made_of = json.loads(folder.stats(part.number).read_text(encoding="utf-8")).get("fdream")
        if made_of != part.stamp(recipe):
            raise DataError(
                f"{folder.stats(part.number)}: made of other rows than the input has there now; "
                "name another folder, or delete this one."
            )
        bar.update(len(part.rows))


def _refuse_leftovers(folder: ShardFolder, shards: int) -> None:
    if len(folder.done()) > shards:
        raise DataError(
            f"{folder.root}: has {len(folder.done())} shards, the input gives {shards}; name "
            "another folder, or delete this one."
        )


def _finish(
    folder: ShardFolder,
    recipe: PrepRecipe,
    device: Callable[[], DeviceManager],
    reporter: Reporter,
) -> Tally:
    """Do what needs all shards: the last verdict, what is computed, the overlay, the report."""
    settle(folder, recipe, reporter)
    if recipe.flow.use or recipe.latents.use:
        from fdream.data.prep.precompute import precompute

        precompute(folder, recipe, device, reporter)
    write_quarantine(folder)
    tally = count(folder)
    overlay = find_overlay(folder, recipe.overlay.clips) if recipe.overlay.use else None
    if overlay is not None:
        reporter.warn(
            f"{100 * overlay.area:.1f} % of the picture is the same in {overlay.clips} clips, as a "
            f"watermark is; see {folder.root / 'overlay'}."
        )
    if recipe.report.use:
        findings = run_findings(folder, recipe, tally, overlay)
        write_report(folder.root / "report.html", findings)
    return tally


def _claim(folder: ShardFolder, loaded: LoadedRecipe[PrepRecipe]) -> None:
    """Refuse a folder of another recipe, and note ours in a fresh one."""
    path = folder.state / RECIPE
    if path.is_file():
        before = load_recipe(path, model=PrepRecipe).recipe
        if recipe_stamp(before) != recipe_stamp(loaded.recipe):
            keys = differing_keys(before.model_dump(), loaded.recipe.model_dump())
            named = ", ".join(key for key in keys if "." in key)
            raise RecipeError(
                f"{folder.root}: its shards were made with other {named}; "
                "name another folder, or say the same again."
            )
    elif folder.done():
        raise DataError(
            f"{folder.root}: holds shards that `fdream prep` did not make; name another folder."
        )
    _write_recipe(folder, loaded.recipe)
    facts = {
        "schema": 1,
        "versions": {name: metadata.version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    with atomic_write(folder.state / "run.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_recipe(folder: ShardFolder, recipe: PrepRecipe) -> None:
    from fdream.core.recipe_io import resolved_toml

    with atomic_write(folder.state / RECIPE) as temporary:
        temporary.write_text(resolved_toml(recipe), encoding="utf-8")


def default_workers() -> int:
    """One process for each core that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
