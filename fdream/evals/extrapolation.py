"""The Frechet distance of endless samples, from how it falls with the number of samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdream.evals.frechet import Moments, frechet_distance

NUM_SIZES: Final = 6
SAMPLES_A_FEATURE: Final = 2
"""Below so many samples a feature the distance is no line in 1/n, and nothing is extrapolated."""
_LARGEST_RATIO: Final = 4.0


def can_extrapolate(samples: int, features: int) -> bool:
    """Say whether a set is large enough to extrapolate its Frechet distance."""
    return samples >= SAMPLES_A_FEATURE * features


def subset_sizes(samples: int, features: int) -> list[int]:
    """Return the sizes to measure at, evenly spaced in 1/n, the whole set first.

    Ours: down to a quarter of the set, never below the number of features, where covariances lose
    their rank and the line bends.
    """
    ratio = min(_LARGEST_RATIO, max(float(SAMPLES_A_FEATURE), samples / features))
    return [round(samples / r) for r in np.linspace(1, ratio, NUM_SIZES)]


def extrapolate(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Fit ``distance = a + b / n`` over subsets and return a.

    Args:
        real: (N, D), in a random order.
        fake: (N, D) of the same N, in a random order.

    Returns:
        The estimate for endless samples; noise may put it below zero.

    Source: Chong and Forsyth, arXiv 1911.07023 (FID infinity). Ours: a subset is a window into
    the order, without replacement; windows that together cover the set are averaged, and move
    little when a group is left out, so that the jackknife sees the data and not the draw.
    """
    assert len(real) == len(fake), "the line needs as many real samples as generated ones"
    sizes = subset_sizes(*real.shape)
    heights = [_mean_distance(real, fake, size) for size in sizes]
    slope_and_limit = np.polyfit([1 / size for size in sizes], heights, 1)
    return float(slope_and_limit[1])


def extrapolate_without(
    real: NDArray[np.floating],
    fake: NDArray[np.floating],
    groups: NDArray[np.int64],
    on_step: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Return the extrapolated distance with each group left out of both sets, (G,)."""
    found = []
    for group in range(int(groups.max()) + 1):
        kept = groups != group
        found.append(extrapolate(real[kept], fake[kept]))
        on_step()
    return np.array(found)


def _mean_distance(real: NDArray[np.floating], fake: NDArray[np.floating], size: int) -> float:
    samples = len(real)
    windows = 1 if size == samples else math.ceil(samples / size)
    distances = []
    for window in range(windows):
        chosen = (window * samples // windows + np.arange(size)) % samples
        distances.append(frechet_distance(Moments.of(real[chosen]), Moments.of(fake[chosen])))
    return float(np.mean(distances))
