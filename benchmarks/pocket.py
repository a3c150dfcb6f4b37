"""How well pocket does what it is told: ``python -m benchmarks.pocket``.

Asks for 400 videos whose (object, scene, motion) was never trained and has them judged by networks
that share no weights with pocket (``benchmarks.judges``). A table goes to stderr, JSON to stdout.

An object is right if the judge names it in the first, the middle and the last frame; a scene
likewise; a motion if the tracked sprite is named to move so, against the background. Each share
stands beside its 95 % interval, its bar, and its ceilings: how often the same judges are right
about real renderings of the same cases, and about what pocket's autoencoder leaves of those.

``first_frame_db`` is the PSNR of frame 0 against the autoencoder's round trip of the image that was
given; ``background_levels`` the mean |frame_t - frame_0| outside of the sprite and a rim of eight
pixels, where no camera motion was asked for. ``sprite_levels`` of stills is the RMS difference from
the most similar real sprite, inside of it, where the emoji font is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.judges import motion_judge, picture_judge
from benchmarks.judges.ceilings import CEILINGS, sha256
from benchmarks.judges.protocol import BARS_PERCENT, CLIPS, FIRST_SEED, QUICK_CLIPS, Case, cases
from benchmarks.judges.score import figures
from benchmarks.judges.tables import table
from benchmarks.pocket_runs import RUNS, Examination, Journal, examine
from fdream.core.device import DeviceManager
from fdream.core.errors import DataError, FdreamError
from fdream.core.report import Reporter, reporter
from fdream.pipelines.generation import ClipSettings, StillSettings
from fdream.pipelines.provenance import environment_record
from fdream.pipelines.workshop import Sampling, StageChoices, Workshop


def score(
    examination: Examination,
    runs: list[str],
    questions: list[Case],
    journal: Path | None,
    report: Reporter,
) -> dict[str, Any]:
    """Examine pocket and return the report that is written as JSON."""
    ceilings = json.loads(CEILINGS.read_text(encoding="utf-8")) if CEILINGS.is_file() else {}
    about = description(examination, runs)
    pages = Journal(journal, about)
    result: dict[str, Any] = {"benchmark": "pocket", **about, "cases": len(questions), "runs": {}}
    for run in runs:
        shape = "still" if run == "still" else "clip"
        try:
            scores = figures(examine(examination, run, questions, pages, report))
        except DataError as error:
            if run != "image":
                raise
            report.warn(f"run {run} is skipped: {error}")
            result["runs"][run] = {"skipped": str(error)}
            continue
        for line in table(run, scores, ceilings.get(shape, {})):
            report.say(line)
        result["runs"][run] = {"what": RUNS[run], **scores}
    result["bars_percent"] = BARS_PERCENT
    result["ceilings_percent"] = {
        shape: {
            kind: {name: found[name]["percent"] for name in found if "percent" in found[name]}
            for kind, found in ceilings.get(shape, {}).items()
        }
        for shape in ("still", "clip")
    }
    return result


def description(examination: Examination, runs: list[str]) -> dict[str, Any]:
    """Return all that verdicts depend on: weights, settings, judges and machine."""
    shop = examination.shop
    stages: dict[str, Any] = {"prior": shop.prior.provenance()}
    stages["prior"]["asked"] = _asked(examination.still.sampling)
    if runs != ["still"]:
        stages["generator"] = shop.generator.provenance()
        stages["generator"]["asked"] = _asked(examination.clip.sampling)
        stages["splitter"] = shop.choices.splitter
    judges = {"picture": sha256(picture_judge.WEIGHTS)}
    if motion_judge.WEIGHTS.is_file():
        judges["motion"] = sha256(motion_judge.WEIGHTS)
    return {
        "first_seed": FIRST_SEED,
        "stages": stages,
        "judges_sha256": judges,
        **environment_record(shop.device),
    }


def _asked(sampling: Sampling) -> dict[str, Any]:
    return {"steps": sampling.steps, "guidance": sampling.guidance, "scheduler": sampling.scheduler}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pocket", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} cases, not {CLIPS}")
    parser.add_argument("--clips", type=int, metavar="N", help="another number of cases")
    parser.add_argument("--stage", choices=["t2i", "t2v"], default="t2v", help="t2i: stills alone")
    parser.add_argument(
        "--runs",
        default="pair,split,image",
        help="with t2v, which: " + "; ".join(f"{k} ({v})" for k, v in RUNS.items()),
    )
    parser.add_argument("--bundle", default="pocket", help="packaged name, bundle or run folder")
    parser.add_argument("--steps", type=int, help="of the generator")
    parser.add_argument("--guidance", type=float, help="of the generator")
    parser.add_argument("--scheduler", help="of the generator; of the prior with --stage t2i")
    parser.add_argument("--prior-steps", type=int)
    parser.add_argument("--prior-guidance", type=float)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of torch; all by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here too")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="go on where it stopped")
    parser.add_argument(
        "--part",
        type=part,
        default=slice(None),
        metavar="K/N",
        help="ask the K-th of every N cases, beside processes with the other parts and the same "
        "--journal; a last one without --part then has the answers of all",
    )
    asked = parser.parse_args(arguments)
    asked.runs = ["still"] if asked.stage == "t2i" else asked.runs.split(",")
    unknown = [run for run in asked.runs if run not in RUNS]
    if unknown:
        parser.error(f"--runs: {unknown[0]!r} is none of {', '.join(RUNS)}")
    if asked.part != slice(None) and (asked.journal is None or asked.out is not None):
        parser.error("--part: give --journal FILE, and --out to the last process, without --part")
    asked.questions = cases(asked.clips or (QUICK_CLIPS if asked.quick else CLIPS))[asked.part]
    if not asked.questions:
        parser.error("--part: no case is left for it; give more --clips or fewer parts")
    return asked


def part(text: str) -> slice:
    """Read ``K/N`` as the cases that it means.

    Raises:
        ArgumentTypeError: not two numbers, or K is none of 1 to N.
    """
    numbers = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    which, among = (int(number) for number in numbers.groups()) if numbers else (0, 0)
    if not 1 <= which <= among:
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N, such as 1/2")
    return slice(which - 1, None, among)


def examination(asked: argparse.Namespace, report: Reporter) -> Examination:
    """Put pocket and its settings together."""
    device = DeviceManager.choose(asked.device, threads=asked.threads)
    stage = f"pocket:{asked.bundle}"
    shop = Workshop(StageChoices(prior=stage, generator=stage), device, report)
    stills_alone = asked.stage == "t2i"
    drawing = Sampling(
        asked.prior_steps,
        asked.prior_guidance,
        scheduler=asked.scheduler if stills_alone else None,
    )
    moving = Sampling(asked.steps, asked.guidance, scheduler=asked.scheduler)
    return Examination(shop, StillSettings(sampling=drawing), ClipSettings(sampling=moving))


def main(arguments: list[str] | None = None) -> int:
    """Score and report; returns the exit code."""
    asked = parse(arguments)
    report = reporter()
    try:
        result = score(
            examination(asked, report), asked.runs, asked.questions, asked.journal, report
        )
    except FdreamError as error:
        report.warn(str(error))
        return error.exit_code
    text = json.dumps(result, indent=2) + "\n"
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
