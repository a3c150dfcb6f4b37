"""What a measurement needs before a video is decoded: metrics, sets, and what fits together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fdream.core.cache import cache_folder
from fdream.core.errors import DataError, FdreamError, StageError, UsageError, WeightsError
from fdream.core.eval_recipe import EvalRecipe
from fdream.core.launch import num_processes
from fdream.core.paths import CACHE_VARIABLE, cache_root
from fdream.core.recipe_io import Problem
from fdream.evals.clips import ClipRule, Start
from fdream.evals.measuring import Pass
from fdream.evals.saved_features import SUFFIX
from fdream.evals.sets import Source, drawn_order, find_sources, sprite_sources
from fdream.pipelines.eval_samples import generated_sources
from fdream.stages import registry
from fdream.stages.interfaces import Metric

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter

SPRITEWORLD: Final = "spriteworld"
GENERATED: Final = "generated"
ABSENT: Final = {
    "lpips": (
        "not built in: its weights are pickles and its package needs torchvision, and fdream opens "
        "neither; a plugin of kind metric may offer it"
    ),
    "is-c3d": (
        "not built in: nobody publishes the sha256 of its TorchScript file, and no other is "
        "opened; is-frame is another score and no stand-in"
    ),
}
"""Metrics that papers report and fdream lacks, and why."""
OFFLINE: Final = "fvd-sprite"
"""The metric whose network ships with fdream, and was trained on SpriteWorld."""
MOTION: Final = "flow"
"""The metric without which consistency is not shown."""
_MANY: Final = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A measurement that was asked for.

    Attributes:
        recipe: the protocol.
        lenient: whether metrics that cannot run are skipped, as under ``--all``.
        offline: whether ``fvd`` may give way to ``fvd-sprite`` where its network is missing.
        strict: whether a video that cannot be measured ends the run.
        save_real: where to keep the reference set's features; None: nowhere.
        engine: ``local``, or ``ray``, which measures on a cluster first.
    """

    recipe: EvalRecipe
    lenient: bool = False
    offline: bool = False
    strict: bool = False
    save_real: Path | None = None
    engine: str = "local"


def check_eval(recipe: EvalRecipe) -> Iterator[Problem]:
    """Look up every metric and validate its options, before anything is loaded."""
    named = [registry.split_argument(name)[0] for name in recipe.measure.metrics]
    for position, name in enumerate(recipe.measure.metrics):
        try:
            given = recipe.measure.options.get(named[position], {})
            registry.options("metric", name, given)
        except FdreamError as error:
            yield Problem(("measure", "metrics"), str(error), name)
    for name in recipe.measure.options:
        if name not in registry.declared("metric"):
            yield Problem(("measure", "options", name), "no such metric is installed.")


def all_metrics() -> list[str]:
    """Return every metric that is installed, in the order of their names."""
    return sorted(registry.declared("metric"))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a measurement needs before the first video is decoded.

    Attributes:
        metrics: that can be run, by name.
        real: the pass over the reference set.
        fake: the pass over the generated set.
        real_sources: in drawn order; empty where there is no reference, or a saved one.
        fake_sources: in drawn order.
        skipped: metrics that cannot be run, and why.
        warnings: so far.
    """

    metrics: Mapping[str, Metric]
    real: Pass
    fake: Pass
    real_sources: Sequence[Source]
    fake_sources: Sequence[Source]
    skipped: dict[str, str]
    warnings: list[str]


def make_plan(request: Request, device: DeviceManager, reporter: Reporter) -> Plan:
    """Build the metrics, find the videos, and leave out what does not fit together."""
    recipe = request.recipe
    if recipe.sets.fake is None:
        raise UsageError(
            "eval: no videos to measure; name them with --fake, and what they are held against "
            "with --real."
        )
    _check_saving(request)
    warnings: list[str] = []
    skipped: dict[str, str] = dict(ABSENT) if request.lenient else {}
    metrics = _build(request, device, warnings, skipped)
    if OFFLINE in metrics and recipe.sets.real != SPRITEWORLD:
        warnings.append(
            "fvd_sprite and kvd_sprite: their features know SpriteWorld alone; of other videos "
            "they say next to nothing, and they are no FVD."
        )
    real_sources, fake_sources = _sets(recipe, device, reporter)
    metrics = _runnable(request, metrics, fake_sources, recipe.sets.real is not None, skipped)
    temporal = (n for n, m in metrics.items() if any(f.temporal for f in m.figures))
    table, cache = recipe.measure, cache_folder("eval")
    fake = Pass(
        rule=_rule(recipe, recipe.clips.fake_start),
        metrics=metrics,
        cache=cache,
        batch_size=table.batch_size,
        workers=table.workers,
        frozen=frozenset(temporal),
    )
    twice = bool(real_sources) and _places(real_sources) == _places(fake_sources)
    real = replace(
        fake,
        # From other windows the same videos would not be at zero, and nobody could check that.
        rule=fake.rule if twice else _rule(recipe, recipe.clips.real_start),
        metrics=_for_reference(metrics, real_sources),
        frozen=frozenset(),
    )
    return Plan(metrics, real, fake, real_sources, fake_sources, skipped, warnings)


def _check_saving(request: Request) -> None:
    """Refuse ``--save-real`` where there is nothing to save, or nothing would find it again."""
    path, real = request.save_real, request.recipe.sets.real
    if path is None:
        return
    if real is None or real.endswith(SUFFIX):
        raise UsageError(f"--save-real {path}: keeps features of videos; name them with --real.")
    if path.suffix != SUFFIX:
        raise UsageError(f"--save-real {path}: its name has to end with {SUFFIX}.")


def _places(sources: Sequence[Source]) -> set[str]:
    return {str(Path(source.place).absolute()) for source in sources}


def _rule(recipe: EvalRecipe, start: Start) -> ClipRule:
    clips = recipe.clips
    return ClipRule(
        frames=clips.frames,
        stride=clips.stride,
        fps=clips.fps,
        size=None if clips.native else clips.size,
        resize=clips.resize,
        start=start,
        seed=clips.seed,
    )


def _build(
    request: Request, device: DeviceManager, warnings: list[str], skipped: dict[str, str]
) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {}
    table = request.recipe.measure
    waiting = list(dict.fromkeys(table.metrics))
    while waiting:
        asked = waiting.pop(0)
        name = registry.split_argument(asked)[0]
        if name in metrics:
            continue
        try:
            given = table.options.get(name, {})
            metrics[name] = registry.build("metric", asked, given, device=device)
        except WeightsError as error:
            if request.offline and name == "fvd":
                warnings.append(
                    "fvd: I3D is not here, so the offline features of SpriteWorld's classifier "
                    f"stand in as fvd_sprite, which is no FVD. {_told(error)}"
                )
                waiting.insert(0, OFFLINE)
                continue
            if not request.lenient:
                raise
            skipped[name] = _told(error)
        except (StageError, UsageError) as error:
            if not request.lenient:
                raise
            skipped[name] = _told(error)
        else:
            steady = any(figure.consistency for figure in metrics[name].figures)
            if steady and MOTION not in (*metrics, *waiting):
                waiting.append(MOTION)
    return metrics


def _told(error: FdreamError) -> str:
    """Say why, without where this machine keeps its cache: the result travels."""
    return str(error).replace(str(cache_root()), CACHE_VARIABLE)


def _sets(
    recipe: EvalRecipe, device: DeviceManager, reporter: Reporter
) -> tuple[list[Source], list[Source]]:
    """Return both sets in drawn order; the reference is empty where there is none, or saved."""
    named, world = recipe.sets.real, recipe.world
    real: list[Source] = []
    if named == SPRITEWORLD:
        from fdream.data.spriteworld.world import SpriteWorld

        place = SpriteWorld(
            cast=world.sprites, size=world.size, frames=world.frames, split=world.split
        )
        count = recipe.sets.num or _MANY
        real = sprite_sources(place, world.first_seed, count, world.fps)
    elif named is not None and not named.endswith(SUFFIX):
        real = find_sources(named)
    fake = recipe.sets.fake or ""
    if fake == GENERATED:
        if num_processes() > 1:
            raise UsageError(
                "eval: sets.fake = 'generated' makes videos in one process; run it once without "
                "the launcher, which keeps them."
            )
        made = generated_sources(recipe, drawn_order(real, recipe.clips.seed), device, reporter)
        return drawn_order(real, recipe.clips.seed), made
    seed = recipe.clips.seed
    return drawn_order(real, seed), drawn_order(find_sources(fake), seed)


def _runnable(
    request: Request,
    metrics: dict[str, Metric],
    fake: Sequence[Source],
    has_real: bool,
    skipped: dict[str, str],
) -> dict[str, Metric]:
    """Leave out metrics that these sets have nothing for; refuse instead unless lenient."""
    kept = {}
    for name, metric in metrics.items():
        reason = lacks(name, metric, fake, has_real)
        if not reason:
            kept[name] = metric
        elif request.lenient:
            skipped[name] = reason
        else:
            raise UsageError(reason)
    if not kept:
        told = "; ".join(skipped.values()) or "name one with --metric, or take --all"
        raise UsageError(f"eval: no metric can be run: {told}")
    return kept


def lacks(name: str, metric: Metric, fake: Sequence[Source], has_real: bool) -> str:
    """Say what these sets lack for a metric; nothing where it can be run."""
    if not has_real and any(figure.statistic == "frechet" for figure in metric.figures):
        return f"metric {name}: compares two sets; name the reference videos with --real."
    if "captions" in metric.needs:
        without = [source for source in fake if not _caption(source)]
        if without:
            return (
                f"metric {name}: {len(without)} of {len(fake)} videos have no caption, such as "
                f"{without[0].place}. Captions come from fdream's own records, a .txt beside the "
                "video, or the column `caption` of a list."
            )
    if "flow" in metric.needs and not all(source.knows_flow for source in fake):
        return (
            f"metric {name}: the generated videos' true flow is not known; it is where they are "
            "animated from SpriteWorld's first frames: -s generated.from_reference=true"
        )
    return ""


def _caption(source: Source) -> str:
    try:
        return source.caption()
    except DataError:
        return "unreadable"  # it is listed when it is read


def _for_reference(metrics: Mapping[str, Metric], real: Sequence[Source]) -> dict[str, Metric]:
    """Return the metrics that the reference set can be measured by too."""
    kept = {}
    for name, metric in metrics.items():
        told = "captions" not in metric.needs or all(_caption(s) for s in real)
        if told and ("flow" not in metric.needs or all(s.knows_flow for s in real)):
            kept[name] = metric
    return kept
