"""From verdicts to figures: shares with Wilson intervals, and who was taken for whom."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

_Z_95: Final = 1.959963984540054
"""The normal distribution's two-sided 95 % point."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judges saw in one sample, beside what was asked for.

    Attributes:
        index: of the case.
        truth: question (object, scene, motion, camera) -> what was asked for.
        seen: question -> what was seen, once for each frame that was looked at.
        measured: name -> a number in the unit its name ends with; what was not measured is absent.
    """

    index: int
    truth: Mapping[str, str]
    seen: Mapping[str, Sequence[str]]
    measured: Mapping[str, float] = field(default_factory=dict)

    def looks_right(self, question: str) -> list[bool]:
        """Say of each look at the sample whether it saw what was asked for."""
        return [answer == self.truth[question] for answer in self.seen[question]]

    def right(self, question: str) -> bool:
        """Say whether every look did."""
        return all(self.looks_right(question))


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return the Wilson score interval, 95 %, of a share.

    Args:
        right: successes.
        of: trials, at least one.

    Returns:
        (low, high) in 0..1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22 (1927).
    """
    share, square = right / of, _Z_95**2 / of
    centre = (share + square / 2) / (1 + square)
    half = _Z_95 * math.sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def share(right: int, of: int) -> dict[str, Any]:
    """Return a share as JSON: counts, per cent, interval."""
    return {
        "right": right,
        "of": of,
        "percent": round(100 * right / of, 2),
        "interval_percent": [round(100 * bound, 2) for bound in wilson(right, of)],
    }


def figures(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Add up verdicts.

    Returns:
        Question -> its share, by frame too where several were looked at, and its confusion: what
        was asked for -> what was seen -> how many looks saw it. Measurement -> its summary.
    """
    result: dict[str, Any] = {}
    for question in verdicts[0].truth:
        confusion: dict[str, Counter[str]] = defaultdict(Counter)
        for verdict in verdicts:
            confusion[verdict.truth[question]].update(verdict.seen[question])
        result[question] = share(sum(v.right(question) for v in verdicts), len(verdicts))
        looks = zip(*(v.looks_right(question) for v in verdicts), strict=True)
        by_frame = [round(100 * sum(look) / len(look), 2) for look in looks]
        if len(by_frame) > 1:
            result[question]["by_frame_percent"] = by_frame
        result[question]["confusion"] = {
            asked: dict(seen.most_common()) for asked, seen in sorted(confusion.items())
        }
    for name in sorted({name for verdict in verdicts for name in verdict.measured}):
        result[name] = summary([v.measured[name] for v in verdicts if name in v.measured])
    return result


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return how measurements are spread, as JSON."""
    low, median, high = np.percentile(values, [5, 50, 95])
    spread = {
        "mean": np.mean(values),
        "median": median,
        "percentile_5": low,
        "percentile_95": high,
        "lowest": np.min(values),
        "highest": np.max(values),
    }
    return {"of": len(values), **{key: round(float(value), 3) for key, value in spread.items()}}
