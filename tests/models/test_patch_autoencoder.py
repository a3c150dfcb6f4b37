"""The patch code is a fair autoencoder before any training, and the correction starts silent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fdream.models.patch_autoencoder import PatchAutoencoder
from fdream.stages.builtin.pixels import to_unit
from fdream.training.pictures import SpriteWorldOptions, StillSource, psnr

STILLS = StillSource(SpriteWorldOptions(sprites="plain", size=(64, 64), frames=4), validation=16)


def stills(count: int) -> torch.Tensor:
    return to_unit(np.stack([STILLS.draw(k).frame for k in range(count)]))


def fresh(**options: int) -> PatchAutoencoder:
    torch.manual_seed(0)
    return PatchAutoencoder(**({"width": 16, "depth": 1} | options)).eval()


@pytest.fixture(scope="module")
def fitted() -> PatchAutoencoder:
    vae = fresh()
    vae.fit_patches(stills(48))
    return vae


@torch.no_grad()
def held_out_psnr(vae: PatchAutoencoder) -> float:
    pictures = to_unit(STILLS.held_out_frames())
    return psnr(F.mse_loss(vae(pictures).clamp(-1, 1), pictures))


def test_the_closed_form_start_is_a_fair_autoencoder(fitted: PatchAutoencoder) -> None:
    flat = to_unit(STILLS.held_out_frames())
    nothing = psnr(flat.var(correction=0))
    assert held_out_psnr(fitted) > 22
    assert held_out_psnr(fitted) > nothing + 8
    assert held_out_psnr(fitted) > held_out_psnr(fresh()) + 8


def test_more_channels_keep_more_of_a_picture(fitted: PatchAutoencoder) -> None:
    coarse = fresh(latent_channels=4)
    coarse.fit_patches(stills(48))
    assert held_out_psnr(coarse) < held_out_psnr(fitted)


@torch.no_grad()
def test_the_correction_is_exactly_zero_at_the_start(fitted: PatchAutoencoder) -> None:
    pictures = stills(2)
    latents = fitted.encode(pictures)
    assert not fitted.encoder_correction(F.pixel_unshuffle(pictures, 8)).any()
    assert not fitted.decoder_correction(latents).any()


def test_the_correction_hears_a_gradient_at_once(fitted: PatchAutoencoder) -> None:
    vae = fresh()
    vae.load_state_dict(fitted.state_dict())
    pictures = stills(2)
    F.mse_loss(vae(pictures), pictures).backward()
    for network in (vae.encoder_correction, vae.decoder_correction):
        assert any(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("power", [0.0, 0.45, 1.0])
@torch.no_grad()
def test_latents_are_centred_with_unit_mean_square(power: float) -> None:
    vae, pictures = fresh(), stills(48)
    vae.fit_patches(pictures, power)
    latents = vae.encode(pictures)
    assert latents.shape == (48, 16, 8, 8)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert latents.square().mean().item() == pytest.approx(1, abs=1e-3)
    spread = latents.square().mean((0, 2, 3))
    assert (spread.max() / spread.min() < 1.01) == (power == 1.0)


@torch.no_grad()
def test_any_size_of_whole_patches_makes_the_round_trip(fitted: PatchAutoencoder) -> None:
    pictures = torch.rand(1, 3, 24, 40) * 2 - 1
    assert fitted.encode(pictures).shape == (1, 16, 3, 5)
    assert fitted(pictures).shape == pictures.shape


@pytest.mark.parametrize("size", [(60, 64), (64, 60), (7, 8)])
def test_sizes_that_are_no_multiple_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        fresh().encode(torch.zeros(1, 3, *size))
