"""The built-in supervisors: three teachers of motion, one PredictNet and one loss.

Ours, all of it: the paper says only that a PredictNet supervises optical flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

import torch
from torch import Tensor, nn

from fdream.core.errors import DataError
from fdream.models.conditions import FlowTarget, Prediction, VideoSample
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.predictnet import PredictNet
from fdream.stages.builtin.dis_flow import teach_flow
from fdream.stages.interfaces import FlowSupervisor

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.supervisors import PredictNetOptions, TeacherOptions
    from fdream.stages.spec import StageOptions

# Batches of which PredictNet learns its unit, the usual displacement; then it stands still, or the
# meaning of the trained weights would drift.
_UNIT_BATCHES: Final = 100


class FlowReader(nn.Module):
    """PredictNet bound to one noise schedule: the half of a supervisor that all teachers share.

    Args:
        tap_channels: width of each tap.
        schedule: the generator's; its signal share weighs the loss.
        options: of PredictNet.
    """

    batches_seen: Tensor

    def __init__(
        self, tap_channels: Sequence[int], schedule: NoiseSchedule, options: PredictNetOptions
    ) -> None:
        super().__init__()
        self.predictnet = PredictNet(list(tap_channels), hidden=options.hidden, pairs=options.pairs)
        self.register_buffer("batches_seen", torch.zeros((), dtype=torch.long))
        self._schedule = schedule

    def forward(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return the flow loss, a scalar; in training mode the first batches also set the unit."""
        if self.training and int(self.batches_seen) < _UNIT_BATCHES:
            self.predictnet.observe(target.flow)
            self.batches_seen += 1
        signal, _ = self._schedule.signal_and_noise(t)
        loss: Tensor = self.predictnet.loss(prediction, target, signal.square())
        return loss


@final
class TeacherSupervisor(nn.Module, FlowSupervisor):
    """Supervisor ``predictnet``: OpenCV's DIS flow teaches, unless the exact flow is known."""

    def __init__(self, options: TeacherOptions, *, device: DeviceManager) -> None:
        super().__init__()
        self._options = options
        self._device = device

    def attach(self, tap_channels: Sequence[int], schedule: NoiseSchedule) -> None:
        """Build PredictNet."""
        self.reader = _reader(tap_channels, schedule, self._options, self._device)

    @torch.no_grad()
    def targets(self, sample: VideoSample) -> FlowTarget:
        """Estimate flow and visibility, or take the sample's own; see ``FlowSupervisor``."""
        exact = _exact(sample) if self._options.prefer_exact else None
        return exact or teach_flow(sample.frames, self._options.preset)

    def loss(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return PredictNet's loss."""
        loss: Tensor = self.reader(prediction, target, t)
        return loss


@final
class TruthSupervisor(nn.Module, FlowSupervisor):
    """Supervisor ``truth``: the exact flow of the data, which only synthetic data has."""

    def __init__(self, options: PredictNetOptions, *, device: DeviceManager) -> None:
        super().__init__()
        self._options = options
        self._device = device

    def attach(self, tap_channels: Sequence[int], schedule: NoiseSchedule) -> None:
        """Build PredictNet."""
        self.reader = _reader(tap_channels, schedule, self._options, self._device)

    @torch.no_grad()
    def targets(self, sample: VideoSample) -> FlowTarget:
        """Return the sample's own flow and visibility.

        Raises:
            DataError: the sample carries no flow.
        """
        exact = _exact(sample)
        if exact is None:
            raise DataError(
                "supervisor 'truth': these clips carry no exact flow, only SpriteWorld's do; "
                'write use = "predictnet" in [stages.supervisor] for other data.'
            )
        return exact

    def loss(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return PredictNet's loss."""
        loss: Tensor = self.reader(prediction, target, t)
        return loss


@final
class NoSupervisor(nn.Module, FlowSupervisor):
    """Supervisor ``none``: asks for nothing, the ablation without PredictNet."""

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        super().__init__()
        del options, device

    def attach(self, tap_channels: Sequence[int], schedule: NoiseSchedule) -> None:
        """Build nothing."""
        del tap_channels, schedule

    def targets(self, sample: VideoSample) -> FlowTarget:
        """Return no motion, seen nowhere."""
        batch, _, num_frames, height, width = sample.frames.shape
        shape = (num_frames - 1, height, width)
        return FlowTarget(
            flow=sample.frames.new_zeros(batch, 2, *shape),
            visibility=sample.frames.new_zeros(batch, 1, *shape),
        )

    def loss(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return zero."""
        del target, t
        return prediction.output.new_zeros(())


def _reader(
    tap_channels: Sequence[int],
    schedule: NoiseSchedule,
    options: PredictNetOptions,
    device: DeviceManager,
) -> FlowReader:
    # Moved, not cast: PredictNet is trained, and small, so its weights stay float32.
    return FlowReader(tap_channels, schedule, options).to(device.torch_device)


def _exact(sample: VideoSample) -> FlowTarget | None:
    if sample.flow is None:
        return None
    flow = sample.flow.detach()
    visibility = sample.visibility
    if visibility is None:
        visibility = torch.ones_like(flow[:, :1])
    return FlowTarget(flow=flow, visibility=visibility.detach())
