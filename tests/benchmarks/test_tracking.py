"""Tracks of clips whose motion is known to the last number."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.judges.picture_judge import CELL_PX, Sight
from benchmarks.judges.tracking import track
from fdream.data.spriteworld import motions
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.world import Clip, SpriteWorld

WORLD = SpriteWorld(cast="plain")


def clip(seed: int, **facts: object) -> Clip:
    shown = WORLD.describe(seed)
    plain = {"camera": "still", "slowly": False, "on_board": False, "motion": "standing still"}
    return WORLD.render(replace(shown, facts=replace(shown.facts, **plain | facts)))


def perfect_sight(shown: Clip) -> Sight:
    """Return what a judge without fault would see of mask and angle."""
    count, height, width = shown.mask.shape
    cells = (width // CELL_PX, height // CELL_PX)
    mask = [
        cv2.resize(m.astype(np.float32), cells, interpolation=cv2.INTER_AREA) for m in shown.mask
    ]
    facts = shown.facts
    room = motions.Room.around(facts.x, facts.y, facts.size, 1, 1)
    path = motions.MOTIONS[facts.motion][0]
    angles = [np.radians(path(t / (count - 1), room, 1.0).angle) for t in range(count)]
    turn = np.stack([np.cos(angles), np.sin(angles)], -1)
    return Sight(np.zeros((count, 1)), np.zeros((count, 1)), np.stack(mask), turn)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(
    ("camera", "pan", "zoom"),
    [
        ("still", 0, 1),
        ("pan left", 0.28, 1),
        ("pan right", -0.28, 1),
        ("zoom in", 0, 1.4),
        ("zoom out", 0, 0.75),
    ],
)
def test_pan_and_zoom_are_read_off_the_background(scene, camera, pan, zoom):
    # Snow of a few paintings slides along itself unseen; the committed ceilings say how often.
    shown = clip(7, scene=scene, camera=camera, motion="moving right")
    found = track(shown.frames, perfect_sight(shown))
    assert found.camera_motion == camera
    assert found.camera[-1] == pytest.approx([pan, 0, np.log(zoom)], abs=0.04)


def test_a_straight_way_is_measured_in_short_sides():
    shown = clip(4, motion="moving right")
    facts = shown.facts
    way = motions.Room.around(facts.x, facts.y, facts.size, 1, 1).right
    found = track(shown.frames, perfect_sight(shown))
    moved = found.place - found.place[0]
    # The sprite may leave the frame by a tenth of its size, and what is outside has no mask.
    assert moved[8] == pytest.approx([way * 8 / 15, 0], abs=0.01)
    assert np.all(np.diff(moved[:, 0]) > 0)


def test_growing_is_measured_as_size():
    found = track(*seen(clip(5, motion="shrinking")))
    assert found.size[-1] / found.size[0] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("camera", list(motions.CAMERAS))
def test_what_the_camera_does_is_taken_off_the_sprite(camera):
    found = track(*seen(clip(7, camera=camera)))
    assert np.abs(found.place - found.place[0]).max() < 0.03
    assert found.size[-1] / found.size[0] == pytest.approx(1, abs=0.08)


def seen(shown: Clip) -> tuple[np.ndarray, Sight]:
    return shown.frames, perfect_sight(shown)
