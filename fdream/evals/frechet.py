"""The Frechet distance between two sets of features, in float64 and in constant memory.

Covariances are never squared: a set is kept as the triangular root of its scatter matrix, which
chunks extend by QR. So badly conditioned sets lose nothing, and a set with fewer samples than
features needs no regularisation (scipy's matrix square root of such a product is wrong in the
sixth digit, and adding 1e-6 to the diagonal costs as much).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from fdream.core.errors import DataError

Features = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and scatter of a set of features.

    Attributes:
        count: number of samples n.
        mean: (D,).
        root: (R, D) with R at most D; ``root.T @ root`` is the sum of the outer products of the
            centred samples.
    """

    count: int
    mean: Features
    root: Features

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Moments:
        """Summarise a chunk of samples, (N, D) of any float type, N at least 1."""
        samples = np.asarray(features, np.float64)
        mean = samples.mean(axis=0)
        return cls(len(samples), mean, _triangle(samples - mean))

    @classmethod
    def stream(cls, chunks: Iterable[NDArray[np.floating]]) -> Moments:
        """Summarise chunks of samples one after another; at least one is needed."""
        return reduce(cls.merge, (cls.of(chunk) for chunk in chunks))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets together.

        Source: the pairwise update of Chan, Golub and LeVeque for means and scatter matrices,
        here on their roots.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        weight = math.sqrt(self.count * other.count / count)
        rows = np.concatenate([self.root, other.root, weight * apart[None]])
        return Moments(count, self.mean + apart * (other.count / count), _triangle(rows))

    @property
    def covariance(self) -> Features:
        """The unbiased covariance, (D, D)."""
        return self.root.T @ self.root / (self.count - 1)


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Return the squared Frechet distance of the two normal distributions with these moments.

    The trace of the covariances' geometric mean is the nuclear norm of the product of their roots.

    Raises:
        DataError: a set has fewer than two samples, and so no covariance.

    Source: Heusel et al., arXiv 1706.08500 (FID); Unterthiner et al., arXiv 1812.01717 (FVD).
    """
    for name, moments in (("real", real), ("generated", fake)):
        if moments.count < 2:
            raise DataError(
                f"Frechet distance: the {name} set has {moments.count} sample; at least 2 are "
                "needed for a covariance, and many more for a figure that means something."
            )
    spread_real = np.square(real.root).sum() / (real.count - 1)
    spread_fake = np.square(fake.root).sum() / (fake.count - 1)
    shared = np.linalg.svd(real.root @ fake.root.T, compute_uv=False).sum()
    shared /= math.sqrt((real.count - 1) * (fake.count - 1))
    apart = np.square(real.mean - fake.mean).sum()
    # A square: what is below zero is the rounding of equal sets.
    return max(float(apart + spread_real + spread_fake - 2 * shared), 0.0)


def leave_one_out(parts: list[Moments]) -> list[Moments]:
    """Return, for each part, the moments of all the others; two parts or more.

    Forward and backward sums make it linear in the number of parts.
    """
    before: list[Moments | None] = [None]
    after: list[Moments | None] = [None]
    for part in parts[:-1]:
        before.append(_joined(before[-1], part))
    for part in reversed(parts[1:]):
        after.append(_joined(after[-1], part))
    kept = [_joined(left, right) for left, right in zip(before, reversed(after), strict=True)]
    assert all(kept), "of two parts or more, one is left"
    return [moments for moments in kept if moments is not None]


def _joined(left: Moments | None, right: Moments | None) -> Moments | None:
    if left is None or right is None:
        return left or right
    return left.merge(right)


def _triangle(rows: Features) -> Features:
    """Return the triangular factor of (N, D): at most D rows with the same scatter."""
    # numpy's annotations know the answer of mode "reduced" alone.
    return np.linalg.qr(rows, mode="r")  # type: ignore[return-value]
