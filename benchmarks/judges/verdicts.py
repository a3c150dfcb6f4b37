"""From pixels to verdicts."""

from __future__ import annotations

import math
from functools import cached_property

import cv2
import numpy as np

from benchmarks.judges.likeness import sprite_levels
from benchmarks.judges.motion_judge import MotionJudge
from benchmarks.judges.picture_judge import OBJECTS, PLACES, PictureJudge, Sight
from benchmarks.judges.protocol import Case
from benchmarks.judges.score import Verdict
from benchmarks.judges.tracking import track
from fdream.data.spriteworld.sprites import font_path

_COVERED = 0.1
_RIM_CELLS = 2
"""How far around the sprite's mask a change is still the sprite's: eight pixels."""


class Bench:
    """The judges, each loaded when first needed."""

    @cached_property
    def _pictures(self) -> PictureJudge:
        return PictureJudge.load()

    @cached_property
    def _motions(self) -> MotionJudge:
        return MotionJudge.load()

    def still(self, case: Case, picture: np.ndarray) -> Verdict:
        """Judge a picture, uint8 (H, W, 3) RGB, by its object and its scene.

        Where the emoji font is installed, ``sprite_levels`` is measured, too.
        """
        truth = {"object": case.shown.facts.thing, "scene": case.shown.facts.scene}
        seen = _named(self._pictures.look(picture[None]), [0])
        measured = {"sprite_levels": sprite_levels(case, picture)} if font_path() else {}
        return Verdict(case.index, truth, seen, measured)

    def clip(self, case: Case, frames: np.ndarray, expected: np.ndarray | None = None) -> Verdict:
        """Judge a clip.

        Args:
            case: what was asked for.
            frames: uint8 (F, H, W, 3) RGB.
            expected: uint8 (H, W, 3), the first frame as the autoencoder can show it; None where
                there is no such claim to test.
        """
        facts = case.shown.facts
        sight = self._pictures.look(frames)
        found = track(frames, sight)
        seen = _named(sight, [0, len(frames) // 2, len(frames) - 1])
        measured = {}
        if expected is not None:
            measured["first_frame_db"] = decibels(frames[0], expected)
        if facts.camera == "still":
            measured["background_levels"] = background_levels(frames, sight.mask)
        return Verdict(
            case.index,
            {
                "object": facts.thing,
                "scene": facts.scene,
                "motion": facts.motion,
                "camera": facts.camera,
            },
            {**seen, "motion": self._motions.name([found]), "camera": [found.camera_motion]},
            measured,
        )


def decibels(picture: np.ndarray, reference: np.ndarray) -> float:
    """Return the PSNR of two uint8 pictures; equal ones are given 99 dB."""
    error = np.square(picture.astype(np.float64) - reference).mean()
    return min(99.0, 10 * math.log10(255**2 / max(float(error), 1e-9)))


def background_levels(frames: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean |frame_t - frame_0| outside of the sprite, in levels of 255.

    Args:
        frames: uint8 (F, H, W, 3).
        mask: (F, h, w), how much of each cell the sprite covers; what it covers in frame t or in
            frame 0, and a rim around that, is not background.
    """
    kernel = np.ones((2 * _RIM_CELLS + 1,) * 2, np.uint8)
    size = (frames.shape[2], frames.shape[1])
    grown = [cv2.dilate((m > _COVERED).astype(np.uint8), kernel) for m in mask]
    covered = [cv2.resize(m, size, interpolation=cv2.INTER_NEAREST).astype(bool) for m in grown]
    changes = [
        np.abs(frames[t].astype(np.int16) - frames[0])[~(covered[t] | covered[0])].mean()
        for t in range(1, len(frames))
        if not (covered[t] | covered[0]).all()
    ]
    return float(np.mean(changes)) if changes else 0.0


def _named(sight: Sight, rows: list[int]) -> dict[str, list[str]]:
    """Name the likeliest object and scene of some of the pictures."""
    return {
        "object": [OBJECTS[k] for k in sight.objects[rows].argmax(-1)],
        "scene": [PLACES[k] for k in sight.places[rows].argmax(-1)],
    }
