"""Train the patch autoencoder: closed-form start, then a convolutional correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fdream.core.device import DeviceManager
from fdream.core.report import Reporter
from fdream.models.patch_autoencoder import PatchAutoencoder
from fdream.stages.builtin.pixels import to_unit
from fdream.training.objective import Batch, Drawing, Objective, ObjectiveOptions, Share
from fdream.training.pictures import StillSource, contact_sheet, psnr


class AutoencoderOptions(ObjectiveOptions):
    patch: int = 8
    latent_channels: int = 16
    width: int = 96
    depth: int = 3
    correct_encoder: bool = True
    scale_power: float = 0.45
    fit_pictures: int = 1024
    """Pictures for the closed-form start."""
    edge_weight: float = 0.5
    """Ten times the weight of the L1 loss on differences of neighbouring pixels."""
    latent_noise: float = 0.05
    """Deviation of noise on the latents while decoding: the decoder learns to forgive the sampler's
    last errors."""


@dataclass(frozen=True)
class StillBatch(Batch):
    """Stills and what disturbs their latents.

    Attributes:
        pictures: (B, 3, H, W) in [-1, 1].
        noise: (B, C, h, w), standard normal.
    """

    pictures: Tensor
    noise: Tensor


class AutoencoderObjective(Objective[StillBatch]):
    """Reconstruct stills: squared error plus L1 on edges.

    Ours: there is no paper to follow here; the L1 term stands against blurred outlines.
    """

    Options = AutoencoderOptions

    def __init__(
        self, options: AutoencoderOptions, stills: StillSource, device: DeviceManager
    ) -> None:
        self.options = options
        self.stills = stills
        self.device = device
        self.vae = PatchAutoencoder(
            patch=options.patch,
            latent_channels=options.latent_channels,
            width=options.width,
            depth=options.depth,
            correct_encoder=options.correct_encoder,
        )
        self.modules = {"vae": self.vae}

    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        reporter.say("fitting the patches in closed form")
        self.vae.fit_patches(self._pictures(range(self.options.fit_pictures)))
        self.held_out = to_unit(self.stills.held_out_frames()).to(self.device.torch_device)

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> StillBatch:
        indices = range(step * batch_size, (step + 1) * batch_size)
        height, width = (side // self.options.patch for side in self.stills.options.size)
        shape = (batch_size, self.options.latent_channels, height, width)
        noise = torch.randn(shape, generator=generator)
        mine = share.of(indices)
        return StillBatch([f"still {i}" for i in mine], self._pictures(mine), share.of(noise))

    def loss(self, batch: StillBatch) -> tuple[Tensor, dict[str, Tensor]]:
        pictures = batch.pictures
        latents = self.vae.encode(pictures)
        drawn = self.vae.decode(latents + self.options.latent_noise * batch.noise)
        error, square = reconstruction_error(drawn, pictures, self.options.edge_weight)
        # The latents' mean square is held at one, so that the schedule means the same all through
        # training.
        drift = (latents.square().mean() - 1).square()
        return error + 0.1 * drift, {
            "psnr": psnr(square),
            "latent_rms": latents.square().mean().sqrt(),
        }

    def validate(self) -> dict[str, float]:
        drawn = self.vae(self.held_out).clamp(-1, 1)
        return {"psnr": psnr(F.mse_loss(drawn, self.held_out)).item()}

    def drawing(self) -> Drawing:
        pictures = self.held_out[:8]
        return Drawing(contact_sheet([pictures, self.vae(pictures)]))

    def components(self) -> Mapping[str, Any]:
        return {"vae": self.vae}

    def information(self) -> Mapping[str, Any]:
        return {"name": "autoencoder", **self.stills.information()}

    def _pictures(self, indices: range) -> Tensor:
        return to_unit(np.stack([self.stills.draw(i).frame for i in indices]))


def reconstruction_error(
    drawn: Tensor, pictures: Tensor, edge_weight: float
) -> tuple[Tensor, Tensor]:
    """Squared error plus L1 on differences of neighbouring pixels, which blurred outlines raise.

    Args:
        drawn: (B, 3, H, W), about [-1, 1].
        pictures: what they should be, likewise.
        edge_weight: ten times the weight of the L1 part.

    Returns:
        The whole, and the squared error alone; two scalars.
    """
    square = F.mse_loss(drawn, pictures)
    edges = F.l1_loss(drawn.diff(dim=-1), pictures.diff(dim=-1)) + F.l1_loss(
        drawn.diff(dim=-2), pictures.diff(dim=-2)
    )
    return square + 0.1 * edge_weight * edges, square
