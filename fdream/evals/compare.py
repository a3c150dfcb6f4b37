"""Two results side by side; those of different protocols are refused, figure by figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdream.core.errors import CheckFailed
from fdream.evals.resampling import FEWEST_GROUPS, Interval, jackknife
from fdream.evals.results import StoredFigure, StoredResult


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two results: the second minus the first.

    Attributes:
        name: of the figure.
        first: its value in the first result.
        second: its value in the second.
        interval: of the difference; None where the samples are too small for one.
        paired: whether both sets hold videos of the same keys, so that what they share cancels.
        better: which result is better: ``first``, ``second``, or ``unclear``.
    """

    name: str
    first: float
    second: float
    interval: Interval | None
    paired: bool
    better: str

    def record(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        interval = None
        if self.interval is not None:
            interval = {
                "level": 0.95,
                "low": self.interval.low,
                "high": self.interval.high,
                "method": self.interval.method,
            }
        return {
            "first": self.first,
            "second": self.second,
            "difference": self.second - self.first,
            "interval": interval,
            "paired": self.paired,
            "better": self.better,
        }


def compare(first: StoredResult, second: StoredResult) -> list[Difference]:
    """Compare every figure that both results have.

    Raises:
        CheckFailed: no figure in common, or a protocol differs; names every difference.
    """
    names = [name for name in first.figures if name in second.figures]
    if not names:
        raise CheckFailed(
            f"compare: no figure in common; the first has {', '.join(first.figures) or 'none'}, "
            f"the second {', '.join(second.figures) or 'none'}."
        )
    problems = _differing_sets(first, second)
    for name in names:
        problems += _differing_protocols(name, first.figures[name], second.figures[name])
    if problems:
        unique = list(dict.fromkeys(problems))
        raise CheckFailed(
            "compare: different protocols, whose figures mean different things.\n"
            + "\n".join(f"  {problem}" for problem in unique)
            + "\nMeasure both sets with one recipe against one reference set."
        )
    paired = first.fake.keys == second.fake.keys
    return [_difference(name, first.figures[name], second.figures[name], paired) for name in names]


def _differing_sets(first: StoredResult, second: StoredResult) -> list[str]:
    before, after = ("" if r.real is None else r.real.content for r in (first, second))
    return [] if before == after else ["reference set: the videos differ"]


def _differing_protocols(name: str, first: StoredFigure, second: StoredFigure) -> list[str]:
    before, after = first.said(), second.said()
    return [
        f"{name}, {key}: {before.get(key, 'not said')!r} and {after.get(key, 'not said')!r}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _difference(name: str, first: StoredFigure, second: StoredFigure, paired: bool) -> Difference:
    before, after = np.array(first.without), np.array(second.without)
    apart = second.value - first.value
    interval = None
    if len(before) == len(after) >= FEWEST_GROUPS:
        if paired:
            interval = jackknife(apart, after - before)
            method = f"paired {interval.method}"
        else:
            # The sets share no videos, so their errors add up; what they share of the reference
            # set would make the interval smaller, and is not taken into account.
            half = math.hypot(*(jackknife(0.0, values).high for values in (before, after)))
            interval = Interval(apart - half, apart + half, "")
            method = f"unpaired jackknife over {len(before)} groups"
        interval = Interval(interval.low, interval.high, method)
    return Difference(
        name, first.value, second.value, interval, paired, _winner(first.better, interval)
    )


def _winner(better: str, interval: Interval | None) -> str:
    if interval is None or better == "neither" or interval.low <= 0 <= interval.high:
        return "unclear"
    return "second" if (interval.high < 0) == (better == "lower") else "first"
