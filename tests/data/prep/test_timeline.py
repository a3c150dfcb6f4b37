"""Uneven time becomes even clips, and no frame's time is lost."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fdream.data.prep.frames import TimedFrame
from fdream.data.prep.shots import Marked
from fdream.data.prep.timeline import Timeline

NO_PICTURE: Any = None


def clips_of(
    times: list[Fraction], last: Fraction, cuts: set[int], fps: Fraction, longest: float | None
) -> list[tuple[str, Fraction, list[int]]]:
    """Return how each clip begins, when, and the numbers of the frames on its ticks."""
    tick = Fraction(1, math.lcm(*(time.denominator for time in [*times, last])))
    timeline = Timeline(fps, tick, longest)
    clips: list[tuple[str, Fraction, list[int]]] = []

    def take(ticks: Any) -> None:
        for tick in ticks:
            if tick.begins is not None:
                clips.append((tick.begins, tick.start_s, []))
            clips[-1][2].append(tick.frame.number)

    for number, time in enumerate(times):
        begins = "start" if number == 0 else "cut" if number in cuts else None
        frame = TimedFrame(number, int(time / tick), int(last / tick), NO_PICTURE)
        take(timeline.feed(Marked(frame, begins)))
    take(timeline.finish())
    return clips


def regular(count: int, fps: Fraction) -> list[Fraction]:
    return [number / fps for number in range(count)]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(179, 6)])
def test_a_regular_video_keeps_every_frame_once(fps: Fraction) -> None:
    clips = clips_of(regular(97, fps), 1 / fps, {30, 31, 70}, fps, None)
    assert [clip[2] for clip in clips] == [
        list(range(30)),
        [30],
        list(range(31, 70)),
        list(range(70, 97)),
    ]
    assert [clip[1] for clip in clips] == [0, 30 / fps, 31 / fps, 70 / fps]


def test_times_rounded_to_milliseconds_still_keep_every_frame_once() -> None:
    times = [Fraction(round(number * 1000 / 30), 1000) for number in range(300)]
    assert clips_of(times, Fraction(33, 1000), set(), Fraction(30), None)[0][2] == list(range(300))


def test_a_frame_that_stands_long_is_repeated_and_hurried_ones_are_dropped() -> None:
    tenth = Fraction(1, 10)
    times = [Fraction(0), 5 * tenth, 5 * tenth + Fraction(1, 100), 6 * tenth]
    found = clips_of(times, tenth, set(), Fraction(10), None)
    assert found == [("start", 0, [0, 0, 0, 0, 0, 2, 3])]


@pytest.mark.parametrize("seed", range(20))
def test_clips_last_as_long_as_the_video_to_half_a_tick_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = [Fraction(int(step), 1000) for step in rng.integers(1, 400, 60)]
    times = [sum(steps[:number], Fraction(0)) for number in range(60)]
    cuts = set(rng.integers(1, 60, 4).tolist())
    fps = Fraction(int(rng.integers(2, 60)))
    clips = clips_of(times, steps[-1], cuts, fps, 1.5)
    end = times[-1] + steps[-1]
    ends = [start for _, start, _ in clips[1:]] + [end]
    for (begins, start, shown), until in zip(clips, ends, strict=True):
        assert shown == sorted(shown)
        assert len(shown) <= max(1, 1.5 * fps + 0.5)
        if begins != "length":
            lasted = len(shown) / fps
            assert abs(lasted - (until - start)) <= 1 / fps
    # No clip shows a frame of its neighbour's shot.
    bounds = [0, *sorted(cuts), 60]
    shots = [set(range(a, b)) for a, b in pairwise(bounds)]
    assert all(any(set(shown) <= shot for shot in shots) for _, _, shown in clips)


def test_a_long_shot_becomes_full_clips_and_the_rest() -> None:
    clips = clips_of(regular(250, Fraction(25)), Fraction(1, 25), {60}, Fraction(25), 2.0)
    assert [(begins, len(shown)) for begins, _, shown in clips] == [
        ("start", 50),
        ("length", 10),
        ("cut", 50),
        ("length", 50),
        ("length", 50),
        ("length", 40),
    ]
    assert [number for _, _, shown in clips for number in shown] == list(range(250))


def test_a_length_of_ten_seconds_is_full_at_the_rate_of_television() -> None:
    fps = Fraction(30000, 1001)
    assert len(clips_of(regular(300, fps), 1 / fps, set(), fps, 10.0)) == 1


def test_a_single_frame_is_a_clip_of_one() -> None:
    assert clips_of([Fraction(0)], Fraction(0), set(), Fraction(25), 10.0) == [("start", 0, [0])]


def test_a_slower_clip_takes_the_frame_that_is_shown_then() -> None:
    clips = clips_of(regular(30, Fraction(30)), Fraction(1, 30), {15}, Fraction(10), None)
    assert [shown for _, _, shown in clips] == [[1, 4, 7, 10, 13], [16, 19, 22, 25, 28]]
