"""What moved is found in the first frame again, and what was not there is doubted."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from fdream.core.errors import RecipeError
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.first_frame_search import MOST_CELLS, first_frame_patches, search

CELL = 8


def encode(frames):
    """A linear code of patches of 8 pixels, ten numbers each, about unit scale."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 3 * CELL * CELL, generator=generator) / 8
    flat = F.pixel_unshuffle(rearrange(frames, "b c n h w -> (b n) c h w"), CELL)
    codes = torch.einsum("kc,nchw->nkhw", weight, flat)
    return rearrange(codes, "(b n) c h w -> b c n h w", b=frames.shape[0])


def picture(side=64, seed=1):
    """A picture (1, 3, side, side) that looks otherwise everywhere, with details of some pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, side // 4, side // 4, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)


def seen(first, later, noise=0.0, sigma=0.5, seed=2):
    """Search for what ``later`` (1, 3, N, H, W) shows: true codes, answers, doubt."""
    true = encode(later)
    generator = torch.Generator().manual_seed(seed)
    estimate = true + noise * torch.randn(true.shape, generator=generator)
    patches = first_frame_patches(first, encode, CELL)
    latent = encode(first[:, :, None])[:, :, 0]
    return true, *search(estimate, latent, patches, torch.tensor([sigma]))


def inner(values):
    """Without the cells at the edge, into which something unseen has come."""
    return values[..., 2:-2, 2:-2]


@pytest.mark.parametrize(("right", "down"), [(6, 0), (-4, 2), (14, -10)])
def test_what_has_moved_between_cells_is_found_and_is_sharper_than_the_estimate(right, down):
    first = picture()
    moved = torch.roll(first, (down, right), (2, 3))
    # Most of the clip has not moved, so that all of the moved frame is searched for.
    clip = torch.stack([first, first, first, moved], 2)
    true, answers, doubt = seen(first, clip, noise=0.4, sigma=0.8)
    error = inner(answers - true)[:, :, 3].square().mean()
    assert error < 0.02 < 0.16 * true.var()
    assert inner(doubt)[:, :, 3].mean() < 0.02


@pytest.mark.parametrize("scale", [0.55, 0.75, 1.35])
def test_what_has_grown_or_shrunk_is_found(scale):
    first = picture(128)
    side = round(128 * scale)
    other = F.interpolate(first, (side, side), mode="bilinear", antialias=True)
    other = F.pad(other, (0, max(0, 128 - side)) * 2, mode="replicate")[..., :128, :128]
    clip = torch.stack([first, first, first, other], 2)
    true, answers, _ = seen(first, clip, noise=0.3, sigma=0.7)
    within = slice(2, side // CELL - 2)
    error = (answers - true)[:, :, 3, within, within].square().mean()
    assert error < 0.03


def test_what_was_never_shown_is_doubted():
    first = picture()
    known = torch.stack([first, first, first, torch.roll(first, (4, 4), (2, 3))], 2)
    unknown = torch.stack([first, first, first, picture(seed=7)], 2)
    _, _, sure = seen(first, known, sigma=0.8)
    _, _, unsure = seen(first, unknown, sigma=0.8)
    assert inner(unsure)[:, :, 3].mean() > 10 * inner(sure)[:, :, 3].mean()


def test_what_stays_is_answered_with_the_first_frame_itself():
    first = picture()
    clip = torch.stack([first, first, first, torch.roll(first, 6, 3)], 2)
    true, answers, doubt = seen(first, clip)
    still = answers[:, :, :3]
    same = (still == true[:, :, :1]).all(1)
    # The frame that moved is a quarter of the cells, and little more than that is searched for.
    assert same.float().mean() > 0.9
    assert bool((doubt[:, 0, :3][same] == 0).all())
    torch.testing.assert_close(still, true[:, :, :3], atol=0.15, rtol=0)


def test_a_clip_is_answered_alike_alone_and_among_others():
    firsts = torch.cat([picture(seed=k) for k in range(3)])
    later = encode(torch.stack([firsts, torch.roll(firsts, 6, 3)], 2))
    patches = first_frame_patches(firsts, encode, CELL)
    latents = encode(firsts[:, :, None])[:, :, 0]
    sigma = torch.tensor([0.3, 0.6, 0.9])
    together, _ = search(later, latents, patches, sigma)
    for k in range(3):
        one = slice(k, k + 1)
        alone, _ = search(later[one], latents[one], patches[one], sigma[one])
        assert torch.equal(alone, together[one])


def test_large_grids_are_not_searched():
    side = int(MOST_CELLS**0.5) * CELL
    assert first_frame_patches(torch.zeros(1, 3, side, side + CELL), encode, CELL) is None


def test_the_second_gate_answers_with_what_was_found(tiny):
    base = tiny.base("pocket")
    options = {"first_frame_recall": True, "first_frame_search": True}
    motion = tiny.randomise(tiny.motion(base, **options))
    net, schedule = FactorizedUNet(base, motion).eval(), motion.schedule
    condition = tiny.condition(base)
    patches = torch.randn(2, 50, 4 * 9)
    noisy, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([300, 700])
    clean = {}
    with torch.no_grad():
        torch.nn.init.zeros_(motion.recall.conv_out.weight)
        for gate in (0.0, 1.0):
            motion.recall.conv_out.bias.copy_(torch.tensor([0.0, gate]))
            told = replace(condition, patches=patches)
            clean[gate] = schedule.to_clean(net(noisy, t, told).output, noisy, t)
    _, sigma = schedule.signal_and_noise(t)
    found, _ = search(clean[0.0], condition.first_latent, patches, sigma)
    torch.testing.assert_close(clean[1.0], found, atol=1e-4, rtol=0)


def test_a_search_without_gates_is_refused(tiny):
    with pytest.raises(RecipeError, match="first_frame_recall"):
        tiny.motion(tiny.base("pocket"), first_frame_search=True)
