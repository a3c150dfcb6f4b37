"""``fdream prep``: any pile of video becomes training shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fdream.cli import render
from fdream.cli.params import (
    DeviceOption,
    JsonOption,
    SetOption,
    UnsetOption,
    choose_device,
    reporter_of,
)
from fdream.core.errors import UsageError

if TYPE_CHECKING:
    from fdream.data.prep.tally import Tally

_MOST_REASONS = 5


def prep(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A table (.csv, .tsv, .jsonl, .parquet), a folder of videos or shards, "
            "a pattern of shards, or one video.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for shards.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A recipe's path or name.")
    ] = "prep/default",
    set_: SetOption = None,
    unset: UnsetOption = None,
    media: Annotated[
        str | None,
        typer.Option(
            "--media", metavar="FOLDER", help="Local copies; short for -s read.media=FOLDER."
        ),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Fetch addresses; short for -s read.fetch=true."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="Processes; one a core.")
    ] = None,
    refilter: Annotated[
        Path | None,
        typer.Option(
            "--refilter", metavar="SHARDS", help="Apply other filter.* to shards; decodes nothing."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, print it whole, and stop.")
    ] = False,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Turn any pile of video into training shards; the same command again continues it.

    Videos are cut at shots, made upright and written as clips of constant frame rate into shards
    of video2dataset's layout. Every clip keeps what was measured on it. What cannot be read goes
    to quarantine.parquet with the reason: in = kept + filtered + quarantined.

    \b
    Examples:
      fdream prep clips.csv -o shards/
      fdream prep phone-videos/ -o shards/ -s resize.size=256x256 -s filter.min_motion=1
      fdream prep 'webvid/{00000..00099}.tar' -o shards/ -r prep/webvid
      fdream prep --refilter shards/ -s filter.min_motion=2
    """
    from fdream.core.extras import require
    from fdream.core.prep_recipe import PrepRecipe
    from fdream.core.recipe_io import load_recipe

    require("prep", "av", "cv2", "pyarrow", "scenedetect", "pebble")
    from fdream.pipelines.prep import (
        PrepRun,
        check_prep,
        default_workers,
        run_prep,
        run_refilter,
    )

    reporter = reporter_of(ctx)
    if refilter is not None:
        if source is not None or output is not None:
            raise UsageError("--refilter works on the shards it names; leave INPUT and -o out.")
        _tell(refilter, run_refilter(refilter, set_ or (), unset or (), reporter), ctx, json)
        return
    sets = [*(set_ or ())]
    if media is not None:
        sets.append(f"read.media={_quoted(media)}")
    if fetch:
        sets.append("read.fetch=true")
    loaded = load_recipe(recipe, sets, unset or (), [check_prep], model=PrepRecipe)
    if dry_run:
        render.line(loaded.toml().rstrip())
        return
    if source is None or output is None:
        raise UsageError(
            "an INPUT and -o FOLDER are needed, such as: fdream prep clips.csv -o shards/"
        )
    run = PrepRun(
        source=source,
        output=output,
        loaded=loaded,
        workers=workers or default_workers(),
        device=lambda: choose_device(device),
        reporter=reporter,
    )
    _tell(output, run_prep(run), ctx, json)


def _tell(folder: Path, tally: Tally, ctx: typer.Context, as_json: bool) -> None:
    reporter = reporter_of(ctx)
    for what, reasons in (("filtered", tally.filtered), ("quarantined", tally.quarantined)):
        for reason, number in reasons.most_common(_MOST_REASONS):
            reporter.say(f"{what}: {number} x {reason}")
        if len(reasons) > _MOST_REASONS:
            reporter.say(f"{what}: {len(reasons) - _MOST_REASONS} other reasons")
    if as_json:
        render.as_json({"shards_folder": str(folder), **tally.record()})
    else:
        render.line(f"{folder}: {tally.sentence()}")


def _quoted(text: str) -> str:
    from json import dumps

    return dumps(text)
