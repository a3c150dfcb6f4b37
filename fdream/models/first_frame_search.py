"""Where the first frame shows what a cell is about to show: its own patches, found again.

Non-local means (Buades, Coll and Morel, 2005) with the first frame as the picture that is searched:
a cell of the clean estimate is compared with every patch of the first frame, also between the cells
and at other sizes, and answered with the mean of those that resemble it.

Ours: a thing that moves by a part of a latent cell has another code in every frame, which a small
base has to draw anew each time, from nothing but what it remembers; here it is copied. Nothing is
learned: how far an answer can be trusted is for the gate to say (`models.first_frame_recall`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

MOST_CELLS = 1024
"""Cells of a frame's latent grid up to which it is searched; the work grows with their square."""

_SCALES = (0.55, 0.75, 1.0, 1.35)
"""Sizes in which the first frame is searched. Growing, shrinking and a zooming camera go on
steadily, and a patch still resembles one a ninth larger."""
_STEPS = 4
"""Places searched along a cell's side: every second pixel of eight. Twice as many found nothing
better, half as many doubled the error of what moves."""
_NEIGHBOUR = 0.7
"""How much a neighbour along each axis counts beside the cell itself, in a comparison."""
_SHARE = 0.3
"""Share of a clip's cells that are searched for: those that least show what they showed in the
first frame. The others have the first frame itself as their answer."""
_LEADING = 8
"""Channels that are compared of a neighbour. Those of a patch code fall in variance, and the first
ones say how a place looks from afar."""
_PLACES = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
_WEIGHTS = tuple(_NEIGHBOUR ** (abs(y) + abs(x)) for y, x in _PLACES)


def first_frame_patches(
    first_frame: Tensor, encode: Callable[[Tensor], Tensor], downscale: int
) -> Tensor | None:
    """Code every patch of first frames, each with its neighbours.

    Args:
        first_frame: (B, 3, H, W) in [-1, 1]; H and W multiples of ``downscale``.
        encode: frames (B, 3, N, H, W) to latents (B, C, N, h, w).
        downscale: pixels a latent cell covers along each side.

    Returns:
        (B, P, D) float32: P patches of all sizes, each its code and what is compared of its
        neighbours; None where the grid has more than `MOST_CELLS` cells.
    """
    height, width = first_frame.shape[-2:]
    if height * width > MOST_CELLS * downscale**2:
        return None
    stride = max(1, downscale // _STEPS)
    found = []
    for scale in _SCALES:
        sides = [max(downscale, round(side * scale)) for side in (height, width)]
        resized = F.interpolate(first_frame.float(), sides, mode="bilinear", antialias=True)
        # A patch may hang over the edge by all but a stride; its sides then divide into cells.
        after = [downscale + -side % downscale for side in sides]
        room = (downscale, after[1], downscale, after[0])
        padded = F.pad(resized, room, mode="replicate")
        rows, columns = (side - downscale for side in padded.shape[-2:])
        offsets = range(0, downscale, stride)
        shifted = [padded[..., y : y + rows, x : x + columns] for y in offsets for x in offsets]
        codes = encode(torch.stack(shifted, 2)).float()
        fine = rearrange(codes, "b c (y x) h w -> b c (h y) (w x)", y=len(offsets))
        around = _neighbourhoods(fine, len(offsets))
        found.append(rearrange(around, "b d h w -> b (h w) d"))
    return torch.cat(found, 1)


@torch.no_grad()
def search(
    estimate: Tensor, first_latent: Tensor, patches: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Answer each cell of a clip with what it resembles in its first frame.

    Args:
        estimate: (B, C, F, h, w) clean estimate.
        first_latent: (B, C, h, w).
        patches: as `first_frame_patches` codes them.
        sigma: (B,) noise in what the estimate was made from, in [0, 1].

    Returns:
        The answers (B, C, F, h, w), and the variance of the patches that each is the mean of, a
        measure of doubt (B, 1, F, h, w); both float32.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        first = first_latent.float()[:, :, None]
        found = _search(estimate.float(), first, patches, sigma)
    return found[:, :-1], found[:, -1:]


def _search(estimate: Tensor, first: Tensor, patches: Tensor, sigma: Tensor) -> Tensor:
    """Answers and doubt as one tensor, (B, C + 1, F, h, w)."""
    batch, channels, frames, height = estimate.shape[:4]
    answers = torch.cat([first, torch.zeros_like(first[:, :1])], 1).repeat(1, 1, frames, 1, 1)
    answers = rearrange(answers, "b c f h w -> b (f h w) c")
    around = _neighbourhoods(rearrange(estimate, "b c f h w -> (b f) c h w"), 1)
    cells = rearrange(around, "(b f) d h w -> b (f h w) d", b=batch)
    changed = rearrange((estimate - first).square().sum(1), "b f h w -> b (f h w)")
    asked = changed.topk(math.ceil(_SHARE * cells.shape[1]), dim=1).indices[..., None]
    cells = cells.gather(1, asked.expand(-1, -1, cells.shape[2]))
    # An estimate errs by about half of what an answer by chance would at that noise; a match of
    # the mean over neighbours is held to half of that again.
    doubt = (_weight(channels) * sigma.square() / 4).clamp(min=1e-4)[:, None, None]
    codes = patches[..., :channels]
    # The squared distance of q and k without the part that all k share: k^2 / 2 - q k.
    half_norms = patches.square().sum(-1, keepdim=True) / 2
    queries = torch.cat([cells / doubt, -1 / doubt.expand(-1, cells.shape[1], 1)], -1)
    keys = torch.cat([patches, half_norms], -1)
    values = torch.cat([codes, codes.square().sum(-1, keepdim=True)], -1)
    # Of the keys' width, for the sake of the fused kernels.
    values = F.pad(values, (0, keys.shape[-1] - values.shape[-1]))
    one_head = (queries[:, None], keys[:, None], values[:, None])
    found = F.scaled_dot_product_attention(*one_head, scale=1.0)[:, 0]
    mean, norm = found[..., :channels], found[..., channels : channels + 1]
    variance = (norm - mean.square().sum(-1, keepdim=True)).clamp(min=0) / channels
    answers.scatter_(1, asked.expand(-1, -1, channels + 1), torch.cat([mean, variance], -1))
    return rearrange(answers, "b (f h w) c -> b c f h w", f=frames, h=height)


def _weight(channels: int) -> float:
    """How many whole cells a comparison with neighbours is worth."""
    return 1 + sum(_WEIGHTS) * min(_LEADING, channels) / channels


def _neighbourhoods(codes: Tensor, step: int) -> Tensor:
    """Each code, then the leading channels of those a cell away, weighted.

    Args:
        codes: (N, C, h, w).
        step: how far a cell away is.

    Returns:
        (N, C + 8 L, h, w), L of the C channels from each neighbour.
    """
    height, width = codes.shape[-2:]
    padded = F.pad(codes[:, :_LEADING], (step,) * 4, mode="replicate")
    views = [codes]
    for (y, x), weight in zip(_PLACES, _WEIGHTS, strict=True):
        top, left = (1 + y) * step, (1 + x) * step
        views.append(math.sqrt(weight) * padded[..., top : top + height, left : left + width])
    return torch.cat(views, 1)
