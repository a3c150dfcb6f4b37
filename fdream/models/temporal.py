"""The layers in which frames see each other: temporal convolution, attention, and motion text."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fdream.models.free_noise import mix_in_windows
from fdream.models.motion_text_encoder import MotionCrossAttention
from fdream.models.zero_init import zeroed


def sinusoids(positions: Tensor, width: int, longest: float = 10000.0) -> Tensor:
    """Sines and cosines of positions at geometric wavelengths.

    Args:
        positions: any shape, real numbers.
        width: an even number of features.
        longest: the longest wavelength divided by 2 pi; the shortest is 2 pi.

    Returns:
        positions.shape + (width,), float32.

    Source: Vaswani et al., arXiv 1706.03762.
    """
    half = width // 2
    steps = torch.arange(half, device=positions.device, dtype=torch.float32)
    angles = positions.float()[..., None] * torch.exp(-math.log(longest) * steps / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TemporalConvolution(nn.Module):
    """A residual pair of convolutions over neighbouring frames, after a spatial ResNet.

    Args:
        channels: C of the features.
        inner: channels between the two convolutions; fewer than C makes a bottleneck.
        groups: groups of the norm, which sees all frames of a video at once.

    Source: temporal convolutions with a zeroed last layer as in ModelScope (arXiv 2308.06571) and
    DynamiCrafter's code. Ours: two layers with a bottleneck, instead of four at full width.
    """

    def __init__(self, channels: int, inner: int, groups: int) -> None:
        super().__init__()
        # The kernel is (frames, positions): with channels_last, "(b f) c h w" read as
        # "b c f (h w)" is the same memory, so folding and unfolding cost nothing.
        self.norm = nn.GroupNorm(groups, channels)
        self.conv_in = nn.Conv2d(channels, inner, (3, 1), padding=(1, 0))
        self.conv_out = zeroed(nn.Conv2d(inner, channels, (3, 1), padding=(1, 0)))

    def forward(self, features: Tensor, num_frames: int) -> Tensor:
        """Mix each position with the same position of the frames before and after.

        Args:
            features: (B F, C, h, w), frames folded into the batch.
            num_frames: F.

        Returns:
            (B F, C, h, w).
        """
        height = features.shape[-2]
        video = rearrange(features, "(b f) c h w -> b c f (h w)", f=num_frames)
        mixed = self.conv_out(F.silu(self.conv_in(self.norm(video))))
        return features + rearrange(mixed, "b c f (h w) -> (b f) c h w", h=height)


class TemporalAttention(nn.Module):
    """A transformer over time: frames attend to frames, then all attend to the motion caption.

    Args:
        channels: C of the features.
        inner: width of the transformer.
        heads: N, dividing inner.
        motion_width: Dm of the motion text, or None to leave the caption out.
        level_width: width of the noise level and frame rate embedding.
        feed_forward: hidden width of the feed-forward layer, in multiples of inner.
        groups: groups of the norm, which sees all frames of a video at once.

    Source: the motion module of AnimateDiff (arXiv 2307.04725), whose second attention here reads
    the motion caption: the paper says that a T5 encoder serves motion, not how it enters. Ours:
    cross attention in the temporal layers, with frames and positions folded into the query length,
    which gives the same result as repeating the text for every position.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        heads: int,
        motion_width: int | None,
        level_width: int,
        feed_forward: float,
        groups: int,
    ) -> None:
        super().__init__()
        self.inner, self.heads = inner, heads
        self.norm = nn.GroupNorm(groups, channels)
        self.proj_in = nn.Linear(channels, inner)
        self.level = nn.Linear(level_width, inner)
        self.norm_frames = nn.LayerNorm(inner)
        self.to_qkv = nn.Linear(inner, 3 * inner, bias=False)
        self.frames_out = nn.Linear(inner, inner)
        self.motion: MotionCrossAttention | None = None
        if motion_width is not None:
            self.motion = MotionCrossAttention(inner, heads, motion_width)
        hidden = int(feed_forward * inner)
        self.norm_hidden = nn.LayerNorm(inner)
        self.hidden_in = nn.Linear(inner, hidden)
        self.hidden_out = nn.Linear(hidden, inner)
        self.proj_out = zeroed(nn.Linear(inner, channels))

    def forward(
        self,
        features: Tensor,
        num_frames: int,
        level: Tensor,
        keys: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        window: int | None = None,
    ) -> Tensor:
        """Let every position look at itself in all frames, and at the motion caption.

        Args:
            features: (B F, C, h, w), frames folded into the batch.
            num_frames: F.
            level: (B, E) embedding of noise level and frame rate.
            keys: keys and values of the motion text, from `MotionCrossAttention.project`.
            mask: (B, 1, 1, 1 + Lm) bool, true where a motion token counts.
            window: how many frames see each other at once; None for all.

        Returns:
            (B F, C, h, w).
        """
        height = features.shape[-2]
        video = rearrange(features, "(b f) c h w -> b c f (h w)", f=num_frames)
        told = self.level(level)[:, None]

        def mix(part: Tensor) -> Tensor:
            return self._mix(part, told, keys, mask)

        mixed = mix(video) if window is None else mix_in_windows(mix, video, window)
        return features + rearrange(mixed, "b f (h w) c -> (b f) c h w", h=height)

    def _mix(
        self,
        video: Tensor,
        told: Tensor,
        keys: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
    ) -> Tensor:
        """The transformer: (B, C, F, S) and (B, 1, inner) of the level to (B, F, S, C)."""
        tokens = self.proj_in(rearrange(self.norm(video), "b c f s -> b f s c"))
        frames = torch.arange(video.shape[2], device=video.device)
        place = sinusoids(frames, self.inner).to(tokens.dtype)[None] + told
        tokens = tokens + place[:, :, None]
        tokens = tokens + self._attend_frames(self.norm_frames(tokens))
        if self.motion is not None and keys is not None:
            tokens = tokens + self.motion(tokens, keys, mask)
        hidden = F.gelu(self.hidden_in(self.norm_hidden(tokens)), approximate="tanh")
        out: Tensor = self.proj_out(tokens + self.hidden_out(hidden))
        return out

    def _attend_frames(self, tokens: Tensor) -> Tensor:
        """Self-attention over F at every position: (B, F, S, inner) to the same."""
        batch = tokens.shape[0]
        q, k, v = rearrange(
            self.to_qkv(tokens), "b f s (three n d) -> three (b s) n f d", three=3, n=self.heads
        )
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.frames_out(rearrange(seen, "(b s) n f d -> b f s (n d)", b=batch))
