"""``fdream replay``: make an output again from the record inside it, and compare."""

from __future__ import annotations

import json as json_text
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fdream.cli import render
from fdream.cli.generation_params import MachineOptions
from fdream.cli.option_groups import grouped
from fdream.cli.params import reporter_of
from fdream.cli.standard_input import PLACE, STDIN, spooled_input
from fdream.core.errors import CheckFailed, DataError, UsageError, WeightsError
from fdream.core.report import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fdream.cli.delivery import Delivery
    from fdream.core.report import Reporter
    from fdream.data.readers import Output
    from fdream.pipelines.recorded import Recorded
    from fdream.pipelines.results import Clip, Still
    from fdream.pipelines.verdict import Verdict
    from fdream.pipelines.workshop import StageChoices, Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class InsteadOptions:
    """What stands in for what a record cannot hold, or may not decide."""

    image: Annotated[
        Path | None,
        typer.Option(
            "--image", metavar="IMAGE", help="What i2v animated; a record holds no image."
        ),
    ] = None
    prior: Annotated[
        str | None,
        typer.Option("--prior", metavar="NAME[:ARG]", help="In place of the recorded stage."),
    ] = None
    generator: Annotated[
        str | None,
        typer.Option("--generator", metavar="NAME[:ARG]", help="In place of the recorded stage."),
    ] = None
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to code of plugins and to downloads.")
    ] = False
    force: Annotated[
        bool, typer.Option("--force", help="Go on with weights other than the recorded ones.")
    ] = False


@grouped
def replay(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="An output of fdream: any format, a folder of frames; - reads standard input.",
        ),
    ],
    *,
    instead: InsteadOptions,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Keep what is made; its ending says the format."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as one line of JSON.")
    ] = False,
    machine: MachineOptions,
) -> None:
    """Make an output again from its record, and answer how near the frames come.

    bit-equal: the frames, before they are encoded, have the recorded hash. within N levels: at
    least 99.9 % of all values are one level (of 255) off or less, as another processor or version
    may compute them. Both exit with 0, and different exits with 1. mp4, webm, gif and animated webp
    keep no frame exactly: where the hash is another, the file may be no further from the new frames
    than its own encoding explains.

    Device, number format and threads are the recorded ones where this machine has them. A record
    may come from anybody: used are stages of fdream's own with weights of the recorded hash, and
    code of plugins and downloads only once you agree (--yes where there is no terminal).

    \b
    Examples:
      fdream replay out.mp4
      fdream replay corgi.png -o again.png
      fdream replay waves.gif --image beach.jpg --json
    """

    reporter = reporter_of(ctx)
    with ExitStack() as stack:
        path, place = Path(file), file
        if file == STDIN:
            path, place = stack.enter_context(spooled_input("replay -")), PLACE
        told, recorded = _read(path, place)
    delivery = None if output is None else _delivery(output, recorded, told)
    pixels = _image(instead.image, recorded)
    choices = _choose(recorded, instead, place, reporter)
    shop = _as_recorded(machine, recorded).workshop(ctx, choices)
    _refuse_others(recorded, instead, pixels, shop)
    changes = _differences(recorded, shop)
    made, verdict = _make(recorded, told, pixels, shop)
    _explain(verdict, changes, place, reporter)
    kept = None if delivery is None else _keep(made, delivery, shop)
    if json:
        line = {"path": place, **_facts(verdict), "differs": changes, "output": kept}
        sys.stdout.write(json_text.dumps(line) + "\n")
    else:
        render.line(str(verdict))
    if verdict.answer == "different":
        raise typer.Exit(CheckFailed.exit_code)


def _read(path: Path, place: str) -> tuple[Output, Recorded]:
    """Read a file and believe what may be believed of its record.

    Raises:
        DataError: it cannot be read, has no record that can be used, or is not what that tells of.
    """
    from fdream.data.metadata import read_record
    from fdream.data.readers import read_output
    from fdream.pipelines.recorded import believe, refuse_unlike

    try:
        found = read_record(path)
        if found.record is None:
            reason = found.reason or "no fdream record; another program wrote it, or --no-metadata"
            raise DataError(f"{place}: {reason}, so there is nothing to replay.")
        told = read_output(path)
        recorded = believe(found.record, told.kind, place)
        refuse_unlike(recorded, told.frames.shape, place)
    except DataError as error:
        # What came from standard input lies in a file whose name says nothing to anybody.
        raise DataError(str(error).replace(str(path), place)) from error
    return told, recorded


def _delivery(output: str, recorded: Recorded, told: Output) -> Delivery:
    from fdream.cli.delivery import Delivery

    if output == STDIN:
        raise UsageError("-o -: standard output gets the answer; give -o FILE.")
    moving = recorded.clip is not None
    decided = Delivery.decide(output, None, moving=moving, as_json=False, metadata=True)
    if decided.encoding.kind == told.kind:
        return replace(decided, encoding=recorded.encoding)
    return decided


def _image(image: Path | None, recorded: Recorded) -> NDArray[np.uint8] | None:
    """Read what i2v is to animate.

    Raises:
        UsageError: it is needed and not given, or given and not needed.
        DataError: it cannot be read.
    """
    from fdream.data.images import decode_image

    if recorded.command != "i2v":
        if image is not None:
            raise UsageError(
                f"--image {image}: {recorded.command} made its image itself; leave it out."
            )
        return None
    if image is None:
        raise UsageError(
            "replay: i2v made this from an image, and a record holds the sha256 of it alone; give "
            "the image with --image FILE."
        )
    try:
        return decode_image(image.read_bytes(), str(image))
    except OSError as error:
        raise DataError(f"{image}: cannot be read ({error.strerror or error}).") from error


def _choose(
    recorded: Recorded, instead: InsteadOptions, place: str, reporter: Reporter
) -> StageChoices:
    """Decide on stages, show them, and have somebody agree where that is needed."""
    from fdream.core.settings import load_settings
    from fdream.pipelines.replay import choose_stages, stage_choices

    given = {"prior": instead.prior, "generator": instead.generator}
    chosen = choose_stages(recorded, given, load_settings().settings.cache)
    sample = recorded.sample
    reporter.say(f"{place}: {recorded.command}, seed {sample.seed}, sample {sample.index}")
    for role, choice in chosen.items():
        reporter.say(f"  {role}: {choice.name}, from {choice.owner}")
    _agree([choice.consent for choice in chosen.values() if choice.consent], instead.yes)
    return stage_choices(recorded, chosen)


def _agree(reasons: list[str], agreed: bool) -> None:
    """Ask before code or weights are used that did not come with fdream.

    Raises:
        UsageError: nobody agrees, or nobody is there to be asked.
    """
    if not reasons or agreed:
        return
    said = "; ".join(reasons)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"replay: {said}. A file may come from anybody: look at it with `fdream show`, and "
            "pass --yes if you agree."
        )
    if not typer.confirm(printable(f"{said}. Use it?"), err=True):
        raise UsageError("replay: not agreed to, so nothing was made.")


def _as_recorded(machine: MachineOptions, recorded: Recorded) -> MachineOptions:
    """Fill what the user left open with what is recorded, as far as this machine has it."""
    from fdream.core.device import survey

    there = recorded.environment
    usable = {state.kind for state in survey() if state.usable}
    return replace(
        machine,
        device=machine.device or (there.device if there.device in usable else None),
        dtype=machine.dtype or there.dtype,
        threads=machine.threads or there.threads,
    )


def _refuse_others(
    recorded: Recorded,
    instead: InsteadOptions,
    pixels: NDArray[np.uint8] | None,
    shop: Workshop,
) -> None:
    """Refuse another image, and weights other than the recorded ones.

    Raises:
        DataError: it is another image.
        WeightsError: they are other weights, and ``--force`` is not given.
    """
    from fdream.pipelines.replay import other_weights, refuse_other_image

    others = other_weights(recorded, shop)
    if others and not instead.force:
        raise WeightsError(
            f"replay: {'; '.join(others)}. Name the bundle that made it with --prior pocket:FOLDER "
            "or --generator dreamer:FOLDER (`fdream models` lists those here), or see what these "
            "make with --force."
        )
    if pixels is not None:
        refuse_other_image(recorded, pixels, shop)


def _differences(recorded: Recorded, shop: Workshop) -> list[str]:
    from fdream.pipelines.replay import differences

    changes = differences(recorded, shop)
    for change in changes:
        shop.reporter.say(f"  differs: {change}")
    return changes


def _make(
    recorded: Recorded, told: Output, pixels: NDArray[np.uint8] | None, shop: Workshop
) -> tuple[Still | Clip, Verdict]:
    from fdream.pipelines.replay import remake
    from fdream.pipelines.results import Still
    from fdream.pipelines.verdict import judge

    made = remake(recorded, shop, pixels)
    frames = made.pixels[None] if isinstance(made, Still) else made.frames
    return made, judge(recorded, told, frames)


def _explain(verdict: Verdict, changes: list[str], place: str, reporter: Reporter) -> None:
    if verdict.note and verdict.gap is not None:  # else it is the answer itself
        reporter.warn(f"{place}: {verdict.note}")
    elif verdict.answer != "bit-equal" and not changes:
        reporter.say(
            "Nothing that is recorded differs here. On the machine that made the file this would "
            "be a fault of fdream; another processor computes the last bits differently."
        )


def _keep(made: Still | Clip, delivery: Delivery, shop: Workshop) -> str:
    from fdream.cli.delivery import Name
    from fdream.cli.generation_jobs import clip_product, still_product
    from fdream.pipelines.results import Still

    product = still_product(made) if isinstance(made, Still) else clip_product(made)
    title = made.captions.appearance or made.captions.motion
    name = Name(title, made.sample.seed, position=0, number=0)
    path = delivery.path(name, lambda: False)
    delivery.save(path, product.writer, delivery.complete(product.record))
    shop.reporter.say(f"wrote {path}")
    return str(path)


def _facts(verdict: Verdict) -> dict[str, Any]:
    gap = verdict.gap
    return {
        "answer": verdict.answer,
        "levels": gap and gap.levels,
        "share_within_one": gap and gap.share,
        "rms": gap and gap.rms,
        "rms_of_encoding": verdict.loss,
        "note": verdict.note or None,
    }
