"""Where the sprite goes, how it grows and how it turns, against the background.

The background tells what the camera does: a pan and a zoom are fitted to everything outside of the
sprite's mask, each frame against the first, so that nothing drifts. The sprite's centre, size and
angle come from the picture judge, frame by frame, and are then carried back into the first frame's
view. Lengths are in short sides of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from benchmarks.judges.picture_judge import Sight

_FIT_PX: Final = 64
"""The background is fitted on frames this small; a pan moves them by about a pixel a frame."""
_ITERATIONS: Final = 12
_PAN: Final = 0.12
"""From here on the camera pans, in short sides over the clip; SpriteWorld's pans go to 0.28."""
_ZOOM: Final = 0.13
"""From here on it zooms, in logarithms over the clip; SpriteWorld's zooms go to 0.34 and -0.29."""
_COVERED: Final = 0.1
"""A cell with more of the sprite than this is no background."""


@dataclass(frozen=True, slots=True)
class Track:
    """What moved in a clip of F frames.

    Attributes:
        camera: (F, 3), the background's shift right and down since frame 0 in short sides, and the
            logarithm of its magnification about the middle of the frame.
        place: (F, 2), the sprite's centre, x first, as it would be had the camera stood still.
        size: (F,), square root of the sprite's area, likewise.
        turn: (F, 2), cosine and sine of the sprite's angle, clockwise.
    """

    camera: np.ndarray
    place: np.ndarray
    size: np.ndarray
    turn: np.ndarray

    @property
    def camera_motion(self) -> str:
        """What the camera does, as ``motions.CAMERAS`` names it."""
        pan, _, zoom = self.camera[-1]
        if max(abs(pan) / _PAN, abs(zoom) / _ZOOM) < 1:
            return "still"
        if abs(pan) / _PAN > abs(zoom) / _ZOOM:
            # A camera that turns left sees the world slide to the right.
            return "pan left" if pan > 0 else "pan right"
        return "zoom in" if zoom > 0 else "zoom out"


def track(frames: np.ndarray, sight: Sight) -> Track:
    """Follow the sprite of a clip.

    Args:
        frames: uint8 (F, H, W, 3) RGB, H = W.
        sight: what the picture judge sees in them.
    """
    camera = background_motion(frames, sight.mask)
    centre, size = _centres(sight.mask)
    found = Track(camera, centre, size, sight.turn)
    if found.camera_motion == "still":
        # The fit's own noise would only be added to the sprite's.
        return found
    zoom = np.exp(camera[:, 2])
    place = 0.5 + (centre - 0.5 - camera[:, :2]) / zoom[:, None]
    return Track(camera, place, size / zoom, sight.turn)


def background_motion(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fit a pan and a zoom to the background.

    Args:
        frames: uint8 (F, H, W, 3) RGB, H = W.
        mask: (F, h, w), how much of each cell the sprite covers.

    Returns:
        (F, 3) as ``Track.camera``.
    """
    side = (_FIT_PX, _FIT_PX)
    small = [
        cv2.GaussianBlur(cv2.resize(f, side, interpolation=cv2.INTER_AREA), (0, 0), 1.0) / 255.0
        for f in frames
    ]
    grown = [cv2.dilate((m > _COVERED).astype(np.float32), np.ones((3, 3))) for m in mask]
    free = [1 - cv2.resize(m, side, interpolation=cv2.INTER_NEAREST) for m in grown]
    result = np.zeros((len(frames), 3))
    for t in range(1, len(frames)):
        guess = 2 * result[t - 1] - result[t - 2] if t > 1 else result[0]
        result[t] = _fit(small[0], free[0], small[t], free[t], guess)
    return result


def _fit(
    first: np.ndarray,
    first_free: np.ndarray,
    frame: np.ndarray,
    free: np.ndarray,
    guess: np.ndarray,
) -> np.ndarray:
    """Fit one frame (side, side, 3) to the first by Gauss and Newton, from a guess."""
    across, down = np.gradient(first, axis=1), np.gradient(first, axis=0)
    stack = np.concatenate([first, across, down, first_free[..., None]], -1).astype(np.float32)
    rows, cols = np.indices(first.shape[:2]).astype(np.float32)
    middle = (_FIT_PX - 1) / 2
    found = guess.copy()
    for _ in range(_ITERATIONS):
        zoom = np.exp(found[2])
        x = (cols - middle - found[0] * _FIT_PX) / zoom
        y = (rows - middle - found[1] * _FIT_PX) / zoom
        moved = _sample(stack, (x + middle).astype(np.float32), (y + middle).astype(np.float32))
        error = frame - moved[..., :3]
        slope_x, slope_y = moved[..., 3:6], moved[..., 6:9]
        weight = (moved[..., 9] * free)[..., None] / (1 + (error / 0.1) ** 2)
        columns = np.stack(
            [
                -slope_x * _FIT_PX / zoom,
                -slope_y * _FIT_PX / zoom,
                -(slope_x * x[..., None] + slope_y * y[..., None]),
            ],
            -1,
        )
        normal = np.einsum("hwci,hwcj,hwc->ij", columns, columns, weight)
        # Where the background has no texture to hold on to, it is taken to stand still.
        normal += np.diag([1.0, 1.0, 1.0]) * 1e-2
        step = np.linalg.solve(normal, np.einsum("hwci,hwc,hwc->i", columns, error, weight))
        found = np.clip(found + np.clip(step, -0.06, 0.06), -0.6, 0.6)
        if np.abs(step).max() < 2e-4:
            break
    return found


def _sample(stack: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read (h, w, C) at positions; zero outside."""
    parts = [
        cv2.remap(np.ascontiguousarray(stack[..., k : k + 4]), x, y, cv2.INTER_LINEAR)
        for k in range(0, stack.shape[-1], 4)
    ]
    return np.concatenate([p.reshape(*x.shape, -1) for p in parts], -1)


def _centres(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (F, 2), x first, and sizes (F,) of soft masks (F, h, w)."""
    height, width = mask.shape[1:]
    weight = np.where(mask > _COVERED, mask, 0)
    area = weight.sum((1, 2))
    rows, cols = np.indices((height, width)) + 0.5
    safe = np.maximum(area, 1e-6)
    place = np.stack([(weight * cols).sum((1, 2)), (weight * rows).sum((1, 2))], -1) / safe[:, None]
    place = np.where(area[:, None] > 0, place / width, 0.5)
    return place, np.sqrt(area / (height * width))
