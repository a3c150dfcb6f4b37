"""The pocket VAE's deterministic stand-in: a linear patch code with a learned correction.

A patch PCA, fitted in closed form, is already a fair autoencoder for painted pictures; the
convolutional correction starts at exactly zero and learns what the patches cannot see of their
neighbours. Latents come out centred and scaled, so ``scaling_factor`` is 1.

Ours: the paper takes its base's VAE; this one exists because pocket must train and run on two CPU
cores.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Code each square patch linearly, and correct code and picture with a small ConvNet.

    Args:
        patch: side of a patch, pixels, a multiple of 4; also the ratio between picture and latent
            grid.
        latent_channels: numbers kept for each patch.
        width: channels of the correction networks on the latent grid.
        depth: residual blocks in each correction network.
        correct_encoder: whether the code is corrected too. Ours: a purely linear code reconstructs
            less, but keeps the patches' own geometry, which a small network learns to draw sooner.
        scaling_factor: kept at 1 for pipelines that expect the key; scales live in buffers.
    """

    @register_to_config
    def __init__(
        self,
        patch: int = 8,
        latent_channels: int = 16,
        width: int = 96,
        depth: int = 3,
        correct_encoder: bool = True,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        size = 3 * patch * patch
        self.analysis = nn.Linear(size, latent_channels)
        self.synthesis = nn.Linear(latent_channels, size)
        self.encoder_correction: nn.Sequential | None = None
        if correct_encoder:
            self.encoder_correction = nn.Sequential(
                nn.Conv2d(size, width, 1),
                *(ResidualBlock(width) for _ in range(depth)),
                _zero(nn.Conv2d(width, latent_channels, 3, padding=1)),
            )
        else:
            self.analysis.requires_grad_(False)
        # The picture is corrected on finer and finer grids: edges need a resolution that a patch
        # lacks.
        fine, finest = width // 2, width // 4
        self.decoder_correction = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(depth)),
            nn.Conv2d(width, 4 * fine, 1),
            nn.PixelShuffle(2),
            ResidualBlock(fine),
            ResidualBlock(fine),
            nn.Conv2d(fine, 4 * finest, 1),
            nn.PixelShuffle(2),
            ResidualBlock(finest),
            _zero(nn.Conv2d(finest, 3 * (patch // 4) ** 2, 3, padding=1)),
            nn.PixelShuffle(patch // 4),
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_scale", torch.ones(latent_channels))
        self.latent_mean: Tensor
        self.latent_scale: Tensor

    def encode(self, pictures: Tensor) -> Tensor:
        """Code pictures.

        Args:
            pictures: (B, 3, H, W) in [-1, 1]; H and W multiples of ``patch``.

        Returns:
            (B, C, H / patch, W / patch), about zero mean and unit scale.

        Raises:
            ValueError: a side is no multiple of ``patch``.
        """
        patch = self.config.patch
        if pictures.shape[-2] % patch or pictures.shape[-1] % patch:
            raise ValueError(
                f"picture sides {tuple(pictures.shape[-2:])} must be multiples of {patch}"
            )
        kernels = rearrange(self.analysis.weight, "k (c y x) -> k c y x", y=patch, x=patch)
        code = F.conv2d(pictures, kernels, self.analysis.bias, stride=patch)
        if self.encoder_correction is not None:
            code = code + self.encoder_correction(F.pixel_unshuffle(pictures, patch))
        return (code - self._per_channel(self.latent_mean)) * self._per_channel(self.latent_scale)

    def decode(self, latents: Tensor) -> Tensor:
        """Draw pictures from latents.

        Args:
            latents: (B, C, h, w) as ``encode`` returns them.

        Returns:
            (B, 3, h * patch, w * patch), about [-1, 1], not clipped.
        """
        code = latents / self._per_channel(self.latent_scale) + self._per_channel(self.latent_mean)
        patches = F.conv2d(code, self.synthesis.weight[..., None, None], self.synthesis.bias)
        return F.pixel_shuffle(patches, self.config.patch) + self.decoder_correction(latents)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the round trip of pictures, (B, 3, H, W)."""
        return self.decode(self.encode(pictures))

    @torch.no_grad()
    def fit_patches(self, pictures: Tensor, scale_power: float = 0.45) -> None:
        """Set the linear path to the principal components of the pictures' patches, in closed form.

        Args:
            pictures: (B, 3, H, W) in [-1, 1].
            scale_power: channel k is divided by its deviation to this power, then all by a common
                factor to unit mean square: 0 keeps PCA's steep spectrum, 1 whitens noise up.

        Ours: a power of 0.45 gave the best samples of the values tried.
        """
        patches = rearrange(
            F.pixel_unshuffle(pictures, self.config.patch), "b c h w -> (b h w) c"
        ).double()
        mean = patches.mean(0)
        centred = patches - mean
        spread, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        keep = self.config.latent_channels
        spread, axes = spread.flip(0)[:keep], axes.flip(1)[:, :keep]
        self.analysis.weight.copy_(axes.T)
        self.analysis.bias.copy_(-(mean @ axes))
        self.synthesis.weight.copy_(axes)
        self.synthesis.bias.copy_(mean)
        scale = spread.sqrt() ** -scale_power
        scale /= (spread * scale.square()).mean().sqrt()
        self.latent_mean.zero_()
        self.latent_scale.copy_(scale)

    @staticmethod
    def _per_channel(values: Tensor) -> Tensor:
        return rearrange(values, "c -> 1 c 1 1")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, normalised once; (B, C, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, width // 16), width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(F.silu(self.first(F.silu(self.norm(features)))))


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
