"""PredictNet: reads optical flow off the motion features, to make them carry motion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from fdream.core.errors import RecipeError
from fdream.models.conditions import FlowTarget, Prediction
from fdream.models.flow_ops import flow_loss, flow_rms
from fdream.models.motion_modules import MotionModules
from fdream.models.processes import batch_total


class PredictNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts the flow from each frame to the next; used in training only.

    Args:
        tap_channels: channels of the taps, coarse first, as `Prediction.taps` gives them.
        hidden: channels inside.
        pairs: `single` reads frame i alone. `concat` reads frames i and i + 1 (an ablation): it can
            match the two itself, and leave the temporal layers idle.

    Source: the abstract says only that a PredictNet supervises optical flow. Ours: all of its form,
    which features it reads, and that it sees one frame of each pair.
    """

    flow_rms: Tensor
    flow_square_sum: Tensor
    flow_count: Tensor

    @register_to_config
    def __init__(
        self, tap_channels: Sequence[int], hidden: int = 64, pairs: str = "single"
    ) -> None:
        super().__init__()
        if pairs not in ("single", "concat"):
            raise RecipeError(f"predictnet pairs = {pairs!r}: choose 'single' or 'concat'.")
        self.reduce = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for channels in tap_channels)
        seen = len(tap_channels) * hidden * (2 if pairs == "concat" else 1)
        self.mix = nn.Conv2d(seen, hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, 2, 3, padding=1)
        # The network answers in units of the usual displacement; one pixel until data was seen.
        self.register_buffer("flow_rms", torch.ones(()))
        self.register_buffer("flow_square_sum", torch.zeros(()))
        self.register_buffer("flow_count", torch.zeros(()))

    @classmethod
    def for_motion(cls, motion: MotionModules, **options: object) -> PredictNet:
        """Build for the taps of a video network.

        Args:
            motion: its motion modules.
            **options: `hidden`, `pairs`.
        """
        return cls(tap_channels=motion.tap_channels, **options)

    @torch.no_grad()
    def observe(self, flow: Tensor) -> None:
        """Count training flow into the unit of the answer, the RMS of all non-zero flow so far.

        Args:
            flow: (B, 2, F-1, H, W) pixels. Call it on the first hundred batches or so and then no
                more, so that the unit stands still.
        """
        moving = (flow.abs().sum(dim=1) > 0).sum()
        self.flow_square_sum += batch_total(flow_rms(flow).square() * moving)
        self.flow_count += batch_total(moving)
        if self.flow_square_sum > 0:
            self.flow_rms.copy_((self.flow_square_sum / self.flow_count).sqrt())

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Read the flow off motion features.

        Args:
            taps: (B, C_i, F, h_i, w_i), coarse first.

        Returns:
            (B, 2, F-1, h, w) on the grid of the last tap, in pixels of the input frame, x first.
        """
        num_frames, size = taps[-1].shape[2], taps[-1].shape[-2:]
        features: list[Tensor] = []
        dtype = next(self.reduce.parameters()).dtype
        for reduce, tap in zip(self.reduce, taps, strict=True):
            flat = reduce(rearrange(tap, "b c f h w -> (b f) c h w").to(dtype))
            if flat.shape[-2:] != size:
                flat = F.interpolate(flat, size, mode="bilinear", align_corners=False)
            features.append(flat)
        seen = rearrange(torch.cat(features, dim=1), "(b f) c h w -> b f c h w", f=num_frames)
        if self.config.pairs == "concat":
            seen = torch.cat([seen[:, :-1], seen[:, 1:]], dim=2)
        else:
            seen = seen[:, :-1]
        hidden = self.mix(F.silu(rearrange(seen, "b f c h w -> (b f) c h w")))
        flow = self.out(F.silu(hidden)).float() * self.flow_rms.float()
        return rearrange(flow, "(b f) c h w -> b c f h w", f=num_frames - 1)

    def loss(self, prediction: Prediction, target: FlowTarget, alpha_bar: Tensor) -> Tensor:
        """The flow loss of a training step, before its weight.

        Args:
            prediction: of the video network, with at least two frames.
            target: true or teacher's flow.
            alpha_bar: (B,) at each sample's step, from `NoiseSchedule.signal_and_noise(t)[0]**2`.

        Returns:
            A scalar; zero for one frame, which has no flow.
        """
        if not prediction.taps:
            return prediction.output.new_zeros((), dtype=torch.float32)
        return flow_loss(self(prediction.taps), target, alpha_bar, self.flow_rms.float())
