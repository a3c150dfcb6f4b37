"""How much each latent cell of a clip counts in the denoising loss."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from fdream.models.processes import batch_average

# Pixels between two frames at which a cell counts as half moving.
_HALF_MOVING: Final = 0.5


def moving_weights(flow: Tensor, extra: float) -> Tensor:
    """Weigh the cells of clips by whether they move.

    Ours: what moves is often a tenth of a clip, and the rest is soon answered with the first frame.
    Each clip keeps its weight, so that one whose camera moves does not outweigh the others.

    Args:
        flow: (B, 2, F-1, h, w) pixels, from each frame to the next.
        extra: how much more a cell counts that moves than one that is still.

    Returns:
        (B, 1, F, h, w), 1 on average over each clip. A cell moves where its frame's flow or that of
        the frame before says so: what went away reveals something, too.
    """
    speed = flow.norm(dim=1, keepdim=True)
    moves = speed / (speed + _HALF_MOVING)
    ahead, behind = F.pad(moves, (0, 0, 0, 0, 0, 1)), F.pad(moves, (0, 0, 0, 0, 1, 0))
    weights = 1 + extra * torch.maximum(ahead, behind)
    return weights / weights.mean(dim=(2, 3, 4), keepdim=True)


def mean_square(output: Tensor, wanted: Tensor, counts: Tensor | None) -> Tensor:
    """Return the mean squared error over all cells that count, of the batch of all processes.

    Args:
        output: (B, C, F, h, w).
        wanted: likewise.
        counts: (B, 1, 1 or F, h, w), how much each cell counts; None: all alike.
    """
    if counts is None:
        return F.mse_loss(output, wanted)
    weights = counts.expand_as(output)
    total = batch_average(weights.sum()).clamp(min=1e-6)
    return ((output - wanted).square() * weights).sum() / total
