"""The first frame leaves where the picture leaves: places that did not move answer with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fdream.models.zero_init import zeroed

if TYPE_CHECKING:
    from fdream.models.noise_schedule import NoiseSchedule

_LEAST_SIGMA = 0.25
"""Below this noise a difference of clean samples is no longer blown up to one of raw outputs: the
base's own answer is good there, and the quotient would drown the loss."""


class FirstFrameRecall(nn.Module):
    """Moves the base's raw output toward the one that stands for the first frame, place by place.

    A frame's clean estimate x0 becomes ``x0 + gate * (first latent - x0)``. Frame 0 and a still
    background need the gate at one, what moves needs it at zero.

    Args:
        latent_channels: C of the latents.
        channels: C0, channels before the base's last convolution.
        level_width: E of the noise level embedding.
        width: channels of the hidden layer.

    Ours: the paper says nothing of it. Details of the first frame otherwise have to pass the whole
    frozen network and its last convolution in every frame; a small base loses them on the way.
    """

    def __init__(
        self, latent_channels: int, channels: int, level_width: int, width: int = 48
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels + latent_channels + 1, width, 3, padding=1)
        self.level = nn.Linear(level_width, width)
        self.conv_mid = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(width, 1, 3, padding=1))

    def forward(
        self,
        output: Tensor,
        features: Tensor,
        noisy: Tensor,
        t: Tensor,
        first_latent: Tensor,
        level: Tensor,
        schedule: NoiseSchedule,
    ) -> Tensor:
        """Correct the raw output of a clip.

        Args:
            output: (B, C, F, h, w) raw output of the base, in its parametrisation.
            features: (B F, C0, h, w), what the base's last convolution read.
            noisy: (B, C, F, h, w).
            t: (B,) steps of ``schedule``.
            first_latent: (B, C, h, w).
            level: (B, E) noise level embedding.
            schedule: the table that ``noisy`` was noised on.

        Returns:
            (B, C, F, h, w) float32, in the same parametrisation.
        """
        num_frames = noisy.shape[2]
        # What is shown against what is remembered: float32, for the difference of two near values.
        missing = first_latent[:, :, None].float() - schedule.to_clean(output, noisy, t)
        first = torch.zeros_like(missing[:, :1])
        first[:, :, 0] = 1
        known = rearrange(torch.cat([missing, first], 1), "b c f h w -> (b f) c h w")
        hidden = self.conv_in(torch.cat([features, known.to(features.dtype)], 1))
        told = repeat(self.level(level), "b d -> (b f) d 1 1", f=num_frames)
        hidden = F.silu(self.conv_mid(F.silu(hidden + told)))
        gate = rearrange(self.conv_out(hidden), "(b f) c h w -> b c f h w", f=num_frames)
        return output.float() + gate.float() * schedule.output_change(missing, t, _LEAST_SIGMA)
