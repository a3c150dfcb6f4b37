"""Any autoencoder of images serves for video, in chunks that change nothing but memory."""

import pytest
import torch
from diffusers import AutoencoderKL
from einops import rearrange

from fdream.models.latents import (
    decode_latents,
    encode_latents,
    latent_downscale,
    latent_scaling,
)


@pytest.fixture
def kl():
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.5,
        shift_factor=0.25,
    ).eval()


@torch.no_grad()
def test_frames_are_coded_one_by_one_whatever_the_chunk(kl):
    frames = torch.rand(2, 3, 5, 16, 24) * 2 - 1
    latents = encode_latents(kl, frames)
    assert latents.shape == (2, 4, 5, 8, 12)
    one = (kl.encode(frames[1:, :, 3]).latent_dist.mean - 0.25) * 0.5
    torch.testing.assert_close(latents[1:, :, 3], one, atol=1e-5, rtol=1e-5)
    video = decode_latents(kl, latents)
    assert video.shape == frames.shape
    for chunk in (1, 3, 100):
        torch.testing.assert_close(encode_latents(kl, frames, chunk), latents, atol=1e-5, rtol=0)
        torch.testing.assert_close(decode_latents(kl, latents, chunk), video, atol=1e-5, rtol=0)


@torch.no_grad()
def test_scaling_is_undone(kl):
    latents = torch.randn(1, 4, 2, 4, 4)
    raw = rearrange(latents / 0.5 + 0.25, "b c f h w -> (b f) c h w")
    theirs = rearrange(kl.decode(raw).sample, "(b f) c h w -> b c f h w", f=2)
    torch.testing.assert_close(decode_latents(kl, latents), theirs, atol=1e-5, rtol=0)
    assert latent_scaling(kl) == 0.5
    assert latent_downscale(kl) == 2


def test_chunks_never_exceed_what_was_asked(kl, monkeypatch):
    seen = []
    decode = kl.decode
    monkeypatch.setattr(kl, "decode", lambda z: seen.append(len(z)) or decode(z))
    with torch.no_grad():
        decode_latents(kl, torch.randn(1, 4, 7, 4, 4), chunk=3)
    assert seen == [3, 3, 1]
