"""Intervals: how far a figure may be from what endless videos of the same kind would give.

Means are bootstrapped over videos. Frechet distances never are: a resample repeats videos, which
adds the bias of a small sample a second time (simulated: such percentile intervals covered the
truth 0 % of the time, a delete-group jackknife 95 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

MOST_GROUPS: Final = 20
FEWEST_GROUPS: Final = 15
LEVEL: Final = 0.95
_RESAMPLES: Final = 2000
_DRAWN_AT_ONCE: Final = 1_000_000
_NORMAL: Final = 1.959964
# 97.5 % points of Student's t, for 14 to 19 degrees of freedom.
_STUDENT: Final = {
    14: 2.144787,
    15: 2.131450,
    16: 2.119905,
    17: 2.109816,
    18: 2.100922,
    19: 2.093024,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: its lower end.
        high: its upper end.
        method: how it was found, such as ``jackknife over 20 groups``.
    """

    low: float
    high: float
    method: str


def groups_of(count: int) -> NDArray[np.int64] | None:
    """Deal samples into groups for the jackknife, as even as can be.

    Args:
        count: of samples; they are in a random order that does not depend on what they show.

    Returns:
        (count,) group numbers, of 20 groups or, below 20 samples, one each; None where fewer than
        15 groups can be made: then there is no honest interval.
    """
    if count < FEWEST_GROUPS:
        return None
    return np.arange(count) % min(MOST_GROUPS, count)


def jackknife(value: float, without: Values) -> Interval:
    """Return the interval of a figure from its values with each group left out.

    Args:
        value: of the whole sample.
        without: (G,), G from 15 to 20.

    Source: the delete-group jackknife (Kott 2001), with Student's t for G - 1 degrees of freedom.
    """
    groups = len(without)
    half = _STUDENT[groups - 1] * standard_error(without)
    return Interval(value - half, value + half, f"jackknife over {groups} groups")


def standard_error(without: Values) -> float:
    """Return the jackknife's standard error from (G,) values with each group left out."""
    groups = len(without)
    return math.sqrt((groups - 1) / groups * np.square(without - without.mean()).sum())


def student(groups: int) -> float:
    """Return how many standard errors make a 95 % interval with so many groups, 15 to 20."""
    return _STUDENT[groups - 1]


def leave_out_means(values: Values, groups: NDArray[np.int64]) -> Values:
    """Return the mean of (N,) values without each group, (G,)."""
    sums = np.bincount(groups, weights=values)
    sizes = np.bincount(groups)
    return (values.sum() - sums) / (len(values) - sizes)


def bootstrap_mean(values: Values) -> Interval | None:
    """Return the percentile interval of a mean over videos; None below 15: it would be too narrow.

    Ours: a fixed seed and sorted values, so that the same videos have the same interval in any
    order.
    """
    if len(values) < FEWEST_GROUPS:
        return None
    values = np.sort(values)
    draws = np.random.default_rng(0)
    means = np.empty(_RESAMPLES)
    step = max(1, _DRAWN_AT_ONCE // len(values))
    for begin in range(0, _RESAMPLES, step):
        rows = min(step, _RESAMPLES - begin)
        chosen = draws.integers(len(values), size=(rows, len(values)))
        means[begin : begin + rows] = values[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), f"bootstrap over {len(values)} videos")


def wilson(share: float, count: int) -> Interval:
    """Return the interval of a share of ``count`` videos; of use also at 0 and 1.

    A bootstrap of videos that all agree would say that it is certain.

    Source: Wilson (1927), the score interval.
    """
    square = _NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = share * (1 - share) / count + square / (4 * count**2)
    half = _NORMAL * math.sqrt(spread) / (1 + square / count)
    # At 0 and 1 an end is the share itself, but for rounding.
    low, high = min(middle - half, share), max(middle + half, share)
    return Interval(low, high, f"Wilson over {count} videos")
