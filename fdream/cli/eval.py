"""``fdream eval``: figures of videos, each with its protocol and interval; ``compare`` of two."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

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
    verbosity_of,
)
from fdream.core.errors import UsageError

if TYPE_CHECKING:
    from fdream.core.eval_recipe import EvalRecipe
    from fdream.core.recipe_io import LoadedRecipe

_OFFLINE: Final = "eval/pocket"
_FOLDER: Final = "eval/folder"

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def evaluate(
    ctx: typer.Context,
    real: Annotated[
        str | None,
        typer.Option(
            "--real",
            metavar="SET",
            help="Reference videos: a folder, pattern, list (.txt, .csv, .jsonl), shards, or "
            "features saved before.",
        ),
    ] = None,
    fake: Annotated[
        str | None, typer.Option("--fake", metavar="SET", help="Generated videos, likewise.")
    ] = None,
    fvd: Annotated[bool, typer.Option("--fvd", help="Short for --metric fvd.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="NAME or NAME:ARG of `fdream plugins --kind metric`; repeatable.",
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every metric; those that cannot run are told with the reason."),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="RECIPE",
            help="Whose protocol; eval/folder, or eval/pocket without --real and --fake.",
        ),
    ] = None,
    num: Annotated[
        int | None, typer.Option("--num", min=2, metavar="N", help="Videos of each set.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the JSON here.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write an HTML page with clips as well."),
    ] = None,
    save_real: Annotated[
        Path | None,
        typer.Option(
            "--save-real",
            metavar="FILE",
            help="Keep the reference's features (.safetensors) for --real.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 if a video cannot be measured.")
    ] = False,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="local, or ray for a cluster.")
    ] = "local",
    set_: SetOption = None,
    unset: UnsetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, print it whole, and stop.")
    ] = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure generated videos against reference videos.

    Every figure comes with its protocol and, where there are enough videos, a 95 % interval.
    Distances such as FVD come with the distance of endless samples, a kernel distance, the two
    halves of the reference set, and the first frames repeated; steadiness comes with how much
    moves. Without --real and --fake, pocket's own videos are measured against SpriteWorld.

    \b
    Examples:
      fdream eval --fvd --real clips/ --fake out/
      fdream eval --all --real shards/ --fake out/ --json -o result.json --report report.html
      fdream eval --fvd
      fdream eval compare before.json after.json
    """
    if ctx.invoked_subcommand is not None:
        return
    from fdream.evals.results import write_result
    from fdream.pipelines.eval_plan import Request
    from fdream.pipelines.evaluation import evaluate as measure

    loaded = _load(recipe, real, fake, _metrics(fvd, metric), everything, num, set_, unset)
    if dry_run:
        render.line(loaded.toml().rstrip())
        return
    request = Request(
        recipe=loaded.recipe,
        lenient=everything,
        offline=loaded.recipe.sets.real == "spriteworld",
        strict=strict,
        save_real=save_real,
        engine=engine,
    )
    reporter = reporter_of(ctx)
    found = measure(request, choose_device(device, dtype, threads), reporter)
    if found is None:
        return
    record = found.result.record()
    if output is not None:
        write_result(output, record)
    if save_real is not None:
        reporter.say(f"The features of the reference set are in {save_real}.")
    if report is not None:
        from fdream.evals.report import write_html

        write_html(report, found)
        reporter.say(f"The report is in {report}.")
    if (json or output is not None) and not verbosity_of(ctx).quiet:
        _show(record, sys.stderr)
    if json:
        render.as_json(record)
    elif output is not None:
        render.line(str(output))
    else:
        _show(record, sys.stdout)
    for line in _held_against(record):
        reporter.say(line)


_COLUMNS: Final = ("figure", "value", "95 % interval", "videos", "beside", "protocol")


def compare(
    ctx: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another.")],
    json: JsonOption = False,
) -> None:
    """Compare two results, figure by figure; exit 1 where their protocols differ.

    The difference is B minus A with its 95 % interval: paired where both measured videos of the
    same names.

    \b
    Examples:
      fdream eval compare before.json after.json
      fdream eval compare before.json after.json --json
    """
    from fdream.evals import compare as comparing
    from fdream.evals.results import read_result

    results = read_result(first), read_result(second)
    found = comparing.compare(*results)
    reporter = reporter_of(ctx)
    for path, result in zip((first, second), results, strict=True):
        alone = [name for name in result.figures if name not in {one.name for one in found}]
        if alone:
            reporter.say(f"{path} alone has {', '.join(alone)}.")
    if json:
        render.as_json({difference.name: difference.record() for difference in found})
        return
    rows = []
    for difference in found:
        said = difference.interval
        interval = "too few videos" if said is None else f"{said.low:.4g} to {said.high:.4g}"
        winner = {"first": first.name, "second": second.name}.get(difference.better, "unclear")
        apart = difference.second - difference.first
        rows.append(
            [
                difference.name,
                f"{difference.first:.4g}",
                f"{difference.second:.4g}",
                f"{apart:+.4g}",
                interval,
                winner,
            ]
        )
    render.table(["figure", "A", "B", "B - A", "95 % interval", "better"], rows)


def vbench(
    videos: Annotated[str, typer.Argument(metavar="SET", help="Videos with captions.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="VBench_full_info.json: names follow its prompts, and what is missing is told.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Lay out videos as VBench's runner expects them: FOLDER/PROMPT-INDEX.mp4.

    With --prompts, a folder per dimension is made and prompts without videos are listed. Without,
    the folder is for VBench's mode custom_input, with prompts.json beside it.

    \b
    Examples:
      fdream eval vbench out/ -o for-vbench/ --prompts VBench_full_info.json
      fdream eval vbench videos.csv -o for-vbench/
    """
    from fdream.evals.vbench import export

    found = export(videos, output, prompts)
    if json:
        render.as_json(found.record())
        return
    render.line(str(output))
    for text in found.lines():
        render.line(text)


app.command("compare")(compare)
app.command("vbench")(vbench)


def _metrics(fvd: bool, metric: list[str] | None) -> list[str]:
    asked = (["fvd"] if fvd else []) + list(metric or ())
    return list(dict.fromkeys(asked))


def _load(
    recipe: str | None,
    real: str | None,
    fake: str | None,
    metrics: list[str],
    everything: bool,
    num: int | None,
    sets: list[str] | None,
    unsets: list[str] | None,
) -> LoadedRecipe[EvalRecipe]:
    from fdream.core.eval_recipe import EvalRecipe
    from fdream.core.recipe_io import load_recipe
    from fdream.pipelines.eval_plan import all_metrics, check_eval

    own = real is None and fake is None
    if recipe is None and own and not _names_sets(sets):
        recipe = _OFFLINE
    changes: list[str] = []
    named: list[tuple[str, Any]] = [("sets.real", real), ("sets.fake", fake), ("sets.num", num)]
    if everything:
        if metrics:
            raise UsageError("--all: already names every metric; leave out --fvd and --metric.")
        metrics = all_metrics()
    if metrics:
        named.append(("measure.metrics", metrics))
    changes += [f"{key}={dumps(value)}" for key, value in named if value is not None]
    checks = [] if everything else [check_eval]
    return load_recipe(
        recipe or _FOLDER, [*changes, *(sets or ())], unsets or (), checks, model=EvalRecipe
    )


def _names_sets(sets: list[str] | None) -> bool:
    return any(text.startswith("sets.") and not text.startswith("sets.num") for text in sets or ())


def _show(record: dict[str, Any], stream: TextIO) -> None:
    """Show the figures; people read the protocol once below, programs with every figure."""
    rows = _rows(record)
    if not stream.isatty():
        render.table(_COLUMNS, rows, stream)
        return
    render.table(_COLUMNS[:-1], [row[:-1] for row in rows], stream)
    protocols: dict[str, list[str]] = {}
    for row in rows:
        protocols.setdefault(row[-1], []).append(row[0])
    for text, names in protocols.items():
        render.line(f"Protocol of {', '.join(names)}: {text}", stream)


def _rows(record: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, figure in record["figures"].items():
        said = figure["interval"]
        interval = "too few" if said is None else f"{said['low']:.4g} to {said['high']:.4g}"
        beside = ", ".join(f"{key} {value:.4g}" for key, value in figure["beside"].items())
        real, fake = figure["n_real"], figure["n_fake"]
        rows.append(
            [
                name,
                f"{figure['value']:.4g} {figure['unit']}".strip(),
                interval,
                f"{real} / {fake}" if real else str(fake),
                beside or "-",
                figure["protocol_text"],
            ]
        )
    return rows


def _held_against(record: dict[str, Any]) -> list[str]:
    """Return the lines that follow the figures: warnings, what was skipped, published figures."""
    lines = []
    for name, figure in record["figures"].items():
        lines += [f"{name}: {text}." for text in figure["warnings"]]
    lines += [f"skipped {name}: {reason}" for name, reason in record["skipped"].items()]
    if record["published"]:
        lines.append(f"Published under the protocol of {record['protocol_of']}:")
        for row in record["published"]:
            lines.append(f"  {row['method']}: {row['figure']} {row['value']:g} ({row['source']})")
    if record["note"]:
        lines.append(record["note"])
    return lines
