"""How much moves in a clip, and how well a flow explains it, whatever estimated the flow."""

from __future__ import annotations

from typing import Final

from einops import rearrange
from torch import Tensor

from fdream.models.flow_ops import warp

_TOP_SHARE: Final = 0.05
_THRESHOLD: Final = 6.0 / 256
_MOVING_FRAMES: Final = 4 / 16


def moves(speed: Tensor) -> bool:
    """Say whether a clip moves: its fastest pixels are fast in enough of its frames.

    Args:
        speed: (F-1, H, W), pixels a frame.

    Source: the rule of VBench's dynamic degree (arXiv 2311.17982): the fastest twentieth of the
    pixels, 6 px a frame at 256, in a quarter of the frames.
    """
    pairs, height, width = speed.shape
    fastest = max(1, int(_TOP_SHARE * height * width))
    top = speed.flatten(1).topk(fastest, dim=1).values.mean(dim=1)
    needed = max(1, round(_MOVING_FRAMES * (pairs + 1)))
    return int((top > _THRESHOLD * min(height, width)).sum()) >= needed


def warping_error(video: Tensor, flow: Tensor, visible: Tensor) -> float:
    """Return the mean square of what is left when each next frame is carried back, in [0, 1].

    Args:
        video: (3, F, H, W) in [-1, 1].
        flow: (2, F-1, H, W), pixels, x first, from each frame to the next.
        visible: (1, F-1, H, W) in [0, 1], the weight of each pixel.

    Source: Lai et al., arXiv 1808.00449, with the flow that is given.
    """
    here, there = (rearrange(part, "c f h w -> f c h w") for part in (video[:, :-1], video[:, 1:]))
    carried = warp(there, rearrange(flow, "c f h w -> f c h w"))
    weight = rearrange(visible, "1 f h w -> f 1 h w")
    squares = ((here - carried) / 2).square().mean(dim=1, keepdim=True)
    return float((squares * weight).sum() / weight.sum().clamp(min=1))
