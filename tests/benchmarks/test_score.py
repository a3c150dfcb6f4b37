"""Shares, their intervals, and what counts as right."""

import pytest

from benchmarks.judges.score import Verdict, figures, wilson


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (360, 400, 0.8667, 0.9257),
    ],
)
def test_wilson_intervals_are_the_published_ones(right, of, low, high):
    assert wilson(right, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def seen(*objects: str, **measured: float) -> Verdict:
    return Verdict(0, {"object": "fox"}, {"object": objects}, measured)


def test_a_sample_is_right_only_if_every_look_is():
    scores = figures([seen("fox", "fox", "fox"), seen("fox", "fox", "cat"), seen(*["cat"] * 3)])
    assert (scores["object"]["right"], scores["object"]["of"]) == (1, 3)
    assert scores["object"]["by_frame_percent"] == [66.67, 66.67, 33.33]
    assert scores["object"]["confusion"] == {"fox": {"fox": 5, "cat": 4}}


def test_a_measurement_is_summed_up_where_it_was_taken():
    scores = figures([seen("fox", db=20.0), seen("fox"), seen("fox", db=40.0)])
    assert scores["db"]["of"] == 2
    assert scores["db"]["mean"] == 30
    assert (scores["db"]["lowest"], scores["db"]["highest"]) == (20, 40)
