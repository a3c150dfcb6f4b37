"""The teacher of ``predictnet``: dense inverse search, and where it can be trusted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from fdream.core.errors import StageError
from fdream.models.conditions import FlowTarget

_PRESETS: Final = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_SMALLEST_SIDE: Final = 12  # OpenCV refuses smaller frames

# A round trip may miss by sqrt(0.5) px plus a tenth of its length.
# Source: Sundaram et al., "Dense point trajectories by GPU-accelerated large displacement optical
# flow", ECCV 2010.
_SLACK: Final = 0.5
_SLACK_SHARE: Final = 0.01


def teach_flow(frames: Tensor, preset: str) -> FlowTarget:
    """Estimate the flow from each frame to the next, and check it by going back.

    Args:
        frames: (B, 3, F, H, W) in [-1, 1], on any device; the work is done on the CPU.
        preset: ``ultrafast``, ``fast`` or ``medium``.

    Returns:
        flow (B, 2, F-1, H, W) in pixels, x first; visibility (B, 1, F-1, H, W), 1 where flow and
        backward flow agree and the target lies inside the frame, else 0. On the device of
        ``frames``, float32.

    Raises:
        StageError: the frames are too small for the estimator.

    Source: Kroeger et al., arXiv 1603.03590 (DIS).
    """
    batch, _, num_frames, height, width = frames.shape
    if min(height, width) < _SMALLEST_SIDE:
        raise StageError(
            f"supervisor 'predictnet': frames of {width}x{height} are too small for DIS, which "
            f"needs {_SMALLEST_SIDE} pixels each way; train larger, or take supervisor truth."
        )
    levels = ((frames.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pictures = rearrange(levels, "b c f h w -> b f h w c").contiguous().numpy()
    flow = np.zeros((batch, num_frames - 1, height, width, 2), np.float32)
    visibility = np.zeros((batch, num_frames - 1, height, width), np.float32)
    estimator = cv2.DISOpticalFlow.create(_PRESETS[preset])
    for clip in range(batch):
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures[clip]]
        for index, (here, there) in enumerate(pairwise(grey)):
            forward = estimator.calc(here, there, None)
            flow[clip, index] = forward
            visibility[clip, index] = _agree(forward, estimator.calc(there, here, None))
    return FlowTarget(
        flow=rearrange(torch.from_numpy(flow), "b f h w c -> b c f h w").to(frames.device),
        visibility=rearrange(torch.from_numpy(visibility), "b f h w -> b 1 f h w").to(
            frames.device
        ),
    )


def _agree(forward: NDArray[Any], backward: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (H, W): whether going forward and back comes home, inside the frame."""
    height, width = forward.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns + forward[..., 0], rows + forward[..., 1]
    back = cv2.remap(backward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = np.square(forward + back).sum(-1)
    travelled = np.square(forward).sum(-1) + np.square(back).sum(-1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    home: NDArray[np.bool_] = inside & (missed <= _SLACK + _SLACK_SHARE * travelled)
    return home
