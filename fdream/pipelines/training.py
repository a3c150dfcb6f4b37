"""Training runs: a recipe becomes an objective, a run folder and the loop between them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from pydantic import BaseModel, ValidationError

from fdream.core import launch
from fdream.core.errors import FdreamError, RecipeError
from fdream.core.paths import atomic_write
from fdream.core.recipe import Recipe, TrainTable
from fdream.core.recipe_io import LoadedRecipe, Problem, problems_in, read_toml
from fdream.core.recipe_merge import differing_keys
from fdream.pipelines.assembly import OBJECTIVES, SOURCES, build_objective
from fdream.training.checkpoints import complete, latest, progress_of
from fdream.training.loop import TrainingLoop
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.report import write_report
from fdream.training.run_folder import RunFolder

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter
    from fdream.training.checkpoints import Progress


_RESOLVED: Final = "recipe.resolved.toml"
_FACTS: Final = "run.json"
_FINISHED: Final = "finished_at_step"


def check_recipe(recipe: Recipe) -> Iterable[Problem]:
    """Find what a recipe's free tables get wrong, before anything is rendered or loaded."""
    source = recipe.data.source
    if source not in SOURCES:
        yield Problem(("data", "source"), f"the sources are: {', '.join(SOURCES)}", source)
    else:
        yield from _table_problems(SOURCES[source], recipe.data.options, ("data", "options"))
        if source == "shards" and recipe.train.objective != "video":
            rule = f"objective {recipe.train.objective!r} learns from spriteworld alone"
            yield Problem(("data", "source"), rule, source)
    options = OBJECTIVES[recipe.train.objective].Options
    yield from _table_problems(options, recipe.objective, ("objective",))
    generator = recipe.stages.generator.use
    if recipe.train.objective == "video" and generator not in ("pocket", "dreamer"):
        yield Problem(
            ("stages", "generator", "use"),
            "only dreamer is trained so far (pocket is dreamer with the packaged bundle)",
            generator,
        )
    if recipe.train.objective == "video":
        yield from _idle_stills(recipe)
    if recipe.train.objective != "autoencoder" and recipe.train.init_from is None:
        yield Problem(
            ("train", "init_from"),
            f"objective {recipe.train.objective!r} starts from a bundle; give its folder",
        )


def _idle_stills(recipe: Recipe) -> Iterable[Problem]:
    try:
        options = VideoOptions.model_validate(recipe.objective)
    except ValidationError:
        return  # which is told already
    if options.image_share and not options.teaches_space:
        yield Problem(
            ("objective", "image_share"),
            "single frames teach the spatial network, and that is frozen; say objective.spatial = "
            '"lora" or "full", or leave image_share out.',
            options.image_share,
        )


def run_training(
    loaded: LoadedRecipe, device: DeviceManager, reporter: Reporter, resume: str = "auto"
) -> tuple[RunFolder, Progress]:
    """Train what a recipe describes.

    Args:
        loaded: the recipe.
        device: where to compute.
        reporter: where progress goes.
        resume: ``auto`` goes on from the run folder's last checkpoint; ``never`` refuses a folder
            that holds one.

    Returns:
        The run folder, and how far the run has come.

    Raises:
        OutputError: the run folder is in use, or cannot be written.
        RecipeError: the folder holds a run of another recipe.
        WeightsError: ``init_from`` holds no bundle.
        Stopped: a signal asked the run to stop; it was saved first.
    """
    recipe, device = loaded.recipe, device.for_training()
    folder = RunFolder(Path(recipe.output_folder()))
    refuse_another_recipe(folder, loaded)
    done = _finished(folder, recipe.train)
    if done is not None and resume == "auto":
        reporter.say(
            f"{folder.root}: finished at step {done.step}; a larger train.steps or train.minutes "
            "goes on from there."
        )
        return folder, done
    # Fresh weights are drawn from torch's global generator; everything later has its own.
    torch.manual_seed(recipe.run.seed)
    objective = build_objective(recipe, device)
    if resume == "never" and complete(folder.checkpoints):
        raise RecipeError(
            f"--resume never: {folder.root} holds checkpoints already; choose another folder with "
            "-s run.output=FOLDER, or go on from them without this option."
        )
    with _ours(folder, loaded, device):
        loop = TrainingLoop(
            objective,
            recipe.train,
            folder,
            recipe.run.seed,
            reporter,
            device,
            recipe.data.workers,
        )
        return folder, _reported(folder, loop)


def _finished(folder: RunFolder, table: TrainTable) -> Progress | None:
    """How far a run has come that came to its end, bundle and report included."""
    newest = latest(folder.checkpoints)
    if newest is None or not folder.bundle.is_dir():
        return None
    progress = progress_of(newest)
    is_out = progress.step >= table.steps or (
        table.minutes is not None and progress.seconds >= 60 * table.minutes
    )
    return progress if is_out and _facts(folder).get(_FINISHED) == progress.step else None


def _note_finished(folder: RunFolder, step: int) -> None:
    """Write down that nothing is left to do; the next session of the run takes it away again."""
    _write_facts(folder, {**_facts(folder), _FINISHED: step})


def _facts(folder: RunFolder) -> dict[str, Any]:
    path = folder.root / _FACTS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _write_facts(folder: RunFolder, facts: dict[str, Any]) -> None:
    with atomic_write(folder.root / _FACTS) as aside:
        aside.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _reported(folder: RunFolder, loop: TrainingLoop) -> Progress:
    """Run the loop, and leave a report however it ends."""
    try:
        progress = loop.run()
    except FdreamError as error:
        if launch.is_main() and folder.log.is_file():
            write_report(folder, str(error))
        raise
    if launch.is_main():
        write_report(folder, f"finished at step {progress.step}")
        _note_finished(folder, progress.step)
    return progress


@contextmanager
def _ours(folder: RunFolder, loaded: LoadedRecipe, device: DeviceManager) -> Iterator[None]:
    """Hold the run folder, for this process and its siblings."""
    if not launch.is_main():
        yield  # the main process holds it for all
        return
    with folder.locked():
        _claim(folder, loaded, device)
        yield


def _table_problems(
    model: type[BaseModel], table: dict[str, Any], location: tuple[str, ...]
) -> Iterable[Problem]:
    try:
        model.model_validate(table)
    except ValidationError as error:
        yield from problems_in(error, location)


def refuse_another_recipe(folder: RunFolder, loaded: LoadedRecipe) -> None:
    """Make sure that a folder holds no run, or this one.

    Raises:
        RecipeError: it holds a run of another recipe.
    """
    resolved = folder.root / _RESOLVED
    if not resolved.is_file():
        return
    keys = differing_keys(_identity(_recipe_of(resolved)), _identity(loaded.recipe))
    if keys:
        raise RecipeError(
            f"run.output = {str(folder.root)!r}: the folder holds a run of another recipe, which "
            f"differs in {', '.join(keys)}; choose another folder with -s run.output=FOLDER, or "
            "remove it."
        )


def _claim(folder: RunFolder, loaded: LoadedRecipe, device: DeviceManager) -> None:
    """Write down what the run is."""
    # Again, now that nobody else can begin one here.
    refuse_another_recipe(folder, loaded)
    (folder.root / _RESOLVED).write_text(loaded.toml(), encoding="utf-8")
    facts = {
        "schema": 1,
        "versions": {
            name: version(name) for name in ("fdream", "torch", "diffusers", "transformers")
        },
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device.describe(),
        "seed": loaded.recipe.run.seed,
    }
    _write_facts(folder, facts)


_FREE: Final = {
    "run": {"device", "dtype", "output", "threads"},
    "data": {"workers"},
    "train": {
        "steps",
        "minutes",
        "log_every",
        "eval_every",
        "sample_every",
        "save_every",
        "save_minutes",
        "compile",
        "deterministic",
        "trackers",
    },
}
"""What may change between a run's sessions: its length, its machine, its reports."""


def _identity(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude={**_FREE, "extends": True})


def _recipe_of(resolved: Path) -> Recipe:
    """Read a run's own recipe; keys that are younger than the run have their defaults."""
    try:
        return Recipe.model_validate(read_toml(resolved))
    except ValidationError as error:
        raise RecipeError(
            f"{resolved}: not a recipe of this fdream ({error.error_count()} problems); the run is "
            "older or was edited: choose another folder with -s run.output=FOLDER."
        ) from error
