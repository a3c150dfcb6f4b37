"""``fdream prep``: any pile of video becomes training shards."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
from fdream.core.errors import DataError, UsageError
from fdream.core.paths import is_same

if TYPE_CHECKING:
    from fdream.core.prep_recipe import PrepRecipe
    from fdream.core.report import Reporter
    from fdream.data.prep.clipping import Step
    from fdream.data.prep.tally import Tally

_MOST_REASONS: Final = 5
_STEPS: Final[tuple[Step, ...]] = ("probe", "cut", "measure")


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
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="local, or ray for a cluster.")
    ] = "local",
    refilter: Annotated[
        Path | None,
        typer.Option(
            "--refilter", metavar="SHARDS", help="Apply other filter.* to shards; decodes nothing."
        ),
    ] = None,
    inspect: Annotated[
        str | None,
        typer.Option(
            "--inspect",
            metavar="SHARDS",
            help="Summarise shards, whoever made them; -o FILE.html writes a page.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="STEP",
            help="probe, cut or measure: one JSON line a source to stdout, no shards.",
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
      fdream prep --inspect shards/ -o shards.html
      fdream prep clips.csv --only cut
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
    from fdream.pipelines.prep_engines import ENGINES

    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: expected {' or '.join(ENGINES)}.")
    if engine == "ray":
        require("ray", "ray", "pandas")
    reporter = reporter_of(ctx)
    if refilter is not None:
        if inspect is not None:
            raise UsageError("--refilter and --inspect are two commands; give them one by one.")
        if source is not None or output is not None:
            raise UsageError("--refilter works on the shards it names; leave INPUT and -o out.")
        chosen = partial(choose_device, device)
        tally = run_refilter(refilter, set_ or (), unset or (), chosen, reporter)
        _tell(refilter, tally, ctx, json)
        return
    if inspect is not None:
        if source is not None:
            raise UsageError("--inspect looks at the shards it names; leave INPUT out.")
        _inspect(inspect, output, workers or default_workers(), reporter, json)
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
    if only is not None:
        _one_step(source, only, loaded.recipe, workers or default_workers(), reporter)
        return
    if source is None or output is None:
        raise UsageError(
            "an INPUT and -o FOLDER are needed, such as: fdream prep clips.csv -o shards/"
        )
    if is_same(output, Path(source)):
        raise UsageError(f"-o {output}: is the input itself; shards want a folder of their own.")
    run = PrepRun(
        source=source,
        output=output,
        loaded=loaded,
        workers=workers or default_workers(),
        engine=engine,
        device=partial(choose_device, device),
        reporter=reporter,
    )
    tally = run_prep(run)
    _tell(output, tally, ctx, json)
    if tally.quarantined.total() == tally.came_in > 0:
        raise DataError(
            f"{source}: nothing of it could be read; {output}/quarantine.parquet says why."
        )


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


def _inspect(
    shards: str, page: Path | None, workers: int, reporter: Reporter, as_json: bool
) -> None:
    from fdream.data.prep.report_page import write_report
    from fdream.pipelines.inspection import inspect as look

    findings = look(shards, workers, reporter)
    if page is not None:
        write_report(page, findings)
    tally = findings.tally
    if as_json:
        render.as_json({"shards_folder": shards, **tally.record()})
        return
    render.table(
        ["what", "value"],
        [
            ["shards", str(tally.shards)],
            ["sources", str(tally.sources)],
            ["clips", tally.sentence()],
            ["minutes kept", f"{tally.seconds / 60:.1f}"],
            ["megabytes kept", f"{tally.bytes / 1e6:.1f}"],
            *(
                [histogram.title, _spread(*histogram.quartiles)]
                for histogram in findings.histograms
            ),
            *([f"filtered by {name}", str(n)] for name, n in tally.filtered.most_common()),
            *([f"quarantined: {why}", str(n)] for why, n in tally.quarantined.most_common()),
        ],
    )
    if page is not None:
        render.line(str(page))


def _spread(first: float, median: float, third: float) -> str:
    return f"{median:.3g}, half of them {first:.3g} to {third:.3g}"


def _one_step(
    source: str | None, step: str, recipe: PrepRecipe, workers: int, reporter: Reporter
) -> None:
    from json import dumps

    from fdream.pipelines.inspection import single_step

    if step not in _STEPS:
        raise UsageError(f"--only {step}: expected {', '.join(_STEPS)}.")
    if source is None:
        raise UsageError("--only needs an INPUT, such as: fdream prep clips.csv --only cut")
    for told in single_step(source, recipe, step, workers, reporter):
        sys.stdout.write(dumps(told) + "\n")


def _quoted(text: str) -> str:
    from json import dumps

    return dumps(text)
