"""Measure videos: from a recipe to figures with their protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fdream.core.errors import DataError
from fdream.evals.figures import Figure, frechet_figures, inception_figure, mean_figure
from fdream.evals.measuring import Measured, SetMeasurer
from fdream.evals.report import Material
from fdream.evals.resampling import MOST_GROUPS
from fdream.evals.results import Result
from fdream.evals.saved_features import SUFFIX, load_features, save_features
from fdream.pipelines.eval_facts import refuse_rejected, set_facts, set_warnings, shared_protocol
from fdream.pipelines.eval_plan import Plan, Request, make_plan
from fdream.pipelines.eval_spread import spread
from fdream.pipelines.provenance import environment_record
from fdream.stages.interfaces import Metric

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter


def evaluate(request: Request, device: DeviceManager, reporter: Reporter) -> Material | None:
    """Measure what a recipe describes.

    Returns:
        The figures, and what a report shows beside them; None in a process that a launcher started
        only to help another.

    Raises:
        UsageError: a set is missing, or the engine is unknown.
        StageError: a metric cannot be built.
        DataError: a set cannot be read.
        CheckFailed: ``strict``, and a video could not be measured.
    """
    plan = make_plan(request, device, reporter)
    if not spread(request, plan, device, reporter):
        return None
    recipe, warnings = request.recipe, plan.warnings
    real = _reference(request, plan, reporter)
    fake = SetMeasurer(plan.fake, reporter).measure(
        plan.fake_sources, recipe.sets.num, "generated videos"
    )
    if request.strict:
        refuse_rejected(real, fake)
    for title, measured in (("generated", fake), ("reference", real)):
        if measured is not None and not measured.keys:
            why = measured.rejected[0].reason.rstrip(".")
            raise DataError(
                f"eval: not one of the {title} videos could be measured, the first because {why} "
                "(--strict lists all)."
            )
    rules = (plan.real.rule, plan.fake.rule)
    warnings += set_warnings(recipe, rules, real, fake)
    for text in warnings:
        reporter.warn(text)
    protocol = shared_protocol(recipe, rules, real, fake)
    figures = [
        figure
        for name, metric in plan.metrics.items()
        for figure in _figures(name, metric, real, fake, protocol, reporter)
    ]
    result = Result(
        recipe=recipe.name,
        protocol_of=recipe.protocol_of,
        note=recipe.note,
        figures=figures,
        real=None if real is None else set_facts(recipe.sets.real or "", real),
        fake=set_facts(recipe.sets.fake or "", fake),
        skipped=plan.skipped,
        warnings=warnings,
        published=[row.model_dump() for row in recipe.published],
        environment=environment_record(device),
    )
    by_key = ({s.key: s for s in plan.real_sources}, {s.key: s for s in plan.fake_sources})
    return Material(result, real, fake, by_key, rules, plan.metrics)


def _reference(request: Request, plan: Plan, reporter: Reporter) -> Measured | None:
    named, job = request.recipe.sets.real, plan.real
    if named is None:
        return None
    protocols = {name: {**m.protocol(), **job.rule.protocol()} for name, m in job.metrics.items()}
    if named.endswith(SUFFIX):
        return load_features(Path(named), protocols)
    real = SetMeasurer(job, reporter).measure(
        plan.real_sources, request.recipe.sets.num, "reference videos"
    )
    if request.save_real is not None:
        save_features(request.save_real, real, protocols)
    return real


def _figures(
    name: str,
    metric: Metric,
    real: Measured | None,
    fake: Measured,
    common: Mapping[str, str],
    reporter: Reporter,
) -> Iterator[Figure]:
    protocol = {**metric.protocol(), **common}
    made = fake.columns[name, "clip"]
    frozen = fake.columns.get((name, "frozen"), {})
    reference = {} if real is None else real.columns.get((name, "clip"), {})
    for spec in metric.figures:
        values, held = made[spec.column], reference.get(spec.column)
        if spec.statistic == "frechet":
            assert held is not None, "distances without a reference set were refused"
            with reporter.progress(MOST_GROUPS, f"interval of {spec.name}") as bar:
                yield from frechet_figures(
                    spec, held, values, frozen.get(spec.column), protocol, lambda: bar.update(1)
                )
        elif spec.statistic == "inception":
            yield inception_figure(spec, held, values, protocol)
        else:
            yield mean_figure(spec, held, values, protocol)
