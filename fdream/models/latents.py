"""Between frames and latents: any autoencoder of images, a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

# Decoding is the peak of memory in generation; eight frames keep a CPU busy already.
CHUNK_FRAMES = 8


def encode_latents(vae: nn.Module, frames: Tensor, chunk: int = CHUNK_FRAMES) -> Tensor:
    """Encode a video frame by frame.

    Args:
        vae: diffusers' `AutoencoderKL` (the mean is taken, not a draw) or our `PatchAutoencoder`.
        frames: (B, 3, F, H, W) in [-1, 1].
        chunk: frames encoded at once.

    Returns:
        (B, C, F, h, w), scaled as the base takes them.
    """

    coder: Any = vae

    def encode(pictures: Tensor) -> Tensor:
        coded = coder.encode(pictures)
        if isinstance(coded, Tensor):
            return coded
        shift, scale = _shift_and_scale(vae)
        mean: Tensor = coded.latent_dist.mode()
        return (mean - shift) * scale

    return _by_frames(encode, frames, chunk)


def decode_latents(vae: nn.Module, latents: Tensor, chunk: int = CHUNK_FRAMES) -> Tensor:
    """Decode a video frame by frame.

    Args:
        vae: as for `encode_latents`.
        latents: (B, C, F, h, w), scaled as the base takes them.
        chunk: frames decoded at once.

    Returns:
        (B, 3, F, H, W), about [-1, 1], not clipped.
    """
    coder: Any = vae
    shift, scale = _shift_and_scale(vae)

    def decode(codes: Tensor) -> Tensor:
        drawn = coder.decode(codes / scale + shift)
        pictures: Tensor = drawn if isinstance(drawn, Tensor) else drawn.sample
        return pictures

    return _by_frames(decode, latents, chunk)


def in_tiles(vae: nn.Module) -> nn.Module:
    """Have an autoencoder that can work in tiles do so, from 512 pixels on; return it."""
    coder: Any = vae
    if hasattr(coder, "enable_tiling"):
        coder.enable_tiling()
    return vae


def latent_scaling(vae: nn.Module) -> float:
    """The factor from raw latents to those the base takes, which a motion file stores."""
    return _shift_and_scale(vae)[1]


def latent_downscale(vae: nn.Module) -> int:
    """How many pixels a latent cell covers along each side."""
    config: Any = vae.config
    widths = config.get("block_out_channels")
    return int(config.get("patch") or 2 ** (len(widths) - 1))


def _shift_and_scale(vae: nn.Module) -> tuple[float, float]:
    """Latents the base takes are (raw - shift) * scale."""
    config: Any = vae.config
    return float(config.get("shift_factor") or 0.0), float(config.get("scaling_factor") or 1.0)


def _by_frames(function: Callable[[Tensor], Tensor], video: Tensor, chunk: int) -> Tensor:
    """Apply a function of images to a video, a few frames at a time."""
    frames = rearrange(video, "b c f h w -> (b f) c h w")
    done = torch.cat([function(part) for part in frames.split(chunk)])
    return rearrange(done, "(b f) c h w -> b c f h w", f=video.shape[2])
