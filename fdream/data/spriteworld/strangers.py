"""Pictures that are not of SpriteWorld, so that a model may learn what to do with one: nothing.

No photo is needed for it. A photo is mostly things that hide one another, of all sizes, under
uneven light; here such a picture is made of overlapping shapes, as many small ones as there is room
for.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from fdream.data.spriteworld.chance import Chance

_SMALLEST = 0.05
_LARGEST = 0.6
_OCTAVES = (4, 8, 16, 32)


def stranger(seed: int, height_px: int, width_px: int) -> np.ndarray:
    """Paint a picture of overlapping shapes with grain, light and blur.

    Args:
        seed: decides all of it, the same on every machine.
        height_px: of the picture.
        width_px: of the picture.

    Returns:
        uint8 (H, W, 3) RGB.

    Source: dead leaves, Lee, Mumford and Huang, "Occlusion models for natural images" (2001), with
    radii whose density falls as r^-3; Baradad et al., arXiv 2106.05963, train on them in place of
    photos. Ours: the grain, the light and the grey or dark ones.
    """
    chance = Chance(f"stranger/{seed}")
    short = min(height_px, width_px)
    colours = _palette(chance)
    picture = np.empty((height_px, width_px, 3), np.float32)
    picture[:] = colours[0]
    for _ in range(round(math.exp(chance.between(math.log(8), math.log(220))))):
        _leaf(picture, short, chance, colours[chance.below(len(colours))] + chance.between(-18, 18))
    grain = chance.between(0, 0.3)
    picture *= 1 + grain * _noise(chance, height_px, width_px)[..., None]
    picture *= _light(chance, height_px, width_px)[..., None]
    picture *= chance.between(0.2, 0.7) if chance.happens(0.25) else chance.between(0.8, 1.2)
    blur = chance.between(-0.6, 2.0) * short / 128
    if blur > 0.3 * short / 128:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _palette(chance: Chance) -> list[np.ndarray]:
    """Return a few colours about a common one, in some pictures all of them grey."""
    middle, spread = chance.between(70, 190), chance.between(25, 110)
    tint = np.array([chance.between(-45, 45) for _ in range(3)])
    colourful = 0.0 if chance.happens(0.15) else chance.between(0.2, 1.0)
    colours = []
    for _ in range(3 + chance.below(6)):
        light = chance.between(-spread, spread)
        own = np.array([chance.between(-spread, spread) for _ in range(3)])
        colours.append(middle + light + colourful * (tint + 0.7 * own))
    return colours


def _leaf(picture: np.ndarray, short: int, chance: Chance, colour: np.ndarray) -> None:
    """Lay one shape on the picture, in place."""
    height, width = picture.shape[:2]
    paint = colour.tolist()
    # The inverse of the distribution whose density is r^-3 between the smallest and the largest.
    low, high = _SMALLEST**-2, _LARGEST**-2
    radius = short * (low + chance.between(0, 1) * (high - low)) ** -0.5
    x, y = chance.between(0, width), chance.between(0, height)
    turn, aspect = chance.between(0, 180), chance.between(0.25, 1)
    if chance.happens(0.5):
        axes = (max(1, round(radius)), max(1, round(radius * aspect)))
        cv2.ellipse(picture, (round(x), round(y)), axes, turn, 0, 360, paint, -1)
        return
    corners = 3 + chance.below(5)
    angles = [math.radians(turn) + 2 * math.pi * k / corners for k in range(corners)]
    reach = [radius * chance.between(0.6, 1.2) for _ in range(corners)]
    points = [
        (x + r * math.cos(a), y + aspect * r * math.sin(a))
        for a, r in zip(angles, reach, strict=True)
    ]
    cv2.fillPoly(picture, [np.round(points).astype(np.int32)], paint)


def _noise(chance: Chance, height_px: int, width_px: int) -> np.ndarray:
    """Return noise of several grains, float32 (H, W), about -1 to 1."""
    total = np.zeros((height_px, width_px), np.float32)
    for octave, cells in enumerate(_OCTAVES):
        values = [chance.between(-1, 1) for _ in range(cells * cells)]
        grid = np.array(values, np.float32).reshape(cells, cells)
        total += cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_CUBIC) / (
            1 + 0.5 * octave
        )
    return total


def _light(chance: Chance, height_px: int, width_px: int) -> np.ndarray:
    """Return how bright each place is, float32 (H, W): brighter toward one side."""
    angle, depth = chance.between(0, 2 * math.pi), chance.between(0, 0.5)
    x = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
    return np.asarray(1 + depth * (math.cos(angle) * x + math.sin(angle) * y), np.float32)
