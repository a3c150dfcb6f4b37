"""Cuts are PySceneDetect's, frame by frame, though each file is decoded once and by our opener."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import scenedetect

from fdream.core.prep_recipe import CutTable
from fdream.data.media import open_video, video_stream
from fdream.data.prep.frames import TimedVideo
from fdream.data.prep.shots import ShotDetector, small_copy


def beginnings(path: Path, options: CutTable) -> list[tuple[int, str]]:
    found = []
    with open_video(path) as container:
        video = TimedVideo(container, video_stream(container, str(path)), 10)
        detector = ShotDetector(options, video.facts.fps, video.tick)
        marked = [m for frame in video.frames() for m in detector.feed(frame)]
        marked += detector.finish()
        assert [m.frame.number for m in marked] == list(range(len(marked)))
        found = [(m.frame.number, m.beginning) for m in marked if m.beginning is not None]
    return found


def by_pyscenedetect(path: Path) -> list[int]:
    # What `scenedetect detect-adaptive` does: its command sets 0.6 s, its library 15 frames.
    detector = scenedetect.AdaptiveDetector(min_scene_len="0.6s")
    scenes = scenedetect.detect(str(path), detector)
    return [start.frame_num for start, _ in scenes] or [0]


def test_cuts_between_scenes_are_found_at_their_first_frame(make_video) -> None:
    path = make_video("cuts.mp4", [(1, 30), (2, 40), (3, 20), (4, 35)])
    assert beginnings(path, CutTable(fades=False)) == [
        (0, "start"),
        (30, "cut"),
        (70, "cut"),
        (90, "cut"),
    ]
    assert by_pyscenedetect(path) == [0, 30, 70, 90]


@pytest.mark.parametrize(
    "name",
    [
        *("arm_wrestling.mp4", "basketball_gym.mp4", "bikes_scene_cuts.mp4", "chaplin_bw.mp4"),
        *("asl_thanks.mkv", "odd_321x241_444.mp4", "rotated_90.mov"),
        # OpenCV, which PySceneDetect reads with, takes seconds to open it.
        pytest.param("nasa_13013_hdr.mp4", marks=pytest.mark.slow),
    ],
)
def test_real_clips_are_cut_where_pyscenedetect_cuts_them(name: str, real_clips: Path) -> None:
    path = real_clips / name
    found = [number for number, _ in beginnings(path, CutTable(fades=False))]
    assert found == by_pyscenedetect(path)


def test_a_picture_that_comes_back_from_black_begins_a_shot(tmp_path: Path) -> None:
    from fdream.data.encoding import Encoding
    from fdream.data.writers import save_video

    levels = [*np.linspace(200, 0, 20), *[0] * 10, *np.linspace(0, 200, 20), *[200] * 20]
    frames = np.stack([np.full((48, 64, 3), level, np.uint8) for level in levels])
    path = tmp_path / "fade.mp4"
    save_video(path, frames, 25, Encoding("mp4"))
    found = beginnings(path, CutTable())
    assert [begins for _, begins in found] == ["start", "fade"]
    assert 30 <= found[1][0] <= 33
    assert beginnings(path, CutTable(fades=False)) == [(0, "start")]


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le", "gray"])
def test_the_small_copy_is_pyscenedetects(pixels: str) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    picture = cv2.resize(tiles, (400, 300), interpolation=cv2.INTER_CUBIC)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
    small, whole = small_copy(frame), frame.to_ndarray(format="bgr24")
    reference = cv2.resize(whole, (256, 192), interpolation=cv2.INTER_LINEAR)
    assert small.shape == reference.shape
    # A wrong range or matrix is off by ten.
    assert np.abs(small.astype(int) - reference).mean() < 2


def test_the_quicker_score_is_the_librarys() -> None:
    from scenedetect.common import FrameTimecode

    from fdream.data.prep.shots import _QuickAdaptiveDetector

    rng = np.random.default_rng(0)
    ours, theirs = _QuickAdaptiveDetector(), scenedetect.AdaptiveDetector()
    for number in range(5):
        picture = rng.integers(0, 256, (31, 47, 3)).astype(np.uint8)
        found = [
            d._calculate_frame_score(FrameTimecode(number, 25.0), picture) for d in (ours, theirs)
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-12)
