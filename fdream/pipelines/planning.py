"""A plan: what a run will take, from a few real steps of it, and what the report holds it to."""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from fdream.core.paths import atomic_write
from fdream.core.recipe import Recipe
from fdream.core.recipe_io import resolved_toml
from fdream.data.store import KINDS
from fdream.pipelines.proof import finish_run
from fdream.training.clips.buckets import Bucket
from fdream.training.clips.shards import ShardsOptions, survey
from fdream.training.report import Row, pace, read_rows
from fdream.training.run_folder import RunFolder

if TYPE_CHECKING:
    from fdream.core.report import Reporter

_STEPS: Final = 4
_HELD_OUT: Final = 2
_NEVER: Final = 10**9


@dataclass(frozen=True, slots=True)
class Predicted:
    """Figures that the report compares with what came.

    Attributes:
        step_s: seconds a step.
        minutes: of training, without what follows.
        memory_gb: most memory, of the device; on a CPU of the process.
        disk_gb: of the run folder at its end.
    """

    step_s: float
    minutes: float
    memory_gb: float
    disk_gb: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take.

    Attributes:
        predicted: see there.
        prepare_minutes: until the first step, with an empty cache.
        other_minutes: measuring, drawing and saving in between.
        cache_gb: what the store will hold of it.
        ends: when it will be done, if it begins now; local time, ISO 8601.
        probed: what was tried: steps, samples a step, size.
        recipe: what was planned.
    """

    predicted: Predicted
    prepare_minutes: float
    other_minutes: float
    cache_gb: float
    ends: str
    probed: str
    recipe: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Data:
    """What the data is to the plan.

    Attributes:
        changes: settings that keep the probe small, and at the largest size.
        share: how many times the probe's work the whole preparation is.
        told: the size.
    """

    changes: dict[str, Any]
    share: float
    told: str


def plan_run(arguments: Sequence[str], recipe: Recipe, reporter: Reporter) -> Plan:
    """Train a few steps of a recipe in a process of its own, and extrapolate.

    The probe has its own empty cache, takes clips of the largest bucket, and measures, draws and
    saves once. What is left of it is ``plan.json`` in the run folder.

    Args:
        arguments: of ``fdream train`` for this recipe, without this plan.
        recipe: as those arguments mean it.
        reporter: where progress goes.

    Raises:
        FdreamError: the probe failed, as the run would.
    """
    data = _shards(recipe, reporter) if recipe.data.source == "shards" else _drawn(recipe)
    changes = {
        "train.steps": _STEPS,
        "train.log_every": 1,
        "train.probe_every": 0,
        **dict.fromkeys(("train.eval_every", "train.sample_every", "train.save_every"), _NEVER),
        **dict.fromkeys(("train.minutes", "train.save_minutes"), _NEVER),
        "train.trackers": "[]",
        "data.validation": min(_HELD_OUT, recipe.data.validation),
        **data.changes,
    }
    command = [sys.executable, "-m", "fdream", "-q", "train", *arguments]
    for key, value in changes.items():
        command += ["-s", f"{key}={value}"]
    reporter.say(f"probing {_STEPS} steps of {recipe.train.batch_size} samples, {data.told}")
    with tempfile.TemporaryDirectory(prefix="fdream-plan-") as name:
        place = Path(name)
        finish_run(command, place / "run", {"FDREAM_CACHE": str(place / "cache")})
        plan = _extrapolated(recipe, RunFolder(place / "run"), place / "cache", data)
    file = Path(recipe.output_folder()) / "plan.json"
    with atomic_write(file) as aside:
        aside.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    return plan


def _extrapolated(recipe: Recipe, probe: RunFolder, cache: Path, data: _Data) -> Plan:
    table, rows = recipe.train, read_rows(probe)
    figures = pace(rows)
    training_s = table.steps * figures["step_s"]
    if table.minutes is not None:
        training_s = min(training_s, 60 * table.minutes)
    steps = training_s / figures["step_s"]
    times = {name: _seconds(rows, name) for name in ("prepare_s", "save_s", "evaluate_s", "draw_s")}
    saves = max(steps / table.save_every, training_s / (60 * table.save_minutes)) + 1
    evaluations, drawings = steps / table.eval_every + 1, steps / table.sample_every + 1
    held_out = recipe.data.validation / min(_HELD_OUT, recipe.data.validation)
    other_s = (
        saves * times["save_s"]
        + evaluations * times["evaluate_s"] * held_out
        + drawings * times["draw_s"]
    )
    prepare_s = times["prepare_s"] * data.share
    sizes = {part: _bytes(part) for part in (probe.checkpoints, probe.samples, probe.sheets)}
    rest = probe.bytes_on_disk - sum(sizes.values()) - _bytes(probe.cache)
    drawn = (sizes[probe.samples] + sizes[probe.sheets]) * drawings
    # The probe has saved once, a run keeps two.
    kept = sizes[probe.checkpoints] * min(2, round(saves)) + rest + drawn
    own_cache = _bytes(probe.cache) * data.share
    stored = sum(_bytes(cache / kind) for kind in KINDS) * data.share
    seconds = prepare_s + training_s + other_s
    return Plan(
        Predicted(
            step_s=figures["step_s"],
            minutes=training_s / 60,
            memory_gb=figures.get("memory_gb", 0.0),
            disk_gb=(kept + own_cache) / 1e9,
        ),
        prepare_minutes=prepare_s / 60,
        other_minutes=other_s / 60,
        cache_gb=stored / 1e9,
        ends=(datetime.now().astimezone() + timedelta(seconds=seconds)).isoformat("T", "minutes"),
        probed=f"{_STEPS} steps of {table.batch_size} x {table.accumulate} samples, {data.told}",
        recipe=tomllib.loads(resolved_toml(recipe)),
    )


def _shards(recipe: Recipe, reporter: Reporter) -> _Data:
    options = ShardsOptions.model_validate(recipe.data.options)
    found = survey(options, recipe.data.validation, reporter).sorted
    largest = max(found.training, key=_volume)
    clips = max(4, recipe.train.batch_size // options.views) + _HELD_OUT
    work: float = sum(_volume(bucket) * len(part) for bucket, part in found.training.items())
    work += sum(_volume(bucket) for _, bucket in found.held_out) / options.views
    probed = _volume(largest) * (clips - _HELD_OUT + _HELD_OUT / options.views)
    changes = {
        "data.options.max_clips": clips,
        "data.options.sizes": f'["{largest.width}x{largest.height}"]',
        "data.options.frames": f"[{largest.frames}]",
    }
    return _Data(changes, max(1.0, work / probed), str(largest))


def _drawn(recipe: Recipe) -> _Data:
    size = recipe.data.options.get("size", [128, 128])
    told = f"{size[1]}x{size[0]}"
    clips = recipe.objective.get("clips")
    if clips is None or recipe.train.objective != "video":
        return _Data({}, 1.0, told)
    few = min(clips, max(8, recipe.train.batch_size))
    return _Data({"objective.clips": few}, clips / few, told)


def _volume(bucket: Bucket) -> int:
    return bucket.height * bucket.width * bucket.frames


def _seconds(rows: Sequence[Row], name: str) -> float:
    found = [row[name] for row in rows if name in row]
    return median(found) if found else 0.0


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
