"""How far what a still shows is from the real thing, in levels of 255.

The judge of pictures names a thing that is drawn twice, or cut off at one side, as surely as a
whole one; this does not. It needs the emoji font, to have real ones to compare with.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from benchmarks.judges.protocol import FIRST_SEED, Case, world

_SCENES = 5000
"""Scenes that are drawn to know where first frames show their sprites; a few dozen places."""


def sprite_levels(case: Case, picture: np.ndarray) -> float:
    """Return the RMS difference from the most similar real sprite of a case, inside of it.

    Args:
        case: what was asked for.
        picture: uint8 (H, W, 3).

    Returns:
        Levels of 255, over the sprite's pixels but its rim, at the place and in the size of a first
        frame where it is least.

    Raises:
        DataError: the emoji font is not installed.
    """
    facts = case.shown.facts
    shown = picture.astype(np.float32)
    return min(
        float(np.sqrt(np.square(shown[inside] - real).mean()))
        for real, inside in _real(facts.thing, facts.on_board)
    )


@lru_cache(maxsize=2)
def _places(on_board: bool) -> list[tuple[float, float, float]]:
    """Where first frames show their sprites, and in what size: x, y and size in short sides."""
    painter = world()
    scenes = (painter.facts(FIRST_SEED + k) for k in range(_SCENES))
    return sorted({(it.x, it.y, it.size) for it in scenes if it.on_board == on_board})


@lru_cache(maxsize=128)
def _real(thing: str, on_board: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """A thing in all places and sizes: its pixels (N, 3), and where they are, bool (H, W)."""
    painter = replace(world(), frames=2)
    shown, found = painter.describe(FIRST_SEED), []
    still = replace(shown.facts, motion="standing still", camera="still")
    for x, y, size in _places(on_board):
        facts = replace(still, thing=thing, on_board=on_board, x=x, y=y, size=size)
        clip = painter.render(replace(shown, facts=facts))
        inside = cv2.erode(clip.mask[0].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        found.append((clip.frames[0][inside].astype(np.float32), inside))
    return found
