"""``fdream train``: a recipe becomes a run."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fdream.cli import render
from fdream.cli.params import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    SetOption,
    ThreadsOption,
    UnsetOption,
    choose_device,
    reporter_of,
)
from fdream.core.errors import UsageError

if TYPE_CHECKING:
    from fdream.core.recipe import Recipe
    from fdream.core.recipe_io import LoadedRecipe

_PROOF_STEPS: Final = 12


def train(
    ctx: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's path or name.")],
    set_: SetOption = None,
    unset: UnsetOption = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="BUNDLE",
            help="Bundle or run folder to start from; short for -s train.init_from=.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check recipe, stages, weights, shards, disk and memory, print the whole recipe, "
            "and stop. The device is not touched, and nothing is fetched, converted or written, "
            "but for an index of the shards in the cache.",
        ),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Train a few steps, tell memory, time, disk and when the run would end, and stop; "
            "the run's report says how true it was.",
        ),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview-data",
            help="Show how the clips fall into buckets and what is left out, write a sheet of them "
            "into the run folder, and stop.",
        ),
    ] = False,
    resume: Annotated[
        str,
        typer.Option(
            "--resume",
            metavar="WHEN",
            help="auto continues the run folder's last checkpoint; never refuses a folder that "
            "has one.",
        ),
    ] = "auto",
    prove: Annotated[
        bool,
        typer.Option(
            "--prove-resume",
            help="Train a few steps twice, once killed at random and resumed; exit 1 unless the "
            "weights are equal bit for bit.",
        ),
    ] = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Train what a recipe describes; the same command again continues it.

    Prints the run folder. In it: checkpoints, log.jsonl, sheets of samples, and bundle/, the last
    averaged weights as every other command takes them.

    \b
    Examples:
      fdream train pocket/vae
      fdream train recipes/pocket/t2i.toml -s train.minutes=30
      fdream train pocket/video --init-from runs/pocket-t2i
      fdream i2v photo.png --generator dreamer:runs/pocket-video -o out.mp4
    """
    from fdream.core import launch
    from fdream.core.recipe_io import load_recipe
    from fdream.core.report import SilentReporter
    from fdream.pipelines.training import check_recipe, run_training

    if resume not in ("auto", "never"):
        raise UsageError(f"--resume {resume!r}: expected auto or never.")
    sets = [*(set_ or ())]
    if init_from is not None:
        # Quoted: a folder named like a number is a name all the same.
        sets.append(f"train.init_from={dumps(init_from)}")
    loaded = load_recipe(recipe, sets, unset or (), checks=[check_recipe])
    if dry_run:
        _rehearse(ctx, loaded, device, dtype, json)
        return
    if preview:
        _preview(ctx, loaded, json)
        return
    again = [recipe, *_passed_on(sets, unset or (), device, dtype, threads)]
    if plan:
        _plan(ctx, loaded, again, json)
        return
    if prove:
        _prove(ctx, loaded, again, json)
        return
    run = loaded.recipe.run
    manager = choose_device(
        device or _unless_auto(run.device), dtype or _unless_auto(run.dtype), threads or run.threads
    )
    # Of several processes one speaks.
    reporter = reporter_of(ctx) if launch.is_main() else SilentReporter()
    folder, progress = run_training(loaded, manager, reporter, resume=resume)
    if not launch.is_main():
        return
    if json:
        render.as_json(
            {
                "run": str(folder.root),
                "bundle": str(folder.bundle),
                "step": progress.step,
                "seconds": round(progress.seconds, 1),
            }
        )
    else:
        render.line(str(folder.root))


def _rehearse(
    ctx: typer.Context,
    loaded: LoadedRecipe[Recipe],
    device: str | None,
    dtype: str | None,
    json: bool,
) -> None:
    from fdream.pipelines.rehearsal import Rehearsal, refuse_faults

    run, reporter = loaded.recipe.run, reporter_of(ctx)
    found = []
    for one in Rehearsal(loaded, device or run.device, dtype or run.dtype, reporter).findings():
        found.append(one)
        if one.fault is None:
            reporter.say(f"{one.subject}: {one.told}")
    if json:
        render.as_json(
            {
                "recipe": loaded.recipe.model_dump(mode="json", by_alias=True),
                "findings": [
                    {
                        "subject": one.subject,
                        "ok": one.fault is None,
                        "told": one.told or str(one.fault),
                    }
                    for one in found
                ],
            }
        )
    else:
        render.line(loaded.toml().rstrip())
    refuse_faults(found)


def _plan(
    ctx: typer.Context, loaded: LoadedRecipe[Recipe], arguments: list[str], json: bool
) -> None:
    from dataclasses import asdict

    from fdream.pipelines.planning import plan_run

    found = plan_run(arguments, loaded.recipe, reporter_of(ctx))
    if json:
        render.as_json({key: value for key, value in asdict(found).items() if key != "recipe"})
        return
    told = found.predicted
    render.facts(
        f"{loaded.recipe.name}: from {found.probed}",
        [
            ("memory", f"{told.memory_gb:.2f} GB"),
            ("step", f"{told.step_s:.3g} s"),
            ("training", _hours(told.minutes)),
            ("before", f"{_hours(found.prepare_minutes)}, with an empty cache"),
            ("between", f"{_hours(found.other_minutes)} of measuring, drawing and saving"),
            ("disk", f"{told.disk_gb:.2f} GB run folder, {found.cache_gb:.2f} GB cache"),
            ("ends", f"{found.ends}, if it begins now"),
        ],
    )


def _hours(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _preview(ctx: typer.Context, loaded: LoadedRecipe[Recipe], json: bool) -> None:
    from fdream.pipelines.data_preview import preview_data

    found = preview_data(loaded.recipe, reporter_of(ctx))
    if json:
        rows = [
            {
                "size": f"{bucket.width}x{bucket.height}",
                "frames": bucket.frames,
                "clips": clips,
                "batches": found.batches[bucket],
            }
            for bucket, clips in found.buckets.items()
        ]
        facts = {"shards": found.shards, "clips": found.clips, "held_out": found.held_out}
        left = dict(found.left_out)
        render.as_json({**facts, "buckets": rows, "left_out": left, "sheet": str(found.sheet)})
        return
    rows_shown = [
        [f"{bucket.width}x{bucket.height}", str(bucket.frames), str(clips), str(batches)]
        for (bucket, clips), batches in zip(
            found.buckets.items(), found.batches.values(), strict=True
        )
    ]
    rows_shown.append(["held out", "", str(found.held_out), ""])
    rows_shown += [[f"left out: {why}", "", str(n), ""] for why, n in found.left_out.most_common()]
    render.table(["size", "frames", "clips", "batches an epoch"], rows_shown)
    render.line(str(found.sheet))


def _prove(
    ctx: typer.Context, loaded: LoadedRecipe[Recipe], arguments: list[str], json: bool
) -> None:
    from dataclasses import asdict
    from pathlib import Path

    from fdream.pipelines.proof import prove_resume

    recipe = loaded.recipe
    steps = min(recipe.train.steps, _PROOF_STEPS)
    found = prove_resume(arguments, Path(recipe.output_folder()), steps, reporter_of(ctx))
    if json:
        render.as_json(asdict(found))
    else:
        render.line(
            f"equal: {found.steps} steps, killed after step {found.killed_after}, resumed at "
            f"{found.resumed_at}; weights {found.sha256['weights.safetensors'][:16]}"
        )


def _passed_on(
    sets: Sequence[str],
    unsets: Sequence[str],
    device: str | None,
    dtype: str | None,
    threads: int | None,
) -> list[str]:
    """Write options as a child process takes them."""
    words = [word for change in sets for word in ("-s", change)]
    words += [word for key in unsets for word in ("--unset", key)]
    for name, value in (("--device", device), ("--dtype", dtype), ("--threads", threads)):
        if value is not None:
            words += [name, str(value)]
    return words


def _unless_auto(value: str) -> str | None:
    return None if value == "auto" else value
