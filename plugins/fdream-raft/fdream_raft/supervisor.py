"""The supervisor ``raft``: RAFT teaches the PredictNet that all of fdream's teachers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from fdream.models.conditions import FlowTarget, Prediction, VideoSample
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages import registry
from fdream.stages.interfaces import FlowSupervisor
from fdream_raft.estimator import RaftEstimator
from fdream_raft.network import load_raft

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream_raft.specs import RaftTeacherOptions


@final
class RaftSupervisor(nn.Module, FlowSupervisor):
    """Supervisor ``raft``: its targets are RAFT's, PredictNet and the loss are ``truth``'s."""

    def __init__(self, options: RaftTeacherOptions, *, device: DeviceManager) -> None:
        super().__init__()
        self._prefer_exact = options.prefer_exact
        # No submodule: a frozen teacher has no place in a run's checkpoints.
        self._estimate = RaftEstimator(load_raft(options)[0], options.updates, device=device)
        shared = {"pairs": options.pairs, "hidden": options.hidden}
        self.truth = registry.build("supervisor", "truth", shared, device=device)

    def attach(self, tap_channels: Sequence[int], schedule: NoiseSchedule) -> None:
        """Build PredictNet."""
        self.truth.attach(tap_channels, schedule)

    @torch.no_grad()
    def targets(self, sample: VideoSample) -> FlowTarget:
        """Estimate flow and visibility, or take the sample's own; see ``FlowSupervisor``."""
        if self._prefer_exact and sample.flow is not None:
            return self.truth.targets(sample)
        return self._estimate(sample.frames)

    def loss(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return PredictNet's loss."""
        return self.truth.loss(prediction, target, t)
