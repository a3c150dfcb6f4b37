"""``fdream plugins``: which stages are installed, and whether they keep the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fdream.cli import render
from fdream.cli.params import DeviceOption, JsonOption, choose_device, reporter_of
from fdream.core.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from fdream.stages.spec import StageKind
    from fdream.stages.survey import Finding

app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
)

KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Only this kind: prior, generator, supervisor, scheduler, splitter or metric.",
    ),
]
CheckOption = Annotated[
    bool,
    typer.Option(
        "--check", help="Read each stage's declaration: requirements, licence, downloads."
    ),
]


@app.callback()
def plugins(
    ctx: typer.Context,
    kind: KindOption = None,
    check: CheckOption = False,
    json: JsonOption = False,
) -> None:
    """List the installed stages, fdream's own and those of plugins.

    Without --check nothing of a plugin is imported. Installing a plugin is trusting it;
    FDREAM_PLUGINS=name,name limits plugins to these distributions, FDREAM_PLUGINS= turns all off.

    \b
    Examples:
      fdream plugins
      fdream plugins --kind scheduler --check
      fdream plugins test prior/pocket
    """
    if ctx.invoked_subcommand is not None:
        if kind is not None or check or json:
            raise UsageError(
                f"fdream plugins: --kind, --check and --json list stages; options of "
                f"{ctx.invoked_subcommand!r} come after it."
            )
        return
    from fdream.stages.declarations import LIMIT_VARIABLE, unmatched_limits
    from fdream.stages.spec import KINDS
    from fdream.stages.survey import survey

    found = survey([_kind(kind)] if kind is not None else KINDS, check=check)
    reporter = reporter_of(ctx)
    if kind is None and not any(finding.builtin for finding in found):
        reporter.warn(
            "fdream's own stages are not declared: it runs from a folder that is not installed; "
            "pip install -e . there."
        )
    for name in unmatched_limits():
        reporter.warn(f"{LIMIT_VARIABLE} names {name}, and no installed plugin is called that.")
    if json:
        render.as_json([finding.as_json() for finding in found])
    elif check:
        columns = ["stage", "from", "status", "licence", "requires", "downloads", "summary"]
        render.table(columns, [_checked_row(finding) for finding in found])
    else:
        columns = ["kind", "name", "distribution", "version", "status"]
        render.table(columns, [_row(finding) for finding in found])


@app.command("test")
def run_checks(
    ctx: typer.Context,
    stage: Annotated[
        str, typer.Argument(metavar="KIND/NAME", help="The stage, as KIND/NAME or KIND/NAME:ARG.")
    ],
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Run the conformance checks of its kind against a stage; exit 1 if one fails.

    \b
    Examples:
      fdream plugins test scheduler/dreamer
      fdream plugins test generator/dreamer:runs/mine --device cuda
    """
    from fdream.stages import testing

    kind, slash, name = stage.partition("/")
    if not slash or not name:
        raise UsageError(f"stage {stage!r}: write KIND/NAME, such as prior/pocket.")
    subject = testing.Subject(_kind(kind), name, device=choose_device(device or "cpu"))
    to_run = testing.checks(subject.kind)
    outcomes = []
    with reporter_of(ctx).progress(len(to_run), f"testing {subject}") as bar:
        for check in to_run:
            outcomes.append(testing.run(check, subject))
            bar.update(1)
    failed = [outcome for outcome in outcomes if outcome.verdict == "failed"]
    if json:
        render.as_json(
            {
                "stage": str(subject),
                "device": str(subject.device.torch_device),
                "passed": not failed,
                "checks": [
                    {"check": o.check, "verdict": o.verdict, "detail": o.detail} for o in outcomes
                ],
            }
        )
    else:
        rows = [[o.check, o.verdict, o.detail] for o in outcomes]
        render.table(["check", "verdict", "detail"], rows)
    if failed:
        raise CheckFailed(
            f"{subject}: {len(failed)} of {len(outcomes)} checks failed, first: "
            f"{failed[0].check}: {failed[0].detail}."
        )


def _kind(text: str) -> StageKind:
    from difflib import get_close_matches

    from fdream.stages.spec import KINDS

    for kind in KINDS:
        if text == kind:
            return kind
    near = get_close_matches(text, KINDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"kind {text!r}: expected one of {', '.join(KINDS)}.{hint}")


def _row(finding: Finding) -> list[str]:
    return [finding.kind, finding.name, finding.distribution, finding.version, _status(finding)]


def _checked_row(finding: Finding) -> list[str]:
    return [
        f"{finding.kind}/{finding.name}",
        f"{finding.distribution} {finding.version}",
        _status(finding),
        finding.licence,
        ", ".join(finding.requires),
        ", ".join(finding.downloads) or "-",
        finding.summary,
    ]


def _status(finding: Finding) -> str:
    return f"{finding.status}: {finding.detail}" if finding.detail else finding.status
