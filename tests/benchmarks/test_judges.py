"""The committed judges do what their committed ceilings say."""

import hashlib
import json

import numpy as np
import pytest

from benchmarks.judges import motion_judge, picture_judge
from benchmarks.judges.ceilings import CEILINGS, round_trip
from benchmarks.judges.likeness import sprite_levels
from benchmarks.judges.motion_judge import MotionJudge
from benchmarks.judges.picture_judge import PictureJudge
from benchmarks.judges.protocol import (
    BARS_PERCENT,
    CEILING_MARGIN_PERCENT,
    FIRST_SEED,
    cases,
    world,
)
from benchmarks.judges.score import Verdict, figures
from benchmarks.judges.tracking import Track
from benchmarks.judges.verdicts import Bench, background_levels, decibels
from fdream.data.spriteworld import motions
from fdream.data.spriteworld.sprites import font_path
from fdream.stages.builtin.bundles import open_bundle

SAMPLE = 24
needs_font = pytest.mark.skipif(
    font_path() is None,
    reason="real renderings need Noto Color Emoji (apt install fonts-noto-color-emoji)",
)
ceilings = json.loads(CEILINGS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["picture", "motion"])
def test_ceilings_are_those_of_the_committed_judges(name):
    weights = {"picture": picture_judge.WEIGHTS, "motion": motion_judge.WEIGHTS}[name]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert ceilings["judges_sha256"][name] == digest, "run python -m benchmarks.judges.ceilings"


def test_ceilings_are_those_of_the_packaged_autoencoder():
    packaged = open_bundle("pocket").path / "vae"
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in packaged.glob("*.safetensors")]
    assert [ceilings["autoencoder_sha256"]] == digests, "run python -m benchmarks.judges.ceilings"


def test_judges_are_small():
    folder = picture_judge.WEIGHTS.parent
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= 2e6


@pytest.mark.parametrize("kind", ["real", "round_trip"])
@pytest.mark.parametrize("question", BARS_PERCENT)
def test_ceilings_lie_above_the_bars(question, kind):
    ceiling = ceilings["clip"][kind][question]["percent"]
    assert ceiling >= BARS_PERCENT[question] + CEILING_MARGIN_PERCENT


@needs_font
def test_likeness_tells_a_whole_thing_from_two_halves():
    painter = world()
    for case in cases(6):
        real = painter.still(FIRST_SEED + case.index, 0).frame
        assert sprite_levels(case, real) < 3
        halves = real.copy()
        halves[:, 64:] = np.roll(real, (16, 8), (0, 1))[:, 64:]
        assert sprite_levels(case, halves) > 15
        assert Bench().still(case, halves).measured["sprite_levels"] > 15


@needs_font
def test_judges_reach_their_ceilings_on_a_sample():
    painter, bench = world(), Bench()
    vae = open_bundle("pocket").load("vae").eval()
    verdicts: dict[str, list[Verdict]] = {"real": [], "round_trip": []}
    for case in cases(SAMPLE):
        frames = painter.render(case.shown).frames
        verdicts["real"].append(bench.clip(case, frames))
        verdicts["round_trip"].append(bench.clip(case, round_trip(frames, vae)))
    for kind, found in verdicts.items():
        for question, figure in figures(found).items():
            if "percent" not in figure:
                continue
            # The sample is the first of the same cases: it cannot hold more mistakes than all of
            # them, but for a pixel that another machine rounds otherwise.
            whole = ceilings["clip"][kind][question]
            mistakes, of_all = figure["of"] - figure["right"], whole["of"] - whole["right"]
            assert mistakes <= of_all + 1, (kind, question)
            assert figure["interval_percent"][0] <= whole["percent"], (kind, question)
            assert figure["percent"] > 80, (kind, question)


@needs_font
def test_the_judge_finds_the_mask_of_a_turning_sprite():
    painter = world()
    case = next(c for c in cases(200) if c.shown.facts.motion == "spinning")
    clip = painter.render(case.shown)
    sight = PictureJudge.load().look(clip.frames)
    inside = sight.mask.repeat(4, 1).repeat(4, 2) > 0.5
    overlap = (inside & clip.mask).sum() / (inside | clip.mask).sum()
    assert overlap > 0.8


def ideal_track(motion: str, pace: float, size: float = 0.45) -> Track:
    """Follow a motion's own path without a picture; its sprite fills half of its square."""
    room = motions.Room.around(0.5, 0.55, size, 1, 1)
    poses = [motions.MOTIONS[motion][0](t / 15, room, pace) for t in range(16)]
    angles = np.radians([pose.angle for pose in poses])
    return Track(
        camera=np.zeros((16, 3)),
        place=np.array([(0.5 + pose.dx, 0.55 + pose.dy) for pose in poses]),
        size=np.array([size * pose.scale * 0.5**0.5 for pose in poses]),
        turn=np.stack([np.cos(angles), np.sin(angles)], -1),
    )


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_every_motion_is_named_from_its_own_path(pace):
    judge = MotionJudge.load()
    named = judge.name([ideal_track(motion, pace) for motion in motions.MOTIONS])
    assert named == list(motions.MOTIONS)


def test_psnr_of_known_errors():
    black = np.zeros((4, 4, 3), np.uint8)
    assert decibels(black, black + 255) == pytest.approx(0)
    assert decibels(black, black + 1) == pytest.approx(48.13, abs=0.01)
    assert decibels(black, black) == 99


def test_only_what_is_outside_of_the_sprite_is_background():
    frames = np.full((3, 128, 128, 3), 100, np.uint8)
    mask = np.zeros((3, 32, 32), np.float32)
    mask[:, 10:20, 10:20] = 1
    frames[1:, 36:84, 36:84] = 200  # the sprite and one cell of its rim
    assert background_levels(frames, mask) == 0
    frames[1:] += 5
    assert background_levels(frames, mask) == 5
