"""SpriteWorld keeps its promises: one scene for a seed, and a flow that is true of the pixels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.core.sizes import Size
from fdream.data.spriteworld import captions, motions, scenes, sprites
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.degrade import watermark
from fdream.data.spriteworld.world import Clip, Facts, SpriteWorld, held_out

PLAIN = SpriteWorld(cast="plain", size=Size(96, 96), frames=8)
EVERY_PATH = [(motion, "still") for motion in motions.MOTIONS] + [
    ("standing still", camera) for camera in motions.CAMERAS if camera != "still"
]


def staged(motion: str, camera: str, seed: int) -> Clip:
    """A clip of a given motion and camera, everything else drawn from the seed."""
    shown = PLAIN.describe(seed)
    facts = replace(
        shown.facts, motion=motion, camera=camera, on_board=motion == "surfing", thing="blue square"
    )
    return PLAIN.render(replace(shown, facts=facts))


def warped_back(clip: Clip, t: int) -> np.ndarray:
    """Frame t + 1 sampled where the flow says frame t's pixels went."""
    height, width = clip.frames.shape[1:3]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    where = clip.flow[t] + np.stack([xs, ys], -1)
    return cv2.remap(clip.frames[t + 1], where, None, cv2.INTER_CUBIC)


def test_the_world_is_as_large_as_promised() -> None:
    assert len(sprites.NOTO) == 29
    assert len(sprites.cast("plain")) == 12
    assert len(scenes.SCENES) == 8
    assert len(motions.MOTIONS) == 14
    assert set(motions.CAMERAS) == {"still", "pan left", "pan right", "zoom in", "zoom out"}


@pytest.mark.parametrize(("motion", "camera"), EVERY_PATH)
def test_flow_takes_the_next_frame_back_to_this_one(motion: str, camera: str) -> None:
    errors = []
    for seed in range(4):
        clip = staged(motion, camera, seed)
        for t in range(PLAIN.frames - 1):
            inside = (
                cv2.erode((clip.mask[t] & clip.visible[t]).astype(np.uint8), np.ones((5, 5))) > 0
            )
            difference = warped_back(clip, t)[inside].astype(float) - clip.frames[t][inside]
            errors.append(np.square(difference))
    mean_square = np.concatenate(errors).mean()
    assert 10 * np.log10(255**2 / max(mean_square, 1e-9)) >= 30


@pytest.mark.parametrize("camera", list(motions.CAMERAS))
def test_flow_of_the_background_follows_the_camera(camera: str) -> None:
    clip = staged("standing still", camera, 3)
    away = cv2.erode((~clip.mask[0] & clip.visible[0]).astype(np.uint8), np.ones((7, 7))) > 0
    difference = np.abs(warped_back(clip, 0)[away].astype(float) - clip.frames[0][away])
    assert difference.mean() < 1.5
    assert (np.abs(clip.flow[0][away]).max() > 0.5) == (camera != "still")


def test_a_still_camera_leaves_the_background_alone() -> None:
    clip = staged("moving left", "still", 1)
    outside = ~(clip.mask.any(0))
    outside = cv2.erode(outside.astype(np.uint8), np.ones((5, 5))) > 0
    assert all(np.array_equal(frame[outside], clip.frames[0][outside]) for frame in clip.frames)


@pytest.mark.parametrize("motion", list(motions.MOTIONS))
def test_every_motion_starts_where_the_first_frame_stands(motion: str) -> None:
    room = motions.Room.around(0.5, 0.5, 0.4, 1.0, 1.0)
    assert motions.MOTIONS[motion][0](0.0, room, 1.0) == motions.Pose()


@pytest.mark.parametrize("motion", [m for m in motions.MOTIONS if m != "standing still"])
def test_every_motion_moves_and_stays_in_view(motion: str) -> None:
    room = motions.Room.around(0.36, 0.44, 0.52, 1.0, 1.0)
    poses = [motions.MOTIONS[motion][0](u, room, 1.0) for u in np.linspace(0, 1, 16)]
    assert any(pose != motions.Pose() for pose in poses[1:])
    assert all(0.1 < 0.36 + pose.dx < 0.9 and 0.1 < 0.44 + pose.dy < 0.9 for pose in poses)


def test_a_seed_means_one_scene_on_every_machine() -> None:
    digest = hashlib.sha256()
    for seed in range(200):
        facts = {
            k: round(v, 9) if isinstance(v, float) else v
            for k, v in asdict(SpriteWorld().facts(seed)).items()
        }
        digest.update(
            json.dumps([facts, SpriteWorld().describe(seed).caption], sort_keys=True).encode()
        )
    assert digest.hexdigest() == "b9196fa7c8573aec37723bb7ae03d3fe15c6828361ebd8cc30fce382be766a6b"


def test_the_same_seed_renders_the_same_clip() -> None:
    first, second = PLAIN.clip(11), PLAIN.clip(11)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(PLAIN.still(11, 5).frame, first.frames[5])


def test_a_stride_is_every_other_frame_with_its_own_flow() -> None:
    whole, half = PLAIN.clip(4), PLAIN.clip(4, stride=2)
    assert np.array_equal(half.frames, whole.frames[::2])
    assert half.flow.shape[0] == 3
    error = np.square(
        warped_back(half, 0)[half.mask[0]].astype(float) - half.frames[0][half.mask[0]]
    )
    assert np.median(error) < 10


def test_training_never_shows_a_held_out_triple() -> None:
    train, kept = replace(PLAIN, split="train"), replace(PLAIN, split="held-out")

    def triple(facts: Facts) -> tuple[str, str, str]:
        return facts.thing, facts.scene, facts.motion

    shown = {triple(train.facts(seed)) for seed in range(3000)}
    wanted = {triple(kept.facts(seed)) for seed in range(200)}
    assert not any(held_out(*t) for t in shown)
    assert not shown & wanted


@pytest.mark.parametrize("size", [Size(64, 64), Size(128, 128), Size(96, 160), Size(161, 97)])
def test_any_size_and_length(size: Size) -> None:
    clip = SpriteWorld(cast="plain", size=size, frames=3).clip(2)
    assert clip.frames.shape == (3, *size, 3)
    assert clip.flow.shape == (2, *size, 2)
    assert clip.mask.shape == (3, *size)
    assert 0.01 < clip.mask[0].mean() < 0.5


def test_the_picture_is_the_same_at_every_size() -> None:
    small = SpriteWorld(cast="plain", size=Size(64, 64), frames=2).clip(6)
    large = SpriteWorld(cast="plain", size=Size(256, 256), frames=2).clip(6)
    reduced = cv2.resize(large.frames[0], (64, 64), interpolation=cv2.INTER_AREA)
    assert small.facts == large.facts
    assert np.abs(reduced.astype(float) - small.frames[0]).mean() < 6


def test_captions_say_what_is_shown() -> None:
    for seed in range(300):
        clip = SpriteWorld().describe(seed)
        facts = clip.facts
        nouns = sprites.cast("noto")[facts.thing]
        assert any(noun in clip.caption and noun in clip.pair.appearance for noun in nouns)
        assert (
            any(place in clip.pair.appearance for place in scenes.SCENES[facts.scene])
            or facts.motion == "surfing"
        )
        verbs = motions.MOTIONS[facts.motion][1]
        views = motions.CAMERAS[facts.camera]
        assert any(verb in clip.pair.motion for verb in verbs) or any(
            v and v in clip.pair.motion for v in views
        )
        assert not any(noun in clip.pair.motion.split() for noun in nouns)


def test_every_word_is_in_the_vocabulary() -> None:
    known = set(captions.vocabulary("noto"))
    for seed in range(300):
        shown = SpriteWorld().describe(seed)
        assert (
            set(captions.words([shown.caption, shown.pair.appearance, shown.pair.motion])) <= known
        )


def test_degraded_clips_are_worse_marked_alike_and_badly_captioned() -> None:
    clean, bad = PLAIN.clip(7), replace(PLAIN, degraded=True).clip(7)
    difference = bad.frames.astype(float) - clean.frames
    assert 10 * np.log10(255**2 / np.square(difference).mean()) < 30
    # The overlay is in the same place on every clip: averaged over many, it stands out.
    marks = [
        replace(PLAIN, degraded=True).clip(s).frames[0].astype(float) - PLAIN.clip(s).frames[0]
        for s in range(40)
    ]
    mean = np.mean(marks, axis=(0, 3))
    overlay = watermark(96, 96)[..., 0]
    assert mean[overlay > 0.3].mean() > mean[overlay == 0].mean() + 15
    assert len(bad.caption.split()) <= 6
    assert np.array_equal(bad.flow, clean.flow)


def test_the_corgi_is_ours_and_needs_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "FONT_PATHS", ())
    sprites.sprite.cache_clear()
    picture = sprites.sprite("noto", "corgi")
    assert picture.shape[2] == 4
    assert (picture[..., 3] > 250).mean() > 0.3
    with pytest.raises(DataError, match="fonts-noto-color-emoji"):
        sprites.sprite("noto", "cat")
    sprites.sprite.cache_clear()


def test_chance_is_pinned() -> None:
    chance = Chance("a stream")
    assert [chance.below(1000) for _ in range(4)] == [695, 201, 412, 945]


def test_on_a_grid_first_frames_use_few_places_and_sizes() -> None:
    free, few = SpriteWorld(cast="plain"), SpriteWorld(cast="plain", grid=16)
    places, sizes = set(), set()
    for seed in range(200):
        anywhere, here = free.facts(seed), few.facts(seed)
        assert (here.x * 16, here.y * 16) == (round(here.x * 16), round(here.y * 16))
        assert max(abs(here.x - anywhere.x), abs(here.y - anywhere.y)) <= 1 / 32 + 1e-9
        places.add((here.x, here.y))
        sizes.add(round(here.size, 4))
        # Nothing else of the scene changes.
        assert replace(here, x=anywhere.x, y=anywhere.y, size=anywhere.size) == anywhere
    assert len(places) <= 25
    assert sizes <= {0.4, 0.45, 0.5, 0.5625, 0.625}
