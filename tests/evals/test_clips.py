"""The window of a video: exactly the frames that the rule names, at exactly its size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.core.sizes import Size
from fdream.data.media import open_video
from fdream.evals.clips import Clip, ClipRule, ShortVideo, fit_frame, read_clip, window_of
from tests.evals.conftest import WriteVideos, numbered

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "clips"


def read(path: Path, rule: ClipRule, key: str = "key") -> Clip:
    return read_clip(lambda: open_video(path), rule, key, path.name)


def numbers(clip: Clip) -> list[int]:
    """Which frames of ``numbered`` a clip shows."""
    return [round(float(frame[..., 0].mean()) / 12) for frame in clip.frames]


NATIVE = {"size": None}


@pytest.mark.parametrize("kind", ["apng", "gif", "mp4", "webm"])
def test_a_file_and_its_frames_in_memory_have_the_same_window(
    kind: str, write_videos: WriteVideos
) -> None:
    path = write_videos("videos", 1, kind=kind) / f"clip000.{kind}"
    for start in ("first", "middle", "random"):
        rule = ClipRule(frames=6, stride=2, start=start, **NATIVE)
        found = read(path, rule)
        assert numbers(found) == numbers(window_of(numbered(20), 8, rule, "key", "memory"))
        assert found.fps == pytest.approx(4, rel=0.05)  # GIF counts in hundredths of a second


def test_windows_begin_where_the_rule_says(write_videos: WriteVideos) -> None:
    path = write_videos("videos", 1) / "clip000.apng"
    assert numbers(read(path, ClipRule(frames=4, **NATIVE))) == [0, 1, 2, 3]
    assert numbers(read(path, ClipRule(frames=4, start="middle", **NATIVE))) == [8, 9, 10, 11]
    assert numbers(read(path, ClipRule(frames=4, stride=6, **NATIVE))) == [0, 6, 12, 18]
    assert numbers(read(path, ClipRule(frames=4, fps=2, **NATIVE))) == [0, 4, 8, 12]
    assert numbers(read(path, ClipRule(frames=4, fps=16, **NATIVE))) == [0, 0, 1, 1]


def test_a_drawn_start_depends_on_the_key_and_the_seed_alone(write_videos: WriteVideos) -> None:
    path = write_videos("videos", 1) / "clip000.apng"
    rule = ClipRule(frames=4, start="random", **NATIVE)
    starts = {key: numbers(read(path, rule, key))[0] for key in map(str, range(12))}
    assert starts == {key: numbers(read(path, rule, key))[0] for key in map(str, range(12))}
    assert len(set(starts.values())) > 4
    assert max(starts.values()) <= 16
    other = ClipRule(frames=4, start="random", seed=1, **NATIVE)
    assert starts != {key: numbers(read(path, other, key))[0] for key in starts}


@pytest.mark.parametrize("rule", [ClipRule(frames=21), ClipRule(frames=11, stride=2),
                                  ClipRule(frames=16, fps=4)])  # fmt: skip
def test_a_short_video_is_refused_with_both_lengths(
    rule: ClipRule, write_videos: WriteVideos
) -> None:
    path = write_videos("videos", 1) / "clip000.apng"
    with pytest.raises(ShortVideo, match="a window needs"):
        read(path, rule)


def test_frames_keep_their_proportions_unless_they_are_to_be_stretched() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 255  # the middle half is white
    crop = fit_frame(picture, ClipRule(size=Size(20, 20)))
    assert (crop[:, 1:-1] == 255).all()
    pad = fit_frame(picture, ClipRule(size=Size(20, 20), resize="pad"))
    assert (pad[:5] == 0).all()
    assert (pad[10, 6:14] == 255).all()
    stretch = fit_frame(picture, ClipRule(size=Size(20, 20), resize="stretch"))
    assert (stretch[:, 6:14] == 255).all()
    assert (stretch[:, :4] == 0).all()


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert fit_frame(picture, ClipRule(size=Size(20, 20))) is picture


def test_wide_pixels_are_shown_as_wide_as_they_are() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert fit_frame(picture, ClipRule(size=None), Fraction(2)).shape == (20, 40, 3)


def test_shrinking_averages_what_it_leaves_out() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    small = fit_frame(picture, ClipRule(size=Size(16, 16)))
    assert np.abs(small.astype(int) - 127).max() <= 2


needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")


@needs_clips
@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("rotated_90.mov", 568, 320), ("nasa_13013_rotated.mp4", 480, 270), ("yoga.mp4", 320, 569),
     ("arm_wrestling.mp4", 256, 427)],
)  # fmt: skip
def test_real_clips_stand_upright_with_square_pixels(name: str, height: int, width: int) -> None:
    assert read(CLIPS / name, ClipRule(frames=3, **NATIVE)).frames.shape == (3, height, width, 3)


@needs_clips
def test_an_avi_keeps_no_times_and_is_counted() -> None:
    late = read(CLIPS / "apply_eye_makeup.avi", ClipRule(frames=16, start="middle"))
    assert late.frames.shape == (16, 224, 224, 3)
    assert late.codec == "mpeg4"


@needs_clips
@pytest.mark.parametrize("name", ["corrupted_bitstream.mp4", "derived/not_a_video.mp4"])
def test_broken_real_clips_are_data_errors(name: str) -> None:
    with pytest.raises(DataError):
        read(CLIPS / name, ClipRule(frames=16, start="middle"))
