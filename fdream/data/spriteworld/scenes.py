"""The eight painted scenes.

A scene is painted once per variant on a canvas larger than the frame, so that the camera can pan
and zoom over it, and drawn by area reduction from an oversampled painting. Variants change hues,
hills and what stands where a little; the scene stays the same at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from fdream.data.spriteworld.chance import Chance

VARIANTS = 6
"""Paintings of each scene."""

MARGIN = 0.35
"""How far the canvas reaches beyond the frame on each side, in short sides of the frame."""

_OVERSAMPLE = 2

Rgb = tuple[float, float, float]


class Canvas:
    """A painting in frame coordinates: x in [0, aspect] and y in [0, 1] are the resting frame."""

    def __init__(self, height_px: int, width_px: int, short_px: int) -> None:
        self.unit = short_px * _OVERSAMPLE
        self.aspect = width_px / short_px
        self.tall = height_px / short_px
        rows = round((self.tall + 2 * MARGIN) * self.unit)
        cols = round((self.aspect + 2 * MARGIN) * self.unit)
        self.pixels = np.zeros((rows, cols, 3), np.float32)
        self.y = ((np.arange(rows) + 0.5) / self.unit - MARGIN) / self.tall
        self.x = (np.arange(cols) + 0.5) / self.unit - MARGIN

    def gradient(self, top: Rgb, bottom: Rgb, y0: float, y1: float) -> None:
        """Paint the whole canvas with a vertical gradient between y0 and y1, flat beyond them."""
        u = np.clip((self.y - y0) / (y1 - y0), 0, 1)[:, None]
        self.pixels[:] = (np.array(top) * (1 - u) + np.array(bottom) * u)[:, None, :]

    def below(self, skyline: np.ndarray, top: Rgb, bottom: Rgb) -> None:
        """Fill everything under ``skyline`` (a y for every column) with a gradient to y = 1.2."""
        inside = self.y[:, None] >= skyline[None, :]
        u = np.clip((self.y[:, None] - skyline[None, :]) / (1.2 - skyline[None, :]), 0, 1)
        shade = np.array(top) + u[..., None] * (np.array(bottom) - np.array(top))
        self.pixels = np.where(inside[..., None], shade, self.pixels).astype(np.float32)

    def polygon(self, points: list[tuple[float, float]], colour: Rgb) -> None:
        cv2.fillPoly(self.pixels, [self._px(points)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Rgb) -> None:
        centre = self._px([(x, y)])[0]
        cv2.circle(
            self.pixels, tuple(int(v) for v in centre), round(radius * self.unit), colour, -1
        )

    def cloud(self, x: float, y: float, size: float, colour: Rgb) -> None:
        for dx, dy, r in (
            (-0.9, 0.1, 0.45),
            (-0.3, -0.15, 0.6),
            (0.4, -0.05, 0.55),
            (0.95, 0.15, 0.4),
        ):
            self.disc(x + dx * size, y + dy * size, r * size, colour)
        self.polygon(
            [
                (x - 1.2 * size, y + 0.15 * size),
                (x + 1.2 * size, y + 0.15 * size),
                (x + 1.2 * size, y + 0.52 * size),
                (x - 1.2 * size, y + 0.52 * size),
            ],
            colour,
        )

    def finish(self) -> np.ndarray:
        rows, cols = self.pixels.shape[:2]
        small = cv2.resize(
            self.pixels, (cols // _OVERSAMPLE, rows // _OVERSAMPLE), interpolation=cv2.INTER_AREA
        )
        return np.clip(small + 0.5, 0, 255).astype(np.uint8)

    def _px(self, points: list[tuple[float, float]]) -> np.ndarray:
        scaled = [
            ((x + MARGIN) * self.unit, (y * self.tall + MARGIN) * self.unit) for x, y in points
        ]
        return np.round(scaled).astype(np.int32)


def _spots(canvas: Canvas, count: int, chance: Chance) -> list[float]:
    """Spread ``count`` x positions over the whole canvas, one in each equal slot."""
    span = (canvas.aspect + 2 * MARGIN) / count
    return [-MARGIN + span * (k + chance.between(0.2, 0.8)) for k in range(count)]


def _hills(canvas: Canvas, level: float, height: float, chance: Chance) -> np.ndarray:
    a, b = chance.between(0, 6.28), chance.between(0, 6.28)
    wavy = 0.6 * np.sin(canvas.x * 3.1 + a) + 0.4 * np.sin(canvas.x * 6.7 + b)
    return np.asarray(level + height * wavy)


def _flat(canvas: Canvas, level: float) -> np.ndarray:
    return np.full_like(canvas.x, level)


def _beach(c: Canvas, chance: Chance) -> None:
    c.gradient((120, 196, 240), (214, 240, 250), -1, 0.42)
    c.disc(chance.between(0.1, 0.9) * c.aspect, 0.13, 0.075, (255, 240, 170))
    c.below(_flat(c, 0.42), (46, 154, 200), (80, 190, 214))
    c.below(_hills(c, 0.60, 0.012, chance), (250, 250, 240), (250, 250, 240))
    c.below(_hills(c, 0.62, 0.012, chance), (246, 218, 150), (232, 188, 110))


def _sea(c: Canvas, chance: Chance) -> None:
    c.gradient((96, 174, 236), (206, 234, 250), -1, 0.40)
    for x in _spots(c, 2, chance):
        c.cloud(x, chance.between(0.08, 0.2), 0.07, (250, 252, 255))
    c.below(_flat(c, 0.40), (34, 118, 196), (8, 58, 128))
    for row, y in enumerate(np.linspace(0.50, 1.15, 6)):
        crest = y + 0.012 * np.sin(c.x * (16 - row) + chance.between(0, 6.28))
        band = (c.y[:, None] > crest[None]) & (c.y[:, None] < crest[None] + 0.018)
        c.pixels[band] = c.pixels[band] * 0.7 + np.array((150, 206, 244), np.float32) * 0.3


def _meadow(c: Canvas, chance: Chance) -> None:
    c.gradient((130, 200, 246), (226, 244, 252), -1, 0.5)
    c.cloud(chance.between(0.2, 0.8) * c.aspect, 0.14, 0.075, (255, 255, 255))
    c.below(_hills(c, 0.50, 0.05, chance), (150, 206, 110), (120, 184, 84))
    c.below(_hills(c, 0.60, 0.02, chance), (104, 186, 72), (60, 138, 48))
    for x in _spots(c, 8, chance):
        petals = ((255, 236, 110), (255, 255, 255), (250, 150, 180))[chance.below(3)]
        c.disc(x, chance.between(0.70, 1.1), 0.014, petals)


def _snow(c: Canvas, chance: Chance) -> None:
    c.gradient((160, 186, 212), (222, 232, 242), -1, 0.5)
    c.below(_hills(c, 0.42, 0.06, chance), (190, 204, 222), (206, 218, 232))
    for x in _spots(c, 4, chance):
        y = chance.between(0.50, 0.54)
        c.polygon([(x - 0.06, y), (x, y - 0.18), (x + 0.06, y)], (70, 116, 106))
        c.polygon([(x - 0.035, y - 0.09), (x, y - 0.19), (x + 0.035, y - 0.09)], (236, 244, 250))
    c.below(_hills(c, 0.56, 0.02, chance), (250, 252, 255), (222, 232, 244))


def _desert(c: Canvas, chance: Chance) -> None:
    c.gradient((250, 172, 96), (254, 226, 168), -1, 0.52)
    c.disc(chance.between(0.15, 0.85) * c.aspect, 0.24, 0.09, (255, 244, 206))
    c.below(_hills(c, 0.54, 0.06, chance), (222, 150, 84), (206, 132, 66))
    c.below(_hills(c, 0.66, 0.04, chance), (204, 128, 60), (164, 92, 40))


def _space(c: Canvas, chance: Chance) -> None:
    c.gradient((10, 8, 34), (42, 26, 84), -1, 1.4)
    c.disc(chance.between(0.15, 0.85) * c.aspect, chance.between(0.14, 0.24), 0.10, (120, 104, 190))
    for x in _spots(c, 26, chance):
        c.disc(x, chance.between(-0.2, 1.2), chance.between(0.004, 0.010), (236, 236, 255))


def _city(c: Canvas, chance: Chance) -> None:
    c.gradient((244, 166, 150), (250, 220, 190), -1, 0.62)
    for x in _spots(c, 9, chance):
        wide, top = chance.between(0.075, 0.11), chance.between(0.20, 0.44)
        c.polygon(
            [(x - wide, top), (x + wide, top), (x + wide, 0.8), (x - wide, 0.8)], (112, 98, 136)
        )
        for row in range(3):
            for dx in (-0.4, 0.4):
                y = top + 0.045 + 0.07 * row
                c.polygon(
                    [
                        (x + (dx - 0.2) * wide, y),
                        (x + (dx + 0.2) * wide, y),
                        (x + (dx + 0.2) * wide, y + 0.03),
                        (x + (dx - 0.2) * wide, y + 0.03),
                    ],
                    (250, 224, 150),
                )
    c.below(_flat(c, 0.66), (96, 98, 110), (62, 64, 76))
    for x in _spots(c, 5, chance):
        c.polygon(
            [(x - 0.07, 0.83), (x + 0.07, 0.83), (x + 0.06, 0.85), (x - 0.08, 0.85)],
            (236, 232, 214),
        )


def _forest(c: Canvas, chance: Chance) -> None:
    c.gradient((170, 210, 176), (214, 234, 196), -1, 0.6)
    for depth, (tone, level, count) in enumerate(
        (((104, 160, 112), 0.58, 9), ((56, 116, 70), 0.66, 7))
    ):
        for x in _spots(c, count, chance):
            tall = chance.between(0.30, 0.42) + 0.06 * depth
            c.polygon(
                [
                    (x - 0.016, level - 0.1),
                    (x + 0.016, level - 0.1),
                    (x + 0.016, level),
                    (x - 0.016, level),
                ],
                (104, 74, 52),
            )
            for tier in range(3):
                top = level - tall + tier * tall * 0.24
                wide = 0.055 + 0.028 * tier
                c.polygon(
                    [(x - wide, top + tall * 0.36), (x, top), (x + wide, top + tall * 0.36)], tone
                )
    c.below(_hills(c, 0.66, 0.012, chance), (86, 122, 56), (48, 78, 36))


_PAINTERS: dict[str, Callable[[Canvas, Chance], None]] = {
    "beach": _beach,
    "sea": _sea,
    "meadow": _meadow,
    "snow": _snow,
    "desert": _desert,
    "space": _space,
    "city": _city,
    "forest": _forest,
}

SCENES: dict[str, tuple[str, ...]] = {
    "beach": ("on a beach", "at the beach", "on a sandy beach"),
    "sea": ("in the sea", "on the ocean", "at sea"),
    "meadow": ("in a meadow", "on a green meadow", "on the grass"),
    "snow": ("in the snow", "on a snowy field"),
    "desert": ("in the desert", "in a sandy desert"),
    "space": ("in space", "in outer space"),
    "city": ("in the city", "in a city street"),
    "forest": ("in the forest", "in a forest"),
}
"""Scene name -> wordings."""


@lru_cache(maxsize=256)
def canvas(scene: str, variant: int, height_px: int, width_px: int) -> np.ndarray:
    """Paint one variant of a scene for a frame of the given size.

    Args:
        scene: a key of ``SCENES``.
        variant: 0..VARIANTS - 1.
        height_px: of the frame.
        width_px: of the frame.

    Returns:
        uint8 (rows, cols, 3) RGB, read-only: the resting frame and ``MARGIN`` short sides about it.
    """
    short_px = min(height_px, width_px)
    painting = Canvas(height_px, width_px, short_px)
    _PAINTERS[scene](painting, Chance(f"scene/{scene}/{variant}"))
    pixels = painting.finish()
    tint = Chance(f"tint/{scene}/{variant}")
    shift = np.array([tint.between(-7, 7) for _ in range(3)])
    result = np.clip(pixels + shift, 0, 255).astype(np.uint8)
    result.setflags(write=False)
    return result


def margin_px(height_px: int, width_px: int) -> int:
    """Offset of the resting frame's corner on its canvas, in pixels."""
    return math.floor(MARGIN * min(height_px, width_px) + 0.5)
