"""What moved is found as the first frame, moved; what it never showed is doubted."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from fdream.core.errors import RecipeError
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.first_frame_search import MOST_CELLS, first_frame_views, search, views_spectrum

CELL, SIDE, FRAMES = 8, 96, 6


def encode(frames):
    """A linear code of patches of 8 pixels, ten numbers each, about unit scale."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 3 * CELL * CELL, generator=generator) / 8
    flat = F.pixel_unshuffle(rearrange(frames, "b c n h w -> (b n) c h w"), CELL)
    codes = torch.einsum("kc,nchw->nkhw", weight, flat)
    return rearrange(codes, "(b n) c h w -> b c n h w", b=frames.shape[0])


def thing(seed=1, side=32):
    """What moves: a picture (3, side, side) with details of some pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, side // 4, side // 4, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(-1, 1)


def clip(*places, size=32, sizes=None, seed=1):
    """Frames (1, 3, F, H, W) of the thing before a grey wall, its middle at (row, column)."""
    frames = torch.full((3, len(places), SIDE, SIDE), 0.1)
    for k, (row, column) in enumerate(places):
        side = size if sizes is None else sizes[k]
        drawn = F.interpolate(thing(seed)[None], (side, side), mode="bilinear", antialias=True)[0]
        top, left = row - side // 2, column - side // 2
        frames[:, k, top : top + side, left : left + side] = drawn
    return frames[None]


def found(frames, first=None, estimate=None, noise=0.0, sigma=0.5):
    """Search for what frames show: true codes, answers, doubt, and where the thing is."""
    first = frames[:, :, 0] if first is None else first
    true = encode(frames)
    generator = torch.Generator().manual_seed(2)
    if estimate is None:
        estimate = true + noise * torch.randn(true.shape, generator=generator)
    views = first_frame_views(first, encode, CELL)
    latent = encode(first[:, :, None])[:, :, 0]
    spectrum = views_spectrum(views)
    answers, doubt = search(estimate, latent, views, spectrum, torch.tensor([sigma]))
    inside = F.avg_pool2d((frames[0] != 0.1).float().mean(0)[:, None], CELL)[:, 0] > 0.9
    return true, answers, doubt, inside[None, None]


def mean_error(true, answers, inside, frame):
    """Mean squared error of the cells inside of the thing, in one frame."""
    error = (answers - true).square().mean(1, keepdim=True)
    return error[:, :, frame][inside[:, :, frame]].mean()


@pytest.mark.parametrize("stride", [(0, 6), (2, -4), (-4, 2), (1, 5)])
def test_what_moves_between_cells_is_found_and_is_sharper_than_the_estimate(stride):
    frames = clip(*((48 + k * stride[0], 44 + k * stride[1]) for k in range(FRAMES)))
    true, answers, _, inside = found(frames, noise=0.5, sigma=0.9)
    for frame in range(1, FRAMES):
        # Places are two pixels apart.
        on_a_place = all(frame * step % 2 == 0 for step in stride)
        assert mean_error(true, answers, inside, frame) < (0.01 if on_a_place else 0.3), frame


def test_a_thing_that_an_estimate_shows_faintly_is_found_too():
    frames = clip(*((48, 40 + 4 * k) for k in range(FRAMES)))
    wall = torch.full_like(frames, 0.1)
    faint = encode(0.7 * frames + 0.3 * wall)
    true, answers, _, inside = found(frames, estimate=faint, sigma=0.6)
    for frame in range(2, FRAMES):
        assert mean_error(true, answers, inside, frame) < 0.02, frame


@pytest.mark.parametrize("last", [20, 50])
def test_what_grows_or_shrinks_is_found(last):
    sizes = [2 * round((32 + (last - 32) * k / (FRAMES - 1)) / 2) for k in range(FRAMES)]
    frames = clip(*[(48, 48)] * FRAMES, sizes=sizes)
    true, answers, _, inside = found(frames, noise=0.3, sigma=0.7)
    still = true[:, :, :1].expand_as(true)
    for frame in range(2, FRAMES):
        error = mean_error(true, answers, inside, frame)
        assert error < 0.5 * mean_error(true, still, inside, frame), frame


def test_a_frame_that_shows_two_places_goes_on_from_the_one_before_it():
    frames = clip(*((48, 32 + 3 * k) for k in range(FRAMES)))
    far = clip(*[(48, 78)] * FRAMES)
    estimate = encode(frames)
    wall = encode(torch.full_like(frames, 0.1))[:, :, 3]
    estimate[:, :, 3] += encode(far)[:, :, 3] - wall
    true, answers, _, inside = found(frames, estimate=estimate, sigma=0.9)
    assert mean_error(true, answers, inside, 3) < 0.2


def test_what_was_never_shown_is_doubted():
    places = [(48, 40 + 4 * k) for k in range(FRAMES)]
    _, _, sure, inside = found(clip(*places), sigma=0.8)
    other = clip(*places, seed=7)
    _, _, unsure, _ = found(other, first=clip(*places)[:, :, 0], sigma=0.8)
    assert unsure[inside].mean() > 3 * sure[inside].mean()


def test_what_stays_is_answered_with_the_first_frame_itself():
    frames = clip(*[(48, 48)] * FRAMES)
    true, answers, doubt, _ = found(frames, noise=0.1)
    assert torch.equal(answers, true[:, :, :1].expand_as(true))
    assert not doubt.any()


def test_a_clip_is_answered_alike_alone_and_among_others():
    frames = torch.cat([clip((48, 40), (48, 40 + 3 * k), (50, 44), seed=k) for k in range(1, 4)])
    firsts, later = frames[:, :, 0], encode(frames)
    views = first_frame_views(firsts, encode, CELL)
    spectrum = views_spectrum(views)
    sigma = torch.tensor([0.3, 0.6, 0.9])
    together, _ = search(later, later[:, :, 0], views, spectrum, sigma)
    for k in range(3):
        one = slice(k, k + 1)
        alone, _ = search(later[one], later[one, :, 0], views[one], spectrum[one], sigma[one])
        assert torch.equal(alone, together[one])


def test_large_grids_are_not_searched():
    side = int(MOST_CELLS**0.5) * CELL
    assert first_frame_views(torch.zeros(1, 3, side, side + CELL), encode, CELL) is None


def test_the_second_gate_answers_with_what_was_found(tiny):
    base = tiny.base("pocket")
    motion = tiny.motion(base, first_frame_recall=True, first_frame_search=True)
    net, schedule = FactorizedUNet(base, tiny.randomise(motion)).eval(), motion.schedule
    condition = tiny.condition(base)
    generator = torch.Generator().manual_seed(5)
    codes = torch.randn(2, 10, 16, 4, 16, 16, generator=generator)
    views = torch.cat([codes, codes.square().sum(3, keepdim=True)], 3)
    condition = replace(condition, views=views)
    noisy, t = torch.randn(2, 4, 3, 8, 8, generator=generator), torch.tensor([300, 700])
    clean = {}
    with torch.no_grad():
        torch.nn.init.zeros_(motion.recall.conv_out.weight)
        for gate in (0.0, 1.0):
            motion.recall.conv_out.bias.copy_(torch.tensor([0.0, gate]))
            clean[gate] = schedule.to_clean(net(noisy, t, condition).output, noisy, t)
    _, sigma = schedule.signal_and_noise(t)
    latent, spectrum = condition.first_latent, views_spectrum(views)
    answer, _ = search(clean[0.0], latent, views, spectrum, sigma)
    torch.testing.assert_close(clean[1.0], answer, atol=1e-4, rtol=0)


def test_a_search_without_gates_is_refused(tiny):
    with pytest.raises(RecipeError, match="first_frame_recall"):
        tiny.motion(tiny.base("pocket"), first_frame_search=True)
