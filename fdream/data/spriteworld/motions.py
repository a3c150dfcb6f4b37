"""The fourteen motions and the camera, as poses over the clip.

Every path starts where the first frame stands and is scaled to the room that is left there, so
that any first frame allows any motion. Lengths are in short sides of the frame, angles in degrees,
clockwise on screen; u runs from 0 to 1 over the clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_EDGE = 0.40
"""A sprite may leave the frame by a tenth of its size: its centre stays this many sizes inside."""


@dataclass(frozen=True, slots=True)
class Room:
    """How far the sprite's centre may travel from its first position, in short sides."""

    left: float
    right: float
    up: float
    down: float

    @classmethod
    def around(cls, x: float, y: float, size: float, aspect: float, tall: float) -> Room:
        """Measure the room around a sprite.

        Args:
            x: of the centre.
            y: of the centre.
            size: longest side of the sprite.
            aspect: width of the frame.
            tall: height of the frame.
        """
        keep = _EDGE * size
        return cls(x - keep, aspect - x - keep, y - keep, tall - y - keep)


@dataclass(frozen=True, slots=True)
class Pose:
    """Displacement from the first frame, and scale and angle relative to it."""

    dx: float = 0.0
    dy: float = 0.0
    scale: float = 1.0
    angle: float = 0.0


Path = Callable[[float, Room, float], Pose]
"""u in [0, 1], the room, and the pace (1, or less for "slowly") -> pose."""


def _flying(u: float, room: Room, pace: float) -> Pose:
    flap = math.sin(4 * math.pi * u)
    return Pose(-0.9 * room.left * pace * u, -0.9 * room.up * pace * u - 0.025 * flap, 1, 9 * flap)


def _falling(u: float, room: Room, pace: float) -> Pose:
    return Pose(0, room.down * pace * u * u, 1, 40 * u * pace)


def _bouncing(u: float, room: Room, pace: float) -> Pose:
    hops = 2 if pace >= 1 else 1
    return Pose(0, -min(room.up, 0.28) * abs(math.sin(hops * math.pi * u)))


def _surfing(u: float, room: Room, pace: float) -> Pose:
    swell = math.sin(4 * math.pi * u)
    return Pose(-room.left * pace * u, 0.06 * swell, 1, 9 * swell)


def _shaking(u: float, room: Room, pace: float) -> Pose:
    # Every four of sixteen frames once there and back, by a sixteenth of the short side: pocket's
    # latent grid has sixteen cells, and of less than one it sees little.
    return Pose(math.sin(2 * math.pi * (3.75 if pace >= 1 else 1.875) * u) / 16)


def _circling(u: float, room: Room, pace: float) -> Pose:
    radius = min(room.left / 2, room.up, room.down, 0.16)
    turn = 2 * math.pi * u * (1 if pace >= 1 else 0.5)
    return Pose(radius * (math.cos(turn) - 1), radius * math.sin(turn))


MOTIONS: dict[str, tuple[Path, tuple[str, ...]]] = {
    "moving left": (
        lambda u, r, p: Pose(dx=-r.left * p * u),
        ("moving left", "moving to the left", "going left"),
    ),
    "moving right": (
        lambda u, r, p: Pose(dx=r.right * p * u),
        ("moving right", "moving to the right", "going right"),
    ),
    "moving up": (lambda u, r, p: Pose(dy=-r.up * p * u), ("moving up", "rising", "going up")),
    "moving down": (
        lambda u, r, p: Pose(dy=r.down * p * u),
        ("moving down", "sinking", "going down"),
    ),
    "flying": (_flying, ("flying", "flying away")),
    "falling": (_falling, ("falling", "falling down", "tumbling down")),
    "bouncing": (_bouncing, ("bouncing", "jumping", "hopping")),
    "spinning": (
        lambda u, r, p: Pose(angle=360 * p * u),
        ("spinning", "spinning around", "rotating"),
    ),
    "growing": (lambda u, r, p: Pose(scale=1 + 0.6 * p * u), ("growing", "getting bigger")),
    "shrinking": (lambda u, r, p: Pose(scale=1 - 0.5 * p * u), ("shrinking", "getting smaller")),
    "surfing": (_surfing, ("surfing", "riding a wave", "surfing on a wave")),
    "shaking": (_shaking, ("shaking", "trembling")),
    "circling": (_circling, ("circling", "moving in a circle", "going in circles")),
    "standing still": (lambda u, r, p: Pose(), ("standing still", "not moving", "resting")),
}
"""Motion name -> (path, wordings)."""

CAMERAS: dict[str, tuple[str, ...]] = {
    "still": ("",),
    "pan left": ("the camera pans left", "panning left"),
    "pan right": ("the camera pans right", "panning right"),
    "zoom in": ("the camera zooms in", "zooming in"),
    "zoom out": ("the camera zooms out", "zooming out"),
}
"""Camera motion -> wordings; pans and zooms are the two camera motions, each in two directions."""


def camera_matrix(camera: str, u: float, height_px: int, width_px: int) -> np.ndarray:
    """Return the affine map from the resting frame's pixels to the frame's at ``u``.

    Args:
        camera: a key of ``CAMERAS``.
        u: 0..1 over the clip.
        height_px: of the frame.
        width_px: of the frame.

    Returns:
        float64 (3, 3); identity at u = 0.
    """
    matrix = np.eye(3)
    if camera in ("pan left", "pan right"):
        # A camera that turns left sees the world slide to the right.
        sign = 1 if camera == "pan left" else -1
        matrix[0, 2] = sign * 0.28 * u * min(height_px, width_px)
    elif camera in ("zoom in", "zoom out"):
        zoom = 1 + 0.4 * u if camera == "zoom in" else 1 - 0.25 * u
        centre = (width_px - 1) / 2, (height_px - 1) / 2
        matrix[0, 0] = matrix[1, 1] = zoom
        matrix[:2, 2] = [(1 - zoom) * c for c in centre]
    return matrix


def sprite_matrix(
    x: float, y: float, scale: float, angle: float, sprite_hw: tuple[int, int]
) -> np.ndarray:
    """Return the affine map from a sprite's pixels to the resting frame's.

    Args:
        x: centre, pixels of the frame.
        y: centre, pixels of the frame.
        scale: frame pixels per sprite pixel.
        angle: degrees, clockwise on screen.
        sprite_hw: the sprite's height and width in pixels.

    Returns:
        float64 (3, 3).
    """
    turn = math.radians(angle)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    cx, cy = (sprite_hw[1] - 1) / 2, (sprite_hw[0] - 1) / 2
    return np.array(
        [[cos, -sin, x - cos * cx + sin * cy], [sin, cos, y - sin * cx - cos * cy], [0, 0, 1]]
    )
