"""The first frame enters where noise enters: a map added after the base's first convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fdream.models.zero_init import zeroed


class FirstFrameCondition(nn.Module):
    """Turns the first frame's latent and a frame mask into what is added to `conv_in(noisy)`.

    Args:
        latent_channels: C of the latents.
        channels: C0, channels after the base's first convolution.

    Source: latent and binary mask as in Emu Video (arXiv 2311.10709); the latent is repeated over
    frames as in DynamiCrafter. Ours: added beside an untouched `conv_in` instead of widening it, so
    any fine-tune of the base still fits, and one hidden layer, which costs two images a clip.
    """

    def __init__(self, latent_channels: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels + 1, channels, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, first_latent: Tensor) -> Tensor:
        """Compute the two maps of a clip: the input is one for frame 0, one for all others.

        Args:
            first_latent: (B, C, h, w).

        Returns:
            (B, 2, C0, h, w): the map of frame 0 (mask 1), then that of every later frame (mask 0).
        """
        ones = torch.ones_like(first_latent[:, :1])
        mask = torch.stack([ones, torch.zeros_like(ones)], dim=1)
        latent = repeat(first_latent, "b c h w -> b two c h w", two=2)
        known = rearrange(torch.cat([latent, mask], dim=2), "b two c h w -> (b two) c h w")
        maps = self.conv_out(F.silu(self.conv_in(known)))
        return rearrange(maps, "(b two) c h w -> b two c h w", two=2)

    @staticmethod
    def over_frames(maps: Tensor, num_frames: int) -> Tensor:
        """Spread the two maps over a clip: (B, 2, C0, h, w) to (B F, C0, h, w)."""
        later = maps[:, 1:].expand(-1, num_frames - 1, -1, -1, -1)
        return rearrange(torch.cat([maps[:, :1], later], dim=1), "b f c h w -> (b f) c h w")
