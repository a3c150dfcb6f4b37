"""Where the first frame shows what a clip is about to show: the whole of it, moved as one.

The first frame is shifted, scaled and turned in every way of a table, and each later frame of the
clean estimate is compared with all of them; one is chosen for each frame, so that what moves goes
on steadily from frame to frame. Shown so, the first frame is an answer for every cell that changed.

Ours: a thing that moves by a part of a latent cell has another code in every frame, which a small
base has to draw anew each time, from nothing but what it remembers; here it is copied. That all of
a frame moves as one is wrong for most of it, and right for what matters: cells that each look for
a place of their own find halves of several. Nothing is learned: where an answer can be trusted is
for the gate to say (`models.first_frame_recall`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

MOST_CELLS: Final = 1024
"""Cells of a frame's latent grid up to which the first frame is searched for."""

_SCALES: Final = (0.5, 0.6, 0.72, 0.85, 1.18, 1.4, 1.65)
_TURNS: Final = (
    *((scale, 0.0) for scale in (1.0, *_SCALES)),
    *((1.0, math.radians(angle)) for angle in (-15, 15)),
)
"""(scale, angle in radians, clockwise on screen) in which the first frame is searched for."""
_SHIFTS: Final = 4
"""Places searched along a cell's side: every second pixel of eight."""
_REACH: Final = 2
"""Places to either side of a frame's own that its cells may take instead."""
_BLOCK: Final = 4
"""Cells along a side of a block of places, of which the best one is a candidate."""
_CANDIDATES: Final = 48
"""Candidates of a frame among which the steadiest way through the clip is found."""
_STRIDE: Final = 0.5
_STRETCH: Final = 0.1
_SWING: Final = math.radians(10)
"""Changes of a place (in cells), a scale (its logarithm) and an angle between two frames that make
a way one nat less likely."""
_LEAST_CHANGE: Final = 10.0
"""Sum of squares that a place changes at least, to be told from what changes nothing."""
_ALIKE: Final = 8.0
"""How many cells err together: one misplaced edge is wrong in all the cells it runs through."""
_UNSURE: Final = 0.2
"""Squared change of a cell that is none, in an estimate without noise."""


def first_frame_views(
    first_frame: Tensor, encode: Callable[[Tensor], Tensor], downscale: int
) -> Tensor | None:
    """Code first frames in all turns and at every place.

    Args:
        first_frame: (B, 3, H, W) in [-1, 1]; H and W multiples of ``downscale``.
        encode: frames (B, 3, N, H, W) to latents (B, C, N, h, w).
        downscale: pixels a latent cell covers along each side.

    Returns:
        (B, T, P, C + 1, 2 h, 2 w) float32: latents of T turns in P shifts by parts of a cell, on a
        canvas of twice the frame's size, and as one more channel their sum of squares. So T P
        pictures of twice the sides are encoded for each first frame. None where the grid has more
        than `MOST_CELLS` cells.
    """
    height, width = first_frame.shape[-2:]
    if height * width > MOST_CELLS * downscale**2:
        return None
    stride = max(1, downscale // _SHIFTS)
    offsets = range(0, downscale, stride)
    rows, columns = 2 * height, 2 * width
    views = []
    for turn in _TURNS:
        turned = _turned(first_frame.float(), *turn, downscale)
        shifted = [turned[..., y : y + rows, x : x + columns] for y in offsets for x in offsets]
        pictures = rearrange(torch.stack(shifted, 1), "b p c h w -> b c p h w")
        codes = rearrange(encode(pictures).float(), "b c p h w -> b p c h w")
        views.append(torch.cat([codes, codes.square().sum(2, keepdim=True)], 2))
    return torch.stack(views, 1)


def views_spectrum(views: Tensor) -> Tensor:
    """Transform views, once for all steps of sampling.

    Args:
        views: (B, T, P, C + 1, H, W), see `first_frame_views`.

    Returns:
        (B, H (W // 2 + 1), T P, 2 (C + 1)) float32: for each frequency a matrix to multiply, the
        real parts of its channels before the imaginary ones.
    """
    parts = torch.view_as_real(torch.fft.rfft2(views))
    return rearrange(parts, "b t p c h w r -> b (h w) (t p) (r c)").contiguous()


def _turned(frame: Tensor, scale: float, angle: float, downscale: int) -> Tensor:
    """Draw frames, turned about their middle, on a canvas: (B, 3, 2 H + a cell, 2 W + a cell)."""
    height, width = frame.shape[-2:]
    rows, columns = 2 * height + downscale, 2 * width + downscale
    y = torch.arange(rows, device=frame.device) + 0.5 - height
    x = torch.arange(columns, device=frame.device) + 0.5 - width
    y, x = torch.meshgrid(y, x, indexing="ij")
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    source = torch.stack([2 * (cos * x + sin * y) / width, 2 * (cos * y - sin * x) / height], -1)
    if scale < 1:  # what is drawn smaller is blurred first
        sides = [max(1, round(side * scale)) for side in (height, width)]
        frame = F.interpolate(frame, sides, mode="bilinear", antialias=True)
    source = source.expand(len(frame), -1, -1, -1)
    return F.grid_sample(frame, source, padding_mode="border", align_corners=False)


@torch.no_grad()
def search(
    estimate: Tensor, first_latent: Tensor, views: Tensor, spectrum: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Answer clips with their first frames, moved as each frame of the estimate says.

    Args:
        estimate: (B, C, F, h, w) clean estimate.
        first_latent: (B, C, h, w).
        views: as `first_frame_views` codes them.
        spectrum: of ``views``, see `views_spectrum`.
        sigma: (B,) noise in what the estimate was made from, in [0, 1].

    Returns:
        The answers (B, C, F, h, w): the moved first frame in cells that have changed, the first
        frame itself in others; and the variance of what each is the mean of, a measure of doubt
        (B, 1, F, h, w). Both float32.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        frames = rearrange(estimate.float(), "b c f h w -> b f c h w")
        clips = zip(frames, first_latent.float(), views, spectrum, sigma, strict=True)
        found = [_search(*clip) for clip in clips]
    answers, doubt = (torch.stack(part) for part in zip(*found, strict=True))
    return rearrange(answers, "b f c h w -> b c f h w"), rearrange(doubt, "b f c h w -> b c f h w")


def _search(
    estimate: Tensor, first: Tensor, views: Tensor, spectrum: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Answers (F, C, h, w) and doubt (F, 1, h, w) of one clip."""
    # An estimate errs by about half of what an answer by chance would at that noise.
    error = sigma.square() / 2 + 1e-3
    change = (estimate - first).square().mean(1)
    weight = (change / (error + _UNSURE)).clamp(max=1)
    weight = weight.where(weight > 0.5, 0)
    places = _candidates(estimate, first, weight, spectrum)
    answers, doubt = _shown(views, _steadiest(places, weight, views, error), estimate, error)
    changed = (weight > 0)[:, None]
    return torch.where(changed, answers, first), torch.where(changed, doubt, 0)


@dataclass(frozen=True, slots=True)
class _Places:
    """K candidates for each of F frames, each tensor (F, K): cost, turn, shift, row and column."""

    cost: Tensor
    turn: Tensor
    shift: Tensor
    row: Tensor
    column: Tensor


def _candidates(estimate: Tensor, first: Tensor, weight: Tensor, spectrum: Tensor) -> _Places:
    """The places that explain most of what has changed since the first frame.

    Of a change D and what a place would change, M, it is <D, M>^2 / |M|^2: what is left of |D|^2
    once M has come in as strongly as fits best. An estimate that does not know yet where a thing
    will be shows it faintly in many places; by its plain distance it is nearest to nothing at all.
    """
    height, width = estimate.shape[-2:]
    size = (2 * height, 2 * width)
    weight = weight[:, None]
    change = (estimate - first) * weight
    # Channels of codes, then their sum of squares, which the weights alone are compared with.
    nothing = torch.zeros_like(weight)
    along, across = torch.cat([change, nothing], 1), torch.cat([-2 * weight * first, weight], 1)
    factors = _factors(torch.cat([along, across]), size)
    own = (change * first).sum((1, 2, 3)), (weight * first.square()).sum((1, 2, 3))
    costs = []
    for turn in spectrum.chunk(len(_TURNS), 1):  # one at a time, for the sake of memory
        product, norm = _correlated(turn, factors, size).chunk(2, 1)
        product = product[..., : height + 1, : width + 1] - own[0][:, None, None]
        norm = norm[..., : height + 1, : width + 1] + own[1][:, None, None]
        costs.append(-product.clamp(min=0).square() / norm.clamp(min=_LEAST_CHANGE))
    cost = rearrange(costs, "t p f h w -> f t p h w")
    room = [-side % _BLOCK for side in (width + 1, height + 1)]
    padded = F.pad(cost, (0, room[0], 0, room[1]), value=math.inf)
    blocks = rearrange(padded, "f t p (y a) (x b) -> f (t y x) (p a b)", a=_BLOCK, b=_BLOCK)
    best, inside = blocks.min(2)
    best, block = best.topk(min(_CANDIDATES, best.shape[1]), largest=False)
    inside = inside.gather(1, block)
    blocks_across = padded.shape[-1] // _BLOCK
    per_turn = blocks_across * (padded.shape[-2] // _BLOCK)
    turn, block = block // per_turn, block % per_turn
    shift, inside = inside // _BLOCK**2, inside % _BLOCK**2
    row = block // blocks_across * _BLOCK + inside // _BLOCK
    column = block % blocks_across * _BLOCK + inside % _BLOCK
    return _Places(best, turn, shift, row, column)


def _factors(asked: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn N pictures (N, C + 1, h, w) into what `_correlated` multiplies a spectrum with."""
    real, imaginary = torch.view_as_real(torch.fft.rfft2(asked, s=size)).unbind(-1)
    # (a + i b) (c - i d) as a product of real matrices, which is several times as fast.
    rows = [torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)]
    return rearrange(torch.stack(rows), "r n c h w s -> (h w) (r c) (n s)").contiguous()


def _correlated(spectrum: Tensor, factors: Tensor, size: tuple[int, int]) -> Tensor:
    """Correlate P views, by their spectrum, with N pictures: (P, N, 2 h, 2 w)."""
    product = rearrange(torch.bmm(spectrum, factors), "f k (n s) -> f (k n) s", s=2)
    parts = torch.view_as_complex(product).t().contiguous()
    together = rearrange(parts, "(k n) (h w) -> k n h w", k=spectrum.shape[1], h=size[0])
    return torch.fft.irfft2(together, s=size)


def _steadiest(places: _Places, weight: Tensor, views: Tensor, error: Tensor) -> _Places:
    """Choose one candidate for each frame, (F,) each: cheap ones that lie near each other."""
    height, width = weight.shape[-2:]
    centre = _centre(weight)
    turns = torch.tensor(_TURNS, device=weight.device)[places.turn]
    scale, angle = turns[..., 0], turns[..., 1].clone()
    per_side = math.isqrt(views.shape[1])
    top = places.row + (places.shift // per_side) / per_side
    left = places.column + (places.shift % per_side) / per_side
    y, x = centre[0] - height / 2, centre[1] - width / 2
    where = [
        height + scale * (angle.cos() * y + angle.sin() * x) - top,
        width + scale * (angle.cos() * x - angle.sin() * y) - left,
    ]
    pose = torch.stack([*where, scale.log()], -1)
    cost = places.cost / (2 * error * _ALIKE)
    # Frame 0 is the first frame itself, wherever its candidates lie.
    pose[0] = torch.stack([*centre, centre.new_zeros(())])
    angle[0] = 0
    total, came = torch.zeros_like(cost[0]), []
    for frame in range(1, len(cost)):
        effort = _effort(pose[frame], pose[frame - 1], angle[frame], angle[frame - 1])
        total, origin = (total + effort).min(1)
        total = total + cost[frame]
        came.append(origin)
    chosen = [total.argmin()]
    for origin in reversed(came):
        chosen.append(origin[chosen[-1]])
    which = torch.stack(chosen[::-1])[:, None]
    fields = (places.cost, places.turn, places.shift, places.row, places.column)
    return _Places(*(field.gather(1, which)[:, 0] for field in fields))


def _effort(pose: Tensor, before: Tensor, angle: Tensor, angle_before: Tensor) -> Tensor:
    """What it costs to come to K poses (K, 3) and angles (K,) from J others: (K, J)."""
    unit = torch.tensor([_STRIDE, _STRIDE, _STRETCH], device=pose.device)
    step = ((pose[:, None] - before) / unit).abs().sum(-1)
    swing = angle[:, None] - angle_before
    return step + torch.atan2(swing.sin(), swing.cos()).abs() / _SWING


def _centre(weight: Tensor) -> Tensor:
    """Where the thing that moves begins, (2,) rows and columns: what changes in most frames."""
    often = weight.mean(0).square() + 1e-6
    rows = torch.arange(often.shape[0], device=often.device) + 0.5
    columns = torch.arange(often.shape[1], device=often.device) + 0.5
    total = often.sum()
    return torch.stack([(often.sum(1) * rows).sum(), (often.sum(0) * columns).sum()]) / total


def _shown(
    views: Tensor, places: _Places, estimate: Tensor, error: Tensor
) -> tuple[Tensor, Tensor]:
    """What the chosen places show, (F, C, h, w), and its variance, (F, 1, h, w).

    Each cell takes the mean of what the places next to the chosen one show there, by how much they
    and their neighbours resemble the estimate: the table of turns is coarse.
    """
    height, width = estimate.shape[-2:]
    per_side = math.isqrt(views.shape[1])
    rows = torch.arange(height, device=estimate.device)[:, None]
    columns = torch.arange(width, device=estimate.device)
    turn = places.turn[:, None, None]
    fine_row = places.row * per_side + places.shift // per_side
    fine_column = places.column * per_side + places.shift % per_side
    shown, likeness = [], []
    reach = range(-_REACH, _REACH + 1)
    for down, right in ((y, x) for y in reach for x in reach):
        y = (fine_row + down).clamp(0, per_side * (height + 1) - 1)[:, None, None]
        x = (fine_column + right).clamp(0, per_side * (width + 1) - 1)[:, None, None]
        shift = y % per_side * per_side + x % per_side
        codes = views[turn, shift, :-1, y // per_side + rows, x // per_side + columns]
        shown.append(rearrange(codes, "f h w c -> f c h w"))
        distance = (shown[-1] - estimate).square().sum(1, keepdim=True)
        likeness.append(F.avg_pool2d(distance, 3, 1, 1, count_include_pad=False))
    each = torch.stack(shown)
    share = (-torch.stack(likeness) / error).softmax(0)
    mean = (share * each).sum(0)
    return mean, (share * (each - mean).square().mean(2, keepdim=True)).sum(0)
