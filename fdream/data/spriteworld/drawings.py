"""Our own vector drawings: corgi, surfboard, wave, and the shapes of ``sprites = "plain"``.

Everything is drawn in a unit square (x right, y down, both 0..1) on a canvas ``_OVERSAMPLE`` times
too large and reduced by area, so that edges are smooth and the pixels do not depend on a
rasteriser's anti-aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

SPRITE_PX = 160
"""Side of the square on which own drawings are made, about Noto's bitmap size."""

_OVERSAMPLE = 4

Point = tuple[float, float]
Colour = tuple[int, int, int]


class Pen:
    """Draws filled shapes in unit coordinates on a transparent canvas."""

    def __init__(self) -> None:
        side = SPRITE_PX * _OVERSAMPLE
        self._side = side
        self._image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill=colour)

    def blob(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a closed Catmull-Rom curve through ``points``."""
        self.polygon(_closed_curve(points), colour)

    def ellipse(self, centre: Point, rx: float, ry: float, colour: Colour, turn: float = 0) -> None:
        """Fill an ellipse turned by ``turn`` degrees clockwise on screen."""
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        steps = [2 * math.pi * k / 72 for k in range(72)]
        ring = [(rx * math.cos(a), ry * math.sin(a)) for a in steps]
        cx, cy = centre
        self.polygon([(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in ring], colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        scaled = [(x * self._side, y * self._side) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * self._side), joint="curve")

    def finish(self) -> np.ndarray:
        """Return the drawing, cropped to its ink.

        Returns:
            uint8 (H, W, 4) RGBA, alpha not premultiplied.
        """
        small = self._image.convert("RGBa").resize((SPRITE_PX, SPRITE_PX), Image.Resampling.BOX)
        straight = small.convert("RGBA")
        box = straight.getchannel("A").getbbox()
        assert box is not None, "a drawing without ink"
        return np.asarray(straight.crop(box))


def corgi() -> np.ndarray:
    """A Pembroke corgi in profile, facing left like Noto's animals."""
    fur, shade, cream = (232, 146, 62), (203, 116, 40), (255, 244, 226)
    pink, ink = (240, 150, 150), (52, 36, 30)
    pen = Pen()
    pen.ellipse((0.945, 0.40), 0.060, 0.050, fur, -35)  # tail
    pen.ellipse((0.965, 0.375), 0.030, 0.028, cream, -35)
    for x in (0.40, 0.80):  # far legs
        pen.blob([(x, 0.68), (x + 0.09, 0.68), (x + 0.075, 0.86), (x + 0.005, 0.86)], shade)
    body = [(0.30, 0.46), (0.50, 0.40), (0.75, 0.38), (0.93, 0.44), (0.94, 0.60)]
    pen.blob([*body, (0.86, 0.73), (0.60, 0.77), (0.36, 0.76), (0.27, 0.62)], fur)
    pen.blob(
        [(0.34, 0.66), (0.60, 0.70), (0.83, 0.68), (0.80, 0.755), (0.58, 0.785), (0.38, 0.77)],
        cream,
    )
    pen.blob(
        [(0.25, 0.48), (0.36, 0.50), (0.43, 0.64), (0.38, 0.77), (0.28, 0.74), (0.23, 0.60)], cream
    )
    for x in (0.30, 0.72):  # near legs, in socks
        pen.blob([(x, 0.66), (x + 0.13, 0.66), (x + 0.11, 0.84), (x + 0.01, 0.84)], fur)
        pen.blob([(x + 0.0, 0.80), (x + 0.115, 0.80), (x + 0.11, 0.91), (x - 0.025, 0.91)], cream)
    pen.polygon([(0.29, 0.24), (0.40, 0.00), (0.47, 0.27)], shade)  # far ear
    pen.polygon([(0.325, 0.21), (0.395, 0.07), (0.43, 0.22)], pink)
    pen.polygon([(0.12, 0.28), (0.15, 0.01), (0.31, 0.20)], fur)  # near ear
    pen.polygon([(0.155, 0.22), (0.172, 0.085), (0.255, 0.19)], pink)
    head = [(0.14, 0.24), (0.28, 0.16), (0.43, 0.24), (0.465, 0.38), (0.38, 0.52)]
    pen.blob([*head, (0.24, 0.54), (0.10, 0.49), (0.08, 0.36)], fur)
    pen.blob(
        [
            (0.225, 0.18),
            (0.27, 0.18),
            (0.275, 0.34),
            (0.33, 0.46),
            (0.22, 0.53),
            (0.09, 0.48),
            (0.10, 0.41),
            (0.20, 0.36),
        ],
        cream,
    )
    pen.ellipse((0.15, 0.455), 0.115, 0.070, cream, 8)  # muzzle
    pen.ellipse((0.062, 0.425), 0.042, 0.034, ink)  # nose
    pen.line([(0.07, 0.465), (0.11, 0.505), (0.19, 0.495)], 0.013, ink)  # smile
    pen.blob([(0.10, 0.505), (0.165, 0.502), (0.155, 0.565), (0.115, 0.565)], (236, 96, 110))
    for x in (0.165, 0.315):  # eyes
        pen.ellipse((x, 0.335), 0.028, 0.034, ink)
        pen.ellipse((x - 0.008, 0.322), 0.010, 0.011, (255, 255, 255))
    return pen.finish()


def surfboard() -> np.ndarray:
    """A surfboard seen from the side, nose to the left and turned up."""
    pen = Pen()
    outline = [(0.00, 0.445), (0.14, 0.478), (0.45, 0.50), (0.80, 0.50), (0.98, 0.485)]
    pen.blob([*outline, (0.99, 0.515), (0.80, 0.575), (0.45, 0.585), (0.12, 0.545)], (246, 205, 70))
    pen.line(
        [(0.03, 0.475), (0.14, 0.508), (0.45, 0.535), (0.80, 0.537), (0.97, 0.503)],
        0.020,
        (222, 66, 60),
    )
    pen.polygon([(0.84, 0.555), (0.93, 0.555), (0.95, 0.64)], (60, 70, 90))
    return pen.finish()


def wave() -> np.ndarray:
    """A breaking wave that runs to the left, its curl behind the rider."""
    pen = Pen()
    deep, mid, foam = (30, 104, 178), (64, 150, 214), (240, 250, 255)
    crest = [(0.02, 0.90), (0.24, 0.81), (0.50, 0.74), (0.68, 0.58), (0.70, 0.38), (0.80, 0.28)]
    pen.blob(
        [
            *crest,
            (0.91, 0.36),
            (0.95, 0.62),
            (0.97, 0.88),
            (0.78, 0.97),
            (0.40, 0.99),
            (0.08, 0.97),
        ],
        deep,
    )
    pen.blob(
        [
            (0.12, 0.91),
            (0.46, 0.83),
            (0.68, 0.70),
            (0.78, 0.42),
            (0.84, 0.66),
            (0.72, 0.87),
            (0.40, 0.94),
        ],
        mid,
    )
    for x, y, r in [
        (0.65, 0.45, 0.05),
        (0.69, 0.36, 0.065),
        (0.77, 0.29, 0.07),
        (0.86, 0.31, 0.065),
        (0.91, 0.38, 0.05),
    ]:
        pen.ellipse((x, y), r, r * 0.8, foam)
    for x, y, r in [
        (0.05, 0.92, 0.05),
        (0.16, 0.88, 0.045),
        (0.28, 0.90, 0.04),
        (0.42, 0.91, 0.035),
    ]:
        pen.ellipse((x, y), r, r * 0.55, foam)
    return pen.finish()


def regular_polygon(corners: int, colour: Colour, turn: float = -90.0) -> np.ndarray:
    """A regular polygon, its first corner at ``turn`` degrees."""
    pen = Pen()
    angles = [math.radians(turn + 360 * k / corners) for k in range(corners)]
    pen.polygon([(0.5 + 0.48 * math.cos(a), 0.5 + 0.48 * math.sin(a)) for a in angles], colour)
    return pen.finish()


def five_pointed_star(colour: Colour) -> np.ndarray:
    pen = Pen()
    points = []
    for k in range(10):
        radius = 0.48 if k % 2 == 0 else 0.20
        angle = math.radians(-90 + 36 * k)
        points.append((0.5 + radius * math.cos(angle), 0.52 + radius * math.sin(angle)))
    pen.polygon(points, colour)
    return pen.finish()


def disc(colour: Colour, rx: float = 0.48, ry: float = 0.48) -> np.ndarray:
    pen = Pen()
    pen.ellipse((0.5, 0.5), rx, ry, colour)
    # A highlight off the centre makes rotation visible: "spinning" is a motion for a disc too.
    pen.ellipse((0.5 - 0.45 * rx, 0.5 - 0.45 * ry), 0.30 * rx, 0.22 * ry, (255, 255, 255), -40)
    return pen.finish()


def ring(colour: Colour) -> np.ndarray:
    pen = Pen()
    arcs = [2 * math.pi * k / 96 for k in range(82)]
    outer = [(0.5 + 0.48 * math.cos(a), 0.5 + 0.48 * math.sin(a)) for a in arcs]
    inner = [(0.5 + 0.26 * math.cos(a), 0.5 + 0.26 * math.sin(a)) for a in reversed(arcs)]
    pen.polygon([*outer, *inner], colour)
    return pen.finish()


def heart(colour: Colour) -> np.ndarray:
    pen = Pen()
    curve = []
    for k in range(96):
        a = 2 * math.pi * k / 96
        x = 16 * math.sin(a) ** 3
        y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        curve.append((0.5 + x / 34, 0.48 - y / 34))
    pen.polygon(curve, colour)
    return pen.finish()


def cross(colour: Colour) -> np.ndarray:
    pen = Pen()
    pen.polygon([(0.36, 0.02), (0.64, 0.02), (0.64, 0.98), (0.36, 0.98)], colour)
    pen.polygon([(0.02, 0.36), (0.98, 0.36), (0.98, 0.64), (0.02, 0.64)], colour)
    return pen.finish()


def arrow(colour: Colour) -> np.ndarray:
    pen = Pen()
    pen.polygon(
        [
            (0.02, 0.5),
            (0.44, 0.10),
            (0.44, 0.36),
            (0.98, 0.36),
            (0.98, 0.64),
            (0.44, 0.64),
            (0.44, 0.90),
        ],
        colour,
    )
    return pen.finish()


def crescent(colour: Colour) -> np.ndarray:
    pen = Pen()
    outer = [math.radians(60 + 240 * k / 60) for k in range(61)]
    inner = [math.radians(75 + 210 * k / 60) for k in range(60, -1, -1)]
    arc = [(0.55 + 0.46 * math.cos(a), 0.5 + 0.46 * math.sin(a)) for a in outer]
    bite = [(0.68 + 0.38 * math.cos(a), 0.5 + 0.42 * math.sin(a)) for a in inner]
    pen.polygon([*arc, *bite], colour)
    return pen.finish()


PLAIN: dict[str, Callable[[], np.ndarray]] = {
    "red circle": lambda: disc((220, 50, 47)),
    "blue square": lambda: regular_polygon(4, (38, 110, 210), turn=-45.0),
    "green triangle": lambda: regular_polygon(3, (40, 150, 60)),
    "yellow star": lambda: five_pointed_star((245, 200, 40)),
    "purple hexagon": lambda: regular_polygon(6, (130, 70, 190)),
    "orange ring": lambda: ring((240, 130, 30)),
    "pink heart": lambda: heart((240, 90, 150)),
    "white cross": lambda: cross((245, 245, 245)),
    "black arrow": lambda: arrow((30, 30, 36)),
    "teal oval": lambda: disc((20, 150, 150), rx=0.48, ry=0.28),
    "brown pentagon": lambda: regular_polygon(5, (130, 84, 50)),
    "grey moon": lambda: crescent((150, 154, 164)),
}


def _closed_curve(points: Sequence[Point], samples: int = 12) -> list[Point]:
    """Sample the closed uniform Catmull-Rom spline through ``points``."""
    count = len(points)
    curve: list[Point] = []
    for k in range(count):
        p0, p1, p2, p3 = (points[(k + d) % count] for d in (-1, 0, 1, 2))
        for s in range(samples):
            x, y = (_catmull_rom(*axis, s / samples) for axis in zip(p0, p1, p2, p3, strict=True))
            curve.append((x, y))
    return curve


def _catmull_rom(a: float, b: float, c: float, d: float, u: float) -> float:
    """Return the spline's coordinate between b (u = 0) and c (u = 1)."""
    return 0.5 * (
        2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u * u + (3 * b - a - 3 * c + d) * u**3
    )
