"""How much each latent cell of a clip counts in the denoising loss."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.nn import functional as F

from fdream.models.processes import batch_average

# Mean squared difference of latents, whose variance is 1, at which a cell counts as half changed.
_HALF_CHANGED: Final = 0.25


def changed_weights(latents: Tensor, extra: float) -> Tensor:
    """Weigh the cells of clips by how far they are from what frame 0 shows in their place.

    Ours: what moves is often a tenth of a clip, and the rest is soon answered with the first frame.
    The flow would not do for a weight: a sprite that stands still before a moving camera has none,
    nor has the middle of one that grows. Each clip keeps its weight, so that one whose camera moves
    does not outweigh the others.

    Args:
        latents: (B, C, F, h, w), of unit variance.
        extra: how much more a cell counts that is another one than a cell that is still the same.

    Returns:
        (B, 1, F, h, w), 1 on average over each clip.
    """
    apart = (latents - latents[:, :, :1]).square().mean(dim=1, keepdim=True)
    weights = 1 + extra * apart / (apart + _HALF_CHANGED)
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
