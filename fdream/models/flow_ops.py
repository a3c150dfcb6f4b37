"""Optical flow as tensors: warping, resizing, visibility, and the loss on it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fdream.models.conditions import FlowTarget
from fdream.models.processes import batch_average

MOVING_PX = 0.5

# The Charbonnier corner, in units of the usual displacement. A sharp one is an L1 loss, whose best
# answer under doubt is the median, no motion: most small runs stayed there until the corner was
# rounded (tried together with other settings, not alone).
CORNER = 0.5


def warp(frame: Tensor, flow: Tensor) -> Tensor:
    """Sample a frame at positions displaced by a flow field.

    Args:
        frame: (B, C, H, W), any range.
        flow: (B, 2, H, W), pixels, x first; flow[b, :, y, x] points into `frame`.

    Returns:
        (B, C, H, W); positions outside the frame read as zero.
    """
    height, width = frame.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    # grid_sample counts from -1 to 1 between the centres of the outermost pixels.
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(frame, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def resize_flow(flow: Tensor, size: tuple[int, int], *, rescale: bool) -> Tensor:
    """Bring a flow field to another grid.

    Args:
        flow: (B, 2, ..., H, W), pixels, x first.
        size: (height, width) wanted.
        rescale: true counts displacements in cells of the new grid; false keeps the units, so that
            a coarse grid still speaks of pixels of the input frame.

    Returns:
        (B, 2, ..., height, width). Shrinking averages areas, growing interpolates.
    """
    resized = _resize(flow, size)
    if rescale:
        factors = [size[1] / flow.shape[-1], size[0] / flow.shape[-2]]
        shape = (1, 2, *([1] * (flow.ndim - 2)))
        resized = resized * torch.tensor(factors, device=flow.device, dtype=flow.dtype).view(shape)
    return resized


def visibility_of(forward: Tensor, backward: Tensor) -> Tensor:
    """Where forward and backward flow agree, so that a point is seen in both frames.

    Args:
        forward: (B, 2, H, W) pixels from the first frame to the second.
        backward: (B, 2, H, W) pixels from the second frame to the first.

    Returns:
        (B, 1, H, W): 1 where |forward + warp(backward)| is at most 0.01 of their lengths plus half
        a pixel, else 0.

    Source: the occlusion test of UniMatch (arXiv 2211.05783), as its code is recorded in the
    dossier.
    """
    returned = warp(backward, forward)
    gap = (forward + returned).norm(dim=1, keepdim=True)
    lengths = forward.norm(dim=1, keepdim=True) + returned.norm(dim=1, keepdim=True)
    return (gap <= 0.01 * lengths + 0.5).to(forward.dtype)


def flow_rms(flow: Tensor) -> Tensor:
    """Root mean square of the displacements that are not zero, per component.

    Args:
        flow: (B, 2, ..., H, W) pixels.

    Returns:
        A float32 scalar; zero when nothing moves.
    """
    squares = flow.float().square()
    moving = (squares.sum(dim=1, keepdim=True) > 0).expand_as(squares)
    return (squares.sum() / moving.sum().clamp(min=1)).sqrt()


def flow_loss(predicted: Tensor, target: FlowTarget, alpha_bar: Tensor, scale: Tensor) -> Tensor:
    """Charbonnier error of predicted flow: half over moving cells, half over still ones.

    Args:
        predicted: (B, 2, F-1, h, w) pixels of the input frame.
        target: flow and visibility at any size; averaged onto the grid of `predicted`.
        alpha_bar: (B,) signal share at each sample's noise level, its weight: where there is only
            noise, the flow cannot be known.
        scale: scalar, pixels counted as one.

    Returns:
        A scalar. Cells count by how visible they are; a batch without moving (or still) cells
        counts zero for that half.

    Source: weighting flow by the noise level follows FlowLoss (arXiv 2504.14535). Ours: the two
    halves, since most of a clip stands still and zero would else be a good answer, and alpha-bar
    as the weight. The paper's loss could not be read.
    """
    size = (predicted.shape[-2], predicted.shape[-1])
    wanted = _resize(target.flow.float(), size)
    visible = _resize(target.visibility.float(), size)
    squares = ((predicted.float() - wanted) / scale).square().sum(dim=1, keepdim=True)
    errors = (squares + CORNER**2).sqrt() - CORNER
    moving = (wanted.norm(dim=1, keepdim=True) > MOVING_PX).float() * visible
    still = visible - moving
    weight = alpha_bar.float().reshape(-1, 1, 1, 1, 1)
    return 0.5 * (_mean(errors * weight, moving) + _mean(errors * weight, still))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the whole batch, zero where nothing has weight."""
    return (values * weights).sum() / batch_average(weights.sum()).clamp(min=1e-6)


def _resize(field: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, ..., H, W) to (B, C, ..., *size): areas when shrinking, bilinear when growing."""
    if tuple(field.shape[-2:]) == tuple(size):
        return field
    flat = field.reshape(-1, 1, *field.shape[-2:])
    if size[0] <= field.shape[-2] and size[1] <= field.shape[-1]:
        flat = F.interpolate(flat, size, mode="area")
    else:
        flat = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return flat.reshape(*field.shape[:-2], *size)
