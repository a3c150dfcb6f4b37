"""Pixel-aware cross attention (PACA): features look up the first frame's pixels at their scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fdream.models.temporal import sinusoids
from fdream.models.zero_init import zeroed


class PixelFeatures(nn.Module):
    """Maps of the first frame at every resolution of the base, from its pixels and its latent.

    Args:
        latent_channels: C of the latents.
        downscale: pixels a latent cell covers along each side, a power of two.
        patch: pixels folded into channels before the first convolution; 1 keeps full resolution,
            larger is cheaper. A power of two, at most downscale.
        stem_channels: widths of the stem, one for each halving from patch to downscale, plus one.
        level_channels: widths of the maps, finest first.

    Source: PASD's condition embedder (arXiv 2308.14469): convolution pairs of 16, 32, 96 and 256
    channels, the second of each with stride 2. Ours: no ControlNet behind it (the maps serve all
    frames, so they cannot depend on noise), the first frame's latent beside its pixels, no RRDB.
    """

    def __init__(
        self,
        latent_channels: int,
        downscale: int,
        patch: int,
        stem_channels: Sequence[int],
        level_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.patch = patch
        layers: list[nn.Module] = [nn.Conv2d(3 * patch**2, stem_channels[0], 3, padding=1)]
        for before, after in itertools.pairwise(stem_channels):
            layers += [nn.SiLU(), nn.Conv2d(before, before, 3, padding=1)]
            layers += [nn.SiLU(), nn.Conv2d(before, after, 3, padding=1, stride=2)]
        self.stem = nn.Sequential(*layers)
        self.fuse = nn.Conv2d(stem_channels[-1] + latent_channels, level_channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, stride=2)
            for before, after in itertools.pairwise(level_channels)
        )

    def forward(self, first_frame: Tensor, first_latent: Tensor) -> list[Tensor]:
        """Compute the maps of a batch of first frames.

        Args:
            first_frame: (B, 3, H, W) in [-1, 1].
            first_latent: (B, C, h, w).

        Returns:
            (B, P_i, h_i, w_i) for each level, finest first, halved with rounding up each time, as
            the base's own downsamplers do.
        """
        spare = [-size % self.patch for size in first_frame.shape[-2:]]
        pixels = first_frame
        if any(spare):
            pixels = F.pad(pixels, (0, spare[1], 0, spare[0]), mode="replicate")
        pixels = self.stem(F.pixel_unshuffle(pixels, self.patch))
        if pixels.shape[-2:] != first_latent.shape[-2:]:
            # An encoder that rounds down leaves a border that no latent cell covers.
            pixels = F.interpolate(pixels, first_latent.shape[-2:], mode="bilinear")
        maps = [self.fuse(torch.cat([F.silu(pixels), first_latent], dim=1))]
        for down in self.down:
            maps.append(down(F.silu(maps[-1])))
        return maps


class PixelAwareCrossAttention(nn.Module):
    """Features of all frames attend to the first frame's features at the same resolution.

    Args:
        channels: C of the features.
        pixel_channels: width of the first frame's map at this level.
        inner: width of queries, keys and values.
        heads: N; inner / N must be a multiple of 4.
        groups: groups of the norm.

    Source: the abstract names the part; PASD-light (arXiv 2308.14469, same first author) adds one
    such attention per decoder layer after the text attention. Ours: keys from the first frame only,
    two-dimensional positions on queries and keys, frames folded into the query length, output zero
    at first.
    """

    def __init__(
        self, channels: int, pixel_channels: int, inner: int, heads: int, groups: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.norm_pixels = nn.LayerNorm(pixel_channels)
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(pixel_channels, 2 * inner, bias=False)
        # How much position counts against content, for each head; starts at equal strength.
        self.position_gain = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_out = zeroed(nn.Linear(inner, channels))

    def project(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the first frame, once per clip.

        Args:
            pixels: (B, P, h, w), the map of this level.

        Returns:
            Two tensors (B, N, h*w, d).
        """
        height, width = pixels.shape[-2:]
        tokens = self.norm_pixels(rearrange(pixels, "b c h w -> b (h w) c"))
        keys, values = rearrange(
            self.to_kv(tokens), "b l (two n d) -> two b n l d", two=2, n=self.heads
        )
        return keys + self._position(height, width, keys), values

    def forward(self, features: Tensor, num_frames: int, keys: tuple[Tensor, Tensor]) -> Tensor:
        """Look up the first frame.

        Args:
            features: (B F, C, h, w), frames folded into the batch.
            num_frames: F.
            keys: keys and values from `project`, at the same resolution.

        Returns:
            (B F, C, h, w).
        """
        height, width = features.shape[-2:]
        tokens = rearrange(self.norm(features), "(b f) c h w -> b f (h w) c", f=num_frames)
        q = rearrange(self.to_q(tokens), "b f s (n d) -> b f n s d", n=self.heads)
        q = rearrange(q + self._position(height, width, q), "b f n s d -> b n (f s) d")
        seen = F.scaled_dot_product_attention(q, *keys)
        out = self.to_out(rearrange(seen, "b n (f s) d -> b f s (n d)", f=num_frames))
        return features + rearrange(out, "b f (h w) c -> (b f) c h w", h=height)

    def _position(self, height: int, width: int, like: Tensor) -> Tensor:
        """(N, h*w, d): sinusoids of row and column in cells, times each head's gain."""
        half = like.shape[-1] // 2
        rows = sinusoids(torch.arange(height, device=like.device), half, 100.0)
        columns = sinusoids(torch.arange(width, device=like.device), half, 100.0)
        grid = torch.cat(
            [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=-1
        )
        return self.position_gain * rearrange(grid, "h w d -> (h w) d").to(like.dtype)


def heads_for(inner: int, head_width: int) -> int:
    """How many heads of about `head_width` fit a width: the count that divides it best."""
    heads = max(1, math.ceil(inner / head_width))
    while inner % heads:
        heads -= 1
    return heads
