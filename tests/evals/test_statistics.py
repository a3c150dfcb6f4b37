"""Kernel distance, extrapolation and intervals against sets whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.evals.extrapolation import (
    can_extrapolate,
    extrapolate,
    extrapolate_without,
    subset_sizes,
)
from fdream.evals.frechet import Moments, frechet_distance
from fdream.evals.kernel import kernel_distance, kernel_distances
from fdream.evals.resampling import (
    bootstrap_mean,
    groups_of,
    jackknife,
    leave_out_means,
    standard_error,
    wilson,
)


def kernel_by_loops(real: np.ndarray, fake: np.ndarray) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return float(np.mean([k(rows[i], rows[j]) for i, j in pairs]))

    across = float(np.mean([k(x, y) for x in real for y in fake]))
    return within(real) + within(fake) - 2 * across


def test_kernel_distance_agrees_with_loops_over_pairs() -> None:
    draws = np.random.default_rng(0)
    real, fake = draws.normal(size=(9, 4)), draws.normal(size=(7, 4)) + 0.5
    assert kernel_distance(real, fake) == pytest.approx(kernel_by_loops(real, fake), rel=1e-12)


def test_kernel_distance_without_a_group_is_that_of_the_others() -> None:
    draws = np.random.default_rng(1)
    real, fake = draws.normal(size=(12, 4)), draws.normal(size=(9, 4)) + 0.5
    real_groups, fake_groups = np.arange(12) % 3, np.arange(9) % 3
    _, without = kernel_distances(real, fake, real_groups, fake_groups)
    for group in range(3):
        kept = real[real_groups != group], fake[fake_groups != group]
        assert without[group] == pytest.approx(kernel_by_loops(*kept), rel=1e-12)


def test_kernel_distance_of_equal_sets_is_negative() -> None:
    features = np.random.default_rng(2).normal(size=(50, 8))
    assert kernel_distance(features, features) < 0


def test_kernel_distance_is_unbiased() -> None:
    draws = np.random.default_rng(3)
    pairs = draws.normal(size=(400, 2, 10, 3))
    found = np.array([kernel_distance(real, fake) for real, fake in pairs])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_one_sample_has_no_kernel_distance() -> None:
    with pytest.raises(DataError, match="real set has 1 sample"):
        kernel_distance(np.ones((1, 3)), np.eye(3))


def drawn(seed: int, samples: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Two normal sets: standard, and twice as wide and shifted by 0.5 in every direction."""
    draws = np.random.default_rng(seed)
    real = draws.normal(size=(samples, features))
    return real, 2 * draws.normal(size=(samples, features)) + 0.5


FEATURES = 8
TRUTH = FEATURES * (0.25 + 1.0)
"""Of ``drawn``: D (0.5^2 + (2 - 1)^2)."""


def test_small_samples_inflate_the_distance_and_the_line_takes_that_away() -> None:
    plain, limit = [], []
    for seed in range(100):
        real, fake = drawn(seed, 32, FEATURES)
        plain.append(frechet_distance(Moments.of(real), Moments.of(fake)))
        limit.append(extrapolate(real, fake))
    bias, remaining = np.mean(plain) - TRUTH, np.mean(limit) - TRUTH
    assert bias > 0.5
    assert abs(remaining) < 0.35 * bias


@pytest.mark.parametrize("trials", [30, pytest.param(120, marks=pytest.mark.slow)])
def test_the_jackknife_of_the_limit_covers_the_truth_where_a_bootstrap_does_not(
    trials: int,
) -> None:
    covered, bootstrapped = 0, 0
    for seed in range(trials):
        real, fake = drawn(seed, 48, FEATURES)
        groups = groups_of(48)
        assert groups is not None
        interval = jackknife(extrapolate(real, fake), extrapolate_without(real, fake, groups))
        covered += interval.low <= TRUTH <= interval.high
        draws = np.random.default_rng(seed)
        again = [
            frechet_distance(
                Moments.of(real[draws.integers(48, size=48)]),
                Moments.of(fake[draws.integers(48, size=48)]),
            )
            for _ in range(100)
        ]
        low, high = np.quantile(again, [0.025, 0.975])
        bootstrapped += low <= TRUTH <= high
    spread = math.sqrt(trials * 0.95 * 0.05)
    assert covered >= 0.95 * trials - 2.5 * spread
    assert bootstrapped < 0.75 * trials


def test_subsets_are_evenly_spaced_in_one_over_n_and_never_below_the_features() -> None:
    sizes = subset_sizes(2048, 400)
    assert len(sizes) == 6
    assert sizes[0] == 2048
    steps = np.diff([1 / size for size in sizes])
    np.testing.assert_allclose(steps, steps[0], rtol=0.02)
    assert min(subset_sizes(128, 64)) == 64


def test_no_line_below_two_samples_a_feature() -> None:
    assert not can_extrapolate(799, 400)
    assert can_extrapolate(800, 400)


@pytest.mark.parametrize("count", [15, 20, 21, 100, 2048])
def test_groups_are_even(count: int) -> None:
    groups = groups_of(count)
    assert groups is not None
    sizes = np.bincount(groups)
    assert 15 <= len(sizes) <= 20
    assert sizes.max() - sizes.min() <= 1


def test_too_few_samples_have_no_groups() -> None:
    assert groups_of(14) is None


def test_the_jackknife_of_a_mean_is_its_textbook_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=20)
    without = leave_out_means(values, np.arange(20))
    assert standard_error(without) == pytest.approx(values.std(ddof=1) / np.sqrt(20), rel=1e-9)


def test_intervals_of_means_cover_the_truth() -> None:
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(loc=3, size=60)
        interval = bootstrap_mean(values)
        assert interval is not None
        covered += interval.low <= 3 <= interval.high
    assert covered >= 180


def test_an_interval_is_the_same_each_time_and_in_any_order() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) == bootstrap_mean(values[::-1].copy())


def test_a_few_videos_have_no_interval() -> None:
    assert bootstrap_mean(np.ones(14)) is None


def test_shares_of_none_and_all_stay_uncertain() -> None:
    none, every = wilson(0.0, 10), wilson(1.0, 10)
    assert none.low == pytest.approx(0, abs=1e-12)
    assert none.high > 0.2
    assert every.low < 0.8
    assert every.high == pytest.approx(1)
