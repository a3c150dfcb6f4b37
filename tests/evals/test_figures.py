"""Figures: what they come with, when they warn, and when two of them may be compared."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fdream.core.errors import CheckFailed, DataError
from fdream.evals.compare import compare
from fdream.evals.figures import (
    Figure,
    frechet_figures,
    inception_figure,
    inception_score,
    kernel_name,
    mean_figure,
)
from fdream.evals.results import StoredResult
from fdream.stages.interfaces import FigureSpec

FVD = FigureSpec("fvd", "features", "frechet", "lower", temporal=True)
PSNR = FigureSpec("psnr", "psnr", "mean", "higher", unit="dB", consistency=True)
DEGREE = FigureSpec("degree", "moves", "share", "neither")
SCORE = FigureSpec("is", "classes", "inception", "higher")


def features(seed: int, count: int, shift: float = 0.0, width: int = 8) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, width)) + shift).astype(np.float32)


def by_name(made: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in made}


def test_a_distance_comes_with_its_limit_its_kernel_distance_and_its_baselines() -> None:
    made = by_name(frechet_figures(FVD, features(0, 64), features(1, 64, 0.3), features(2, 64), {}))
    assert list(made) == ["fvd", "fvd_infinity", "kvd"]
    assert set(made["fvd"].beside) == {"real_halves_n32", "first_frame_repeated"}
    assert all(figure.interval is not None for figure in made.values())
    assert all("jackknife" in str(figure.interval) for figure in made.values())
    assert made["fvd_infinity"].value < made["fvd"].value


def test_fid_stands_beside_the_one_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="the extra `eval` is not installed")
    fid = FigureSpec("fid", "features", "frechet", "lower")
    real, fake = features(0, 60).reshape(20, 3, 8), features(1, 60, 0.5).reshape(20, 3, 8)
    made = by_name(frechet_figures(fid, real, fake, None, {}))["fid"]
    assert made.beside["torchmetrics"] == pytest.approx(made.value, rel=1e-6)


@pytest.mark.parametrize(("n_real", "halves"), [(64, 32), (100, 40), (40, 20)])
def test_the_halves_are_as_large_as_the_sets_where_there_are_videos_enough(
    n_real: int, halves: int
) -> None:
    real = features(0, n_real)
    made = by_name(frechet_figures(FVD, real, features(1, 40), None, {}))
    expected = frechet_figures(FVD, real[:halves], real[halves : 2 * halves], None, {})[0].value
    assert made["fvd"].beside == {f"real_halves_n{halves}": pytest.approx(expected, rel=1e-9)}


def test_too_small_a_sample_has_no_limit_and_says_so() -> None:
    made = by_name(frechet_figures(FVD, features(0, 15), features(1, 15), None, {}))
    assert list(made) == ["fvd", "kvd"]
    assert "too few for a Frechet distance" in made["fvd"].warnings[0]
    assert made["kvd"].warnings == ()


def test_very_few_videos_have_no_interval() -> None:
    made = by_name(frechet_figures(FVD, features(0, 8), features(1, 8), None, {}))
    assert all(figure.interval is None for figure in made.values())
    assert "too few for an interval" in " ".join(made["kvd"].warnings)


def test_both_sets_count_as_many_videos_as_the_smaller() -> None:
    made = frechet_figures(FVD, features(0, 90), features(1, 40), None, {})
    assert {(figure.n_real, figure.n_fake) for figure in made} == {(40, 40)}
    same = frechet_figures(FVD, features(0, 90)[:40], features(1, 40), None, {})
    assert [f.value for f in made] == [f.value for f in same]


def test_equal_sets_are_at_zero_and_their_kernel_distance_below() -> None:
    real = features(0, 64)
    made = by_name(frechet_figures(FVD, real, real, None, {}))
    assert made["fvd"].value == pytest.approx(0, abs=1e-9)
    assert made["kvd"].value < 0


def test_parts_of_a_video_are_left_out_together() -> None:
    real, fake = features(0, 60).reshape(20, 3, 8), features(1, 60).reshape(20, 3, 8)
    made = by_name(frechet_figures(FVD, real, fake, None, {}))
    flat = by_name(frechet_figures(FVD, real.reshape(60, 8), fake.reshape(60, 8), None, {}))
    assert made["fvd"].value == pytest.approx(flat["fvd"].value, rel=1e-9)
    assert made["fvd"].n_fake == 20
    assert len(made["fvd"].without) == 20
    assert made["fvd"].without != flat["fvd"].without


def test_one_video_has_no_distance() -> None:
    with pytest.raises(DataError, match="fvd: 1 video in the generated set"):
        frechet_figures(FVD, features(0, 8), features(1, 1), None, {})


def test_a_mean_stands_beside_the_reference_and_warns_when_small() -> None:
    values = np.linspace(20, 30, 30).astype(np.float32)
    made = mean_figure(PSNR, values + 5, values, {})
    assert made.value == pytest.approx(25)
    assert made.beside["reference"] == pytest.approx(30)
    assert made.consistency
    assert "fewer than 100" in made.warnings[0]
    assert mean_figure(PSNR, None, np.tile(values, 4), {}).warnings == ()


def test_a_share_keeps_an_interval_where_all_agree() -> None:
    made = mean_figure(DEGREE, None, np.ones(50, np.float32), {})
    assert made.interval is not None
    assert made.interval.low < 0.95


def test_known_inception_scores() -> None:
    classes = np.eye(10, dtype=np.float32)
    assert inception_score(classes) == pytest.approx(10)
    assert inception_score(np.full((30, 10), 0.1, np.float32)) == pytest.approx(1)
    made = inception_figure(SCORE, None, np.tile(classes, (4, 1)), {})
    assert made.value == pytest.approx(10)
    assert made.interval is not None


def test_kernel_distances_are_called_as_the_field_calls_them() -> None:
    assert [kernel_name(n) for n in ("fvd", "fid", "fvd_sprite")] == ["kvd", "kid", "kvd_sprite"]


def test_the_protocol_names_the_counts() -> None:
    made = mean_figure(PSNR, None, np.ones(30, np.float32), {"frames": "16", "codec": "h264"})
    assert "n 0 real, 30 generated" in made.protocol_text()
    other = mean_figure(PSNR, None, np.ones(31, np.float32), {"frames": "16", "codec": "h264"})
    assert made.protocol_hash() != other.protocol_hash()


def result(figures: list[Figure], keys: str = "names", real: str = "reference") -> StoredResult:
    return StoredResult.model_validate(
        {
            "figures": {figure.name: json.loads(json.dumps(figure.record())) for figure in figures},
            "real": {"content": real, "keys": "any"},
            "fake": {"content": "any", "keys": keys},
        }
    )


def noisy(seed: int, shift: float) -> np.ndarray:
    """Scores of the same 100 prompts: what differs between prompts is shared."""
    prompts = np.random.default_rng(0).normal(scale=5, size=100)
    own = np.random.default_rng(seed).normal(scale=0.5, size=100)
    return (prompts + own + shift).astype(np.float32)


def test_pairs_show_a_difference_that_unpaired_sets_hide() -> None:
    first, second = (mean_figure(PSNR, None, noisy(*x), {}) for x in ((1, 0.0), (2, 0.5)))
    (paired,) = compare(result([first]), result([second]))
    assert paired.paired
    assert paired.better == "second"
    (apart,) = compare(result([first]), result([second], keys="others"))
    assert not apart.paired
    assert apart.better == "unclear"
    assert paired.interval is not None
    assert apart.interval is not None
    width = paired.interval.high - paired.interval.low
    assert 3 * width < apart.interval.high - apart.interval.low


def test_nearer_sets_are_better_where_lower_is_better() -> None:
    real = features(0, 200)
    near, far = (frechet_figures(FVD, real, features(1, 200, s), None, {}) for s in (0.1, 1.0))
    found = {d.name: d.better for d in compare(result(near), result(far))}
    assert found == {"fvd": "first", "fvd_infinity": "first", "kvd": "first"}


@pytest.mark.parametrize(
    ("protocol", "count", "real", "told"),
    [
        ({"frames": "8"}, 100, "reference", "frames: '16' and '8'"),
        ({"frames": "16", "codec": "vp9"}, 100, "reference", "codec: 'not said' and 'vp9'"),
        ({"frames": "16"}, 90, "reference", "n: '0 real, 100 generated' and '0 real, 90"),
        ({"frames": "16"}, 100, "another", "reference set: the videos differ"),
    ],
)
def test_different_protocols_are_not_compared(
    protocol: dict[str, str], count: int, real: str, told: str
) -> None:
    values = noisy(0, 0)
    first = mean_figure(PSNR, None, values, {"frames": "16"})
    second = mean_figure(PSNR, None, values[:count], protocol)
    with pytest.raises(CheckFailed, match="different protocols") as refused:
        compare(result([first]), result([second], real=real))
    assert told in str(refused.value)


def test_results_without_a_common_figure_are_not_compared() -> None:
    first = mean_figure(PSNR, None, noisy(0, 0), {})
    second = mean_figure(DEGREE, None, np.ones(50, np.float32), {})
    with pytest.raises(CheckFailed, match="no figure in common"):
        compare(result([first]), result([second]))
