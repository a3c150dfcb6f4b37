"""Exact flow and visibility of a rendered clip, from the affine maps that placed its pixels."""

from __future__ import annotations

import numpy as np


def exact_flow(
    mask: np.ndarray, placed: np.ndarray, cameras: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip's forward flow and where what it shows stays in sight.

    Args:
        mask: bool (F, H, W), the sprite.
        placed: (F, 3, 3) maps from the sprite's picture to the frame.
        cameras: (F, 3, 3) maps from the resting frame to the frame.

    Returns:
        flow, float32 (F - 1, H, W, 2), pixels, x first; visible, bool (F - 1, H, W).

    Ours: flow is the composition of the maps, hence exact.
    """
    count, height, width = mask.shape
    flow = np.zeros((count - 1, height, width, 2), np.float32)
    visible = np.zeros((count - 1, height, width), bool)
    for t in range(count - 1):
        world = cameras[t + 1] @ np.linalg.inv(cameras[t])
        moving_camera = not np.allclose(world, np.eye(3))
        if moving_camera:
            flow[t] = _affine_flow(world, 0, height, 0, width)
        inside = mask[t]
        rows, cols = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
        if rows.size:
            y0, y1, x0, x1 = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
            body = _affine_flow(placed[t + 1] @ np.linalg.inv(placed[t]), y0, y1, x0, x1)
            np.copyto(flow[t, y0:y1, x0:x1], body, where=inside[y0:y1, x0:x1, None])
        visible[t] = _visible(inside, mask[t + 1], flow[t], moving_camera)
    return flow, visible


def _visible(
    inside: np.ndarray, after: np.ndarray, flow: np.ndarray, moving_camera: bool
) -> np.ndarray:
    if not moving_camera:
        result = ~after | inside
        ys, xs = inside.nonzero()
    else:
        result = np.ones_like(inside)
        ys, xs = np.indices(inside.shape).reshape(2, -1)
    x = np.rint(xs + flow[ys, xs, 0]).astype(int)
    y = np.rint(ys + flow[ys, xs, 1]).astype(int)
    height, width = inside.shape
    framed = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    covered = np.zeros_like(framed)
    covered[framed] = after[y[framed], x[framed]]
    result[ys, xs] = framed & (inside[ys, xs] | ~covered)
    return result


def _affine_flow(matrix: np.ndarray, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    x = np.arange(x0, x1, dtype=np.float32)[None, :]
    y = np.arange(y0, y1, dtype=np.float32)[:, None]
    a, b, c = (float(v) for v in matrix[0])
    d, e, f = (float(v) for v in matrix[1])
    return np.stack([(a - 1) * x + b * y + c, d * x + (e - 1) * y + f], -1)
