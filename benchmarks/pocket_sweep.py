"""Quality against one setting: ``python -m benchmarks.pocket_sweep steps 5 10 20 50``.

Examines pocket (``benchmarks.pocket``) once for every value and writes a table to stderr and JSON
to stdout. What is not swept keeps the bundle's default or the value of its option.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks import pocket
from benchmarks.judges.protocol import CLIPS
from benchmarks.pocket_runs import RUNS
from fdream.core.errors import FdreamError
from fdream.core.report import SilentReporter, reporter

SWEPT: Final = ("steps", "guidance", "scheduler", "prior-steps", "prior-guidance")
CLIPS_A_POINT: Final = 100


def point(setting: str, value: str, run: str, clips: int, more: list[str]) -> dict[str, Any]:
    """Examine pocket at one value and return the shares, without their confusions."""
    stage = "t2i" if run == "still" else "t2v"
    arguments = [f"--{setting}", value, "--clips", str(clips), "--stage", stage, "--runs", run]
    asked = pocket.parse([*arguments, *more])
    # Only the point is told: one table with all of them follows.
    silent = SilentReporter()
    result = pocket.score(
        pocket.examination(asked, silent), asked.runs, asked.questions, asked.journal, silent
    )
    scores = result["runs"][run]
    kept = {key: {**scores[key]} for key in scores if isinstance(scores[key], dict)}
    for figure in kept.values():
        figure.pop("confusion", None)
    return {"value": value, **kept, "stages": result["stages"]}


def line(point: dict[str, Any]) -> str:
    """Lay out one point as text."""
    parts = [f"{point['value']:>8}"]
    for name, figure in point.items():
        if not isinstance(figure, dict) or name == "stages":
            continue
        shown = f"{figure['percent']:.1f} %" if "percent" in figure else f"{figure['mean']:.2f}"
        parts.append(f"{name} {shown}")
    return "  ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Sweep and report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pocket_sweep", description=__doc__)
    parser.add_argument("setting", choices=SWEPT)
    parser.add_argument("values", nargs="+")
    parser.add_argument("--run", choices=list(RUNS), default="pair")
    parser.add_argument("--clips", type=int, default=CLIPS_A_POINT, help=f"at most {CLIPS}")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here too")
    asked, more = parser.parse_known_args(arguments)
    report = reporter()
    report.say(f"{asked.setting}, {asked.clips} cases of run {asked.run}:")
    points = []
    try:
        for value in asked.values:
            points.append(point(asked.setting, value, asked.run, asked.clips, more))
            report.say(line(points[-1]))
    except FdreamError as error:
        report.warn(str(error))
        return error.exit_code
    result = {"benchmark": "pocket_sweep", "setting": asked.setting, "run": asked.run}
    text = json.dumps({**result, "cases": asked.clips, "points": points}, indent=2) + "\n"
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
