"""Clips in buckets, and plans of batches: everything is seen, nothing is mixed up."""

from __future__ import annotations

from collections import Counter

import pytest

from fdream.core.sizes import Size
from fdream.training.clips.buckets import BatchPlan, Bucket, Rules, sort_clips
from fdream.training.clips.index import ClipRecord

RULES = Rules((Size(32, 32), Size(32, 64)), (4, 8), (1, 2))


def clip(number: int, height: int = 64, width: int = 64, frames: int = 10, **more) -> ClipRecord:
    known = {"sha256": f"{number:064d}", "height": height, "width": width, "frames": frames}
    return ClipRecord("s.tar", f"k{number}", 0, 1, fps=8.0, **{**known, **more})


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((64, 64, 10), Bucket(32, 32, 8)),
        ((60, 106, 10), Bucket(32, 64, 8)),
        ((64, 70, 7), Bucket(32, 32, 4)),
        ((64, 64, 4), Bucket(32, 32, 4)),
        ((64, 64, 3), "shorter than 4 frames"),
        ((15, 15, 10), "smaller than 1/2 of 32x32, the nearest size"),
    ],
)
def test_a_clip_goes_to_the_nearest_shape_and_the_longest_length(shape, wanted) -> None:
    height, width, frames = shape
    assert RULES.bucket(clip(0, height, width, frames)) == wanted


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    clips = [*map(clip, range(5)), clip(5, frames=2), clip(6, frames=2), clip(7, trouble="broken")]
    found = sort_clips(clips, RULES, validation=2)
    assert found.left_out == Counter({"shorter than 4 frames": 2, "cannot be read": 1})
    assert found.troubles == {"s.tar/k7": "broken"}
    assert (found.num_training, len(found.held_out)) == (3, 2)


def test_a_copy_of_what_is_held_out_is_not_trained_on() -> None:
    clips = [clip(1), clip(2), clip(3), clip(9, sha256=f"{1:064d}")]
    found = sort_clips(clips, RULES, validation=1)
    assert [one.sha256 for one, _ in found.held_out] == [f"{1:064d}"]
    trained = {one.sha256 for part in found.training.values() for one in part}
    assert trained == {f"{2:064d}", f"{3:064d}"}
    # The same ones, whatever else there is.
    more = sort_clips([*clips, *(clip(n) for n in range(20, 40))], RULES, validation=1)
    assert more.held_out[0][0].sha256 == f"{1:064d}"


def test_a_sibling_of_what_is_held_out_is_not_trained_on() -> None:
    clips = [clip(n, source=f"{n // 3}.mp4") for n in range(9)]
    found = sort_clips(clips, RULES, validation=2)
    assert [int(one.sha256) for one, _ in found.held_out] == [0, 1]
    trained = [int(one.sha256) for part in found.training.values() for one in part]
    assert trained == [3, 4, 5, 6, 7, 8]
    assert found.left_out == Counter({"of the source of a held-out clip": 1})
    # Of one source alone there would be nothing left.
    alone = sort_clips(clips[:3], RULES, validation=2)
    assert (alone.num_training, len(alone.held_out)) == (1, 2)


def test_views_take_every_stride_that_fits_and_stay_inside() -> None:
    seen = set()
    bucket = Bucket(32, 32, 8)
    for number in range(80):
        view = RULES.view(clip(number, frames=16), bucket, "x")
        assert view.span <= 16
        assert sum(view.shows(n) for n in range(16)) == 8
        assert (view.shows(view.offset), view.shows(view.span - 1)) == (True, True)
        seen.add((view.stride, view.offset))
    assert {stride for stride, _ in seen} == {1, 2}
    assert {offset for stride, offset in seen if stride == 1} == set(range(9))
    # Too short for the larger stride: the smaller is taken.
    assert {RULES.view(clip(n, frames=9), bucket, "x").stride for n in range(20)} == {1}


def test_an_epoch_shows_everything_and_only_fills_up_the_last_batch() -> None:
    plan = BatchPlan([7, 4, 1], batch_size=4, seed=3)
    assert plan.epoch_batches == 2 + 1 + 1
    for epoch in range(3):
        steps = range(epoch * plan.epoch_batches, (epoch + 1) * plan.epoch_batches)
        shown = Counter(
            (bucket, row) for step in steps for bucket, rows in [plan.batch(step)] for row in rows
        )
        assert set(shown) == {(0, k) for k in range(7)} | {(1, k) for k in range(4)} | {(2, 0)}
        assert sum(count - 1 for (bucket, _), count in shown.items() if bucket == 0) == 1
    assert [plan.batch(s) for s in range(4)] != [plan.batch(s) for s in range(4, 8)]


def test_a_plan_depends_on_the_step_alone() -> None:
    one, two = (BatchPlan([9, 5], 4, seed=1) for _ in range(2))
    forward = [one.batch(step) for step in range(20)]
    assert [two.batch(step) for step in reversed(range(20))] == forward[::-1]
    assert [BatchPlan([9, 5], 4, seed=2).batch(step) for step in range(20)] != forward
