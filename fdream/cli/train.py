"""``fdream train``: a recipe becomes a run."""

from __future__ import annotations

from json import dumps
from typing import Annotated

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
        bool, typer.Option("--dry-run", help="Check the recipe, print it whole, and stop.")
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
    from fdream.core.recipe_io import load_recipe
    from fdream.pipelines.training import check_recipe, run_training

    sets = [*(set_ or ())]
    if init_from is not None:
        # Quoted: a folder named like a number is a name all the same.
        sets.append(f"train.init_from={dumps(init_from)}")
    loaded = load_recipe(recipe, sets, unset or (), checks=[check_recipe])
    if dry_run:
        render.line(loaded.toml().rstrip())
        return
    run = loaded.recipe.run
    manager = choose_device(
        device or _unless_auto(run.device), dtype or _unless_auto(run.dtype), threads or run.threads
    )
    folder, progress = run_training(loaded, manager, reporter_of(ctx))
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


def _unless_auto(value: str) -> str | None:
    return None if value == "auto" else value
