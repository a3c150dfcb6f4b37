"""The kernel distance: an unbiased estimate that needs no large sample, and so may be negative."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdream.core.errors import DataError

_ROWS: Final = 1024
DEGREE: Final = 3

Sums = NDArray[np.float64]


def kernel_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets of features.

    The kernel is ``(x . y / D + 1) ** 3``. Equal sets give a negative value, since a sample meets
    itself across the sets but never within one.

    Args:
        real: (N, D).
        fake: (M, D).

    Source: Binkowski et al., arXiv 1801.01401 (KID), over whole sets instead of subsets.
    """
    return kernel_distances(real, fake, np.zeros(len(real), int), np.zeros(len(fake), int))[0]


def kernel_distances(
    real: NDArray[np.floating],
    fake: NDArray[np.floating],
    real_groups: NDArray[np.integer],
    fake_groups: NDArray[np.integer],
) -> tuple[float, Sums]:
    """Return the kernel distance, and that without each group, from one pass over all pairs.

    Args:
        real: (N, D).
        fake: (M, D).
        real_groups: (N,) group of each sample, 0..G-1.
        fake_groups: (M,) likewise.

    Returns:
        The distance of the whole sets; (G,) distances with group g left out of both sets.

    Raises:
        DataError: a set has fewer than two samples.
    """
    for name, features in (("real", real), ("generated", fake)):
        if len(features) < 2:
            raise DataError(
                f"kernel distance: the {name} set has {len(features)} sample; at least 2 are "
                "needed."
            )
    count = int(max(real_groups.max(), fake_groups.max())) + 1
    within_real = _pair_sums(real, real, real_groups, real_groups, count, distinct=True)
    within_fake = _pair_sums(fake, fake, fake_groups, fake_groups, count, distinct=True)
    across = _pair_sums(real, fake, real_groups, fake_groups, count, distinct=False)
    sizes_real = np.bincount(real_groups, minlength=count)
    sizes_fake = np.bincount(fake_groups, minlength=count)

    def distance(kept: NDArray[np.bool_]) -> float:
        n, m = int(sizes_real[kept].sum()), int(sizes_fake[kept].sum())
        both = np.ix_(kept, kept)
        return float(
            within_real[both].sum() / max(n * (n - 1), 1)
            + within_fake[both].sum() / max(m * (m - 1), 1)
            - 2 * across[both].sum() / max(n * m, 1)
        )

    everything = np.ones(count, bool)
    without = np.array([distance(np.arange(count) != group) for group in range(count)])
    return distance(everything), without


def _pair_sums(
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    left_groups: NDArray[np.integer],
    right_groups: NDArray[np.integer],
    count: int,
    *,
    distinct: bool,
) -> Sums:
    """Sum the kernel over all pairs by their groups, (G, G); ``distinct`` leaves out i = j."""
    columns = np.asarray(right, np.float64)
    member = np.zeros((len(columns), count))
    member[np.arange(len(columns)), right_groups] = 1
    sums = np.zeros((count, count))
    for begin in range(0, len(left), _ROWS):
        rows = np.asarray(left[begin : begin + _ROWS], np.float64)
        values = (rows @ columns.T / columns.shape[1] + 1) ** DEGREE
        if distinct:
            values[np.arange(len(rows)), np.arange(begin, begin + len(rows))] = 0
        np.add.at(sums, left_groups[begin : begin + _ROWS], values @ member)
    return sums
