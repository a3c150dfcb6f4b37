"""The metric ``flow-raft``: how much moves and how steadily, by RAFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from einops import rearrange

from fdream.models.motion_measures import moves, warping_error
from fdream.stages.interfaces import ClipBatch, FigureSpec, Metric
from fdream_raft.estimator import RaftEstimator
from fdream_raft.network import load_raft

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream_raft.specs import RaftOptions


@final
class RaftMotion(Metric):
    """``flow-raft``: the figures of ``flow``, with RAFT in place of OpenCV's DIS.

    Ours: every frame of the clip at its own size, so the share of moving clips follows the rule of
    VBench's dynamic degree (arXiv 2311.17982) and is no VBench score.
    """

    figures: ClassVar = (
        FigureSpec("dynamic_degree_raft", "moves", "share", "neither"),
        FigureSpec("flow_magnitude_raft", "magnitude", "mean", "neither", unit="px/frame"),
        FigureSpec("warping_error_raft", "warping", "mean", "lower", consistency=True),
    )

    def __init__(self, options: RaftOptions, *, device: DeviceManager) -> None:
        """Load RAFT."""
        network, digest = load_raft(options)
        self._estimate = RaftEstimator(network, options.updates, device=device)
        self._protocol = f"RAFT {options.size}, {options.updates} updates, sha256 {digest[:16]}"

    def measure(self, clips: ClipBatch) -> dict[str, NDArray[np.floating[Any]]]:
        """Return ``moves`` (0 or 1), ``magnitude`` (pixels a frame) and ``warping``, all (B,)."""
        found: dict[str, list[float]] = {"moves": [], "magnitude": [], "warping": []}
        for clip in clips.frames:
            video = rearrange(torch.from_numpy(clip), "f h w c -> 1 c f h w").float() / 127.5 - 1
            target = self._estimate(video)
            flow, visible = target.flow[0], target.visibility[0]
            speed = flow.norm(dim=0)
            found["moves"].append(float(moves(speed)))
            found["magnitude"].append(float(speed.mean()))
            found["warping"].append(warping_error(video[0], flow, visible))
        return {name: np.array(values, np.float32) for name, values in found.items()}

    def protocol(self) -> dict[str, str]:
        """Say which RAFT, by its hash."""
        return {"flow": self._protocol}
