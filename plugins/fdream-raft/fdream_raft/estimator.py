"""Flow from each frame of a clip to the next, and where it can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fdream.models.conditions import FlowTarget
from fdream.models.flow_ops import resize_flow, visibility_of

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager

# RAFT compares features at an eighth of the size on a pyramid of four levels.
_SMALLEST_SIDE: Final = 128
_MULTIPLE: Final = 8
_PAIRS_AT_A_TIME: Final = 8


class Raft(Protocol):
    """What is asked of the network: refinements of a flow, the last one the best."""

    def __call__(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        """Take two pictures (B, 3, H, W) in [-1, 1]; return flows (B, 2, H, W) in pixels."""
        ...


class RaftEstimator:
    """RAFT behind fdream's clips.

    Ours: frames whose sides are no multiples of 8, or shorter than 128, are enlarged for the
    network and the flow is brought back to their pixels; float32 throughout, for half precision
    loses small displacements.

    Args:
        network: RAFT, or what answers like it.
        updates: refinements of the flow.
        device: where the network works.

    Source: Teed and Deng, arXiv 2003.12039 (RAFT), as torchvision has it.
    """

    def __init__(self, network: nn.Module, updates: int, *, device: DeviceManager) -> None:
        self._network = network
        self._updates = updates
        self._device = replace(device, dtype=torch.float32)

    def __call__(self, frames: Tensor) -> FlowTarget:
        """Estimate flow both ways and compare.

        Args:
            frames: (B, 3, F, H, W) in [-1, 1], on any device.

        Returns:
            flow (B, 2, F-1, H, W) in pixels, x first, from each frame to the next; visibility
            (B, 1, F-1, H, W), 1 where forward and backward flow agree, else 0. float32, on the
            device of ``frames``.
        """
        # Clip by clip: a clip's flow must not depend on its neighbours, not even in its last bits.
        clips = [self._clip(clip) for clip in frames.detach().float()]
        flow, visibility = (
            torch.stack(parts).to(frames.device) for parts in zip(*clips, strict=True)
        )
        return FlowTarget(flow=flow, visibility=visibility)

    def _clip(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        pictures = rearrange(clip, "c f h w -> f c h w").clamp(-1, 1)
        with self._device.borrow(self._network) as network, torch.no_grad(), self._device.guard():
            pictures = self._device.place(pictures)
            forward = self._flow(network, pictures[:-1], pictures[1:])
            backward = self._flow(network, pictures[1:], pictures[:-1])
        visible = visibility_of(forward, backward)
        return rearrange(forward, "f c h w -> c f h w"), rearrange(visible, "f 1 h w -> 1 f h w")

    def _flow(self, network: Callable[..., list[Tensor]], here: Tensor, there: Tensor) -> Tensor:
        size = (here.shape[-2], here.shape[-1])
        wanted = network_size(size)
        found = []
        for start in range(0, len(here), _PAIRS_AT_A_TIME):
            part = slice(start, start + _PAIRS_AT_A_TIME)
            first, second = (_enlarged(frames[part], wanted) for frames in (here, there))
            flow = network(first, second, num_flow_updates=self._updates)[-1]
            found.append(resize_flow(flow, size, rescale=True))
        return torch.cat(found) if found else here.new_zeros(0, 2, *size)


def network_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) the network gets for frames of another."""
    factor = max(1.0, _SMALLEST_SIDE / min(size))
    height, width = (ceil(side * factor / _MULTIPLE) * _MULTIPLE for side in size)
    return height, width


def _enlarged(frames: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)
