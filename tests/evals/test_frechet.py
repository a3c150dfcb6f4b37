"""The Frechet distance, its streaming and its known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.evals.frechet import Moments, frechet_distance, leave_one_out


def reference(real: np.ndarray, fake: np.ndarray) -> float:
    """The nuclear norm of A B^T of the centred features, by SVD; exact below full rank too."""
    a, b = real - real.mean(0), fake - fake.mean(0)
    n, m = len(a) - 1, len(b) - 1
    shared = np.linalg.norm(a @ b.T, ord="nuc") / math.sqrt(n * m)
    apart = np.square(real.mean(0) - fake.mean(0)).sum()
    return apart + np.square(a).sum() / n + np.square(b).sum() / m - 2 * shared


def two_sets(samples: int, features: int, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """Features whose standard deviations fall from 1 to exp(-decay), in two rotated frames."""
    draws = np.random.default_rng(samples + features)
    scales = np.exp(-np.linspace(0, decay, features))
    turn = np.linalg.qr(np.eye(features) + 0.3 * draws.normal(size=(features, features)))[0]
    real = draws.normal(size=(samples, features)) * scales
    fake = (draws.normal(size=(samples, features)) * scales * 1.2) @ turn + 0.1 * scales
    return real, fake


CASES = [
    pytest.param(300, 40, 0.0, id="well conditioned"),
    pytest.param(300, 40, 14.0, id="condition number 1e12"),
    pytest.param(300, 40, 30.0, id="condition number 1e26"),
    pytest.param(60, 200, 1.0, id="fewer samples than features"),
    pytest.param(60, 200, 14.0, id="fewer samples, badly conditioned"),
]


@pytest.mark.parametrize(("samples", "features", "decay"), CASES)
def test_agrees_with_the_nuclear_norm_by_svd(samples: int, features: int, decay: float) -> None:
    real, fake = two_sets(samples, features, decay)
    found = frechet_distance(Moments.of(real), Moments.of(fake))
    assert found == pytest.approx(reference(real, fake), rel=1e-6)


@pytest.mark.parametrize(("samples", "features", "decay"), CASES)
def test_the_order_of_the_sets_does_not_matter(samples: int, features: int, decay: float) -> None:
    real, fake = (Moments.of(features_) for features_ in two_sets(samples, features, decay))
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-9)


@pytest.mark.parametrize(("samples", "features", "decay"), CASES)
def test_equal_sets_are_no_distance_apart(samples: int, features: int, decay: float) -> None:
    real, _ = two_sets(samples, features, decay)
    moments = Moments.of(real)
    spread = float(np.trace(moments.covariance))
    assert 0 <= frechet_distance(moments, moments) <= 1e-12 * spread
    shuffled = np.random.default_rng(0).permutation(real)
    assert 0 <= frechet_distance(moments, Moments.of(shuffled)) <= 1e-12 * spread


def test_a_shift_costs_its_squared_length() -> None:
    real, _ = two_sets(100, 8, 1.0)
    shift = np.arange(8.0)
    found = frechet_distance(Moments.of(real), Moments.of(real + shift))
    assert found == pytest.approx(np.square(shift).sum(), rel=1e-9)


def test_known_answer_of_scaled_sets() -> None:
    # The geometric mean of C and c^2 C is c C: tr C (1 + c^2 - 2 c) = tr C (1 - c)^2.
    real, _ = two_sets(100, 8, 3.0)
    moments = Moments.of(real)
    centred = real - real.mean(0)
    found = frechet_distance(moments, Moments.of(3 * centred + real.mean(0)))
    assert found == pytest.approx(4 * np.trace(moments.covariance), rel=1e-9)


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [7, 93, 50, 50], [199, 1]])
def test_streaming_equals_the_batch(sizes: list[int]) -> None:
    real, _ = two_sets(200, 24, 8.0)
    real = real + 1000  # far from zero, where summing squares would lose digits
    chunks = np.split(real, np.cumsum(sizes)[:-1])
    streamed = Moments.stream(chunks)
    assert streamed.count == 200
    np.testing.assert_allclose(streamed.mean, real.mean(0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(real.T), rtol=0, atol=1e-10)
    assert frechet_distance(streamed, Moments.of(real)) < 1e-9


def test_streaming_keeps_no_more_than_a_square() -> None:
    streamed = Moments.stream(np.ones((10, 6)) * k for k in range(50))
    assert streamed.root.shape == (6, 6)


def test_leaving_one_part_out_equals_merging_the_others() -> None:
    real, _ = two_sets(120, 10, 2.0)
    parts = np.array_split(real, 6)
    without = leave_one_out([Moments.of(part) for part in parts])
    for index, moments in enumerate(without):
        others = np.concatenate([part for k, part in enumerate(parts) if k != index])
        assert moments.count == len(others)
        np.testing.assert_allclose(moments.covariance, np.cov(others.T), atol=1e-12)


def test_one_sample_has_no_covariance() -> None:
    one, two = Moments.of(np.ones((1, 3))), Moments.of(np.eye(3))
    with pytest.raises(DataError, match="generated set has 1 sample"):
        frechet_distance(two, one)
