"""The teacher of ``predictnet``: dense inverse search, and where it can be trusted."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from fdream.core.errors import StageError
from fdream.models.conditions import FlowTarget
from fdream.models.flow_ops import visibility_of

_PRESETS: Final = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_SMALLEST_SIDE: Final = 12  # OpenCV refuses smaller frames


def teach_flow(frames: Tensor, preset: str) -> FlowTarget:
    """Estimate the flow from each frame to the next, and check it by going back.

    Args:
        frames: (B, 3, F, H, W) in [-1, 1], on any device; the work is done on the CPU.
        preset: ``ultrafast``, ``fast`` or ``medium``.

    Returns:
        flow (B, 2, F-1, H, W) in pixels, x first; visibility (B, 1, F-1, H, W), 1 where forward
        and backward flow agree, else 0. float32, on the device of ``frames``.

    Raises:
        StageError: the frames are too small for the estimator.

    Source: Kroeger et al., arXiv 1603.03590 (DIS), as OpenCV has it.
    """
    batch, _, num_frames, height, width = frames.shape
    if min(height, width) < _SMALLEST_SIDE:
        raise StageError(
            f"supervisor 'predictnet': frames of {width}x{height} are too small for DIS, which "
            f"needs {_SMALLEST_SIDE} pixels each way; train larger, or take supervisor truth."
        )
    levels = ((frames.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pictures = rearrange(levels, "b c f h w -> b f h w c").contiguous().numpy()
    both_ways = np.zeros((2, batch, num_frames - 1, height, width, 2), np.float32)
    estimator = cv2.DISOpticalFlow.create(_PRESETS[preset])
    for clip in range(batch):
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures[clip]]
        for index, (here, there) in enumerate(pairwise(grey)):
            # An initial flow of zeros, not None: then the type is known, the result the same.
            still = np.zeros((height, width, 2), np.float32)
            both_ways[0, clip, index] = estimator.calc(here, there, still)
            both_ways[1, clip, index] = estimator.calc(there, here, np.zeros_like(still))
    folded = rearrange(torch.from_numpy(both_ways), "two b f h w c -> two (b f) c h w")
    forward, backward = folded
    visibility = visibility_of(forward, backward)
    return FlowTarget(
        flow=rearrange(forward, "(b f) c h w -> b c f h w", b=batch).to(frames.device),
        visibility=rearrange(visibility, "(b f) c h w -> b c f h w", b=batch).to(frames.device),
    )
