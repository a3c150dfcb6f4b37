"""An open gate answers with the first frame, moved; a closed one with the base."""

import pytest
import torch
import torch.nn.functional as F

from fdream.models.conditions import FlowTarget
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.first_frame_recall import FirstFrameRecall
from fdream.models.flow_ops import origin_loss
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.patch_autoencoder import PatchAutoencoder


def held(recall, gate, right=0.0):
    """Hold the gate at one value, and have everything come from so many cells to the right."""
    for layer in (recall.conv_out, recall.move_out):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(recall.conv_out.bias, gate)
    recall.move_out.bias.data = torch.tensor([right, 0.0])
    return recall


@pytest.mark.parametrize("family", ["sd15", "pocket"])
def test_the_gate_decides_between_the_base_and_the_first_frame(tiny, family):
    base = tiny.base(family)
    motion = tiny.randomise(tiny.motion(base, family, first_frame_recall=True))
    net, schedule = FactorizedUNet(base, motion).eval(), motion.schedule
    condition = tiny.condition(base)
    # Noisy enough that a change of the clean sample is not held back.
    noisy, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([300, 700])
    first = condition.first_latent[:, :, None].expand_as(noisy)
    clean = {}
    with torch.no_grad():
        for gate in (0.0, 0.5, 1.0):
            held(motion.recall, gate)
            clean[gate] = schedule.to_clean(net(noisy, t, condition).output, noisy, t)
    torch.testing.assert_close(clean[1.0], first, atol=1e-4, rtol=0)
    torch.testing.assert_close(clean[0.5], (clean[0.0] + first) / 2, atol=1e-4, rtol=0)
    motion.recall = None
    with torch.no_grad():
        alone = schedule.to_clean(net(noisy, t, condition).output, noisy, t)
    torch.testing.assert_close(clean[0.0], alone, atol=1e-5, rtol=0)


@pytest.fixture
def coder():
    """A linear patch code fitted to smooth pictures, and eight of those."""
    pictures = F.interpolate(
        torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0)),
        (64, 64),
        mode="bicubic",
    ).clamp(-1, 1)
    vae = PatchAutoencoder(patch=8, latent_channels=6, width=8, depth=1, correct_encoder=False)
    vae.fit_patches(pictures)
    return vae, pictures


def test_what_comes_from_elsewhere_is_the_latent_of_the_moved_picture(coder):
    vae, pictures = coder
    latents = vae.encode(pictures).detach()
    recall = FirstFrameRecall(6, channels=5, level_width=4, cell=8)
    recall.fit(pictures, latents)
    assert recall.fitted
    schedule = NoiseSchedule.pocket()
    noisy, t = torch.randn(8, 6, 3, 8, 8), torch.full((8,), 800)
    features, level = torch.randn(24, 5, 8, 8), torch.randn(8, 4)
    for right in (1.0, 0.375):  # a whole cell, and three pixels
        held(recall, 1.0, right)
        with torch.no_grad():
            output, moved = recall(
                torch.randn(noisy.shape), features, noisy, t, latents, pictures, level, schedule
            )
        clean = schedule.to_clean(output, noisy, t)
        torch.testing.assert_close(clean[:, :, 0], latents, atol=1e-4, rtol=0)
        assert not moved[:, :, 0].any()
        pixels = round(8 * right)
        shifted = vae.encode(pictures.roll(-pixels, dims=-1)).detach()
        # The last column comes from outside the picture.
        for frame in (1, 2):
            torch.testing.assert_close(
                clean[:, :, frame, :, :-1], shifted[..., :-1], atol=1e-3, rtol=1e-3
            )


def test_before_it_is_fitted_places_are_recalled_where_they_are(coder):
    vae, pictures = coder
    latents = vae.encode(pictures).detach()
    recall = held(FirstFrameRecall(6, channels=5, level_width=4, cell=8), 1.0, right=2.0)
    assert not recall.fitted
    schedule = NoiseSchedule.pocket()
    noisy, t = torch.randn(8, 6, 2, 8, 8), torch.full((8,), 800)
    with torch.no_grad():
        output, _ = recall(
            torch.randn(noisy.shape),
            torch.randn(16, 5, 8, 8),
            noisy,
            t,
            latents,
            pictures,
            torch.randn(8, 4),
            schedule,
        )
    clean = schedule.to_clean(output, noisy, t)
    torch.testing.assert_close(clean[:, :, 1], latents, atol=1e-4, rtol=0)


def test_origins_are_followed_through_the_flow_of_all_frames():
    """A square drifts right by two cells a frame; its cells must point back all the way."""
    flow, truth = torch.zeros(1, 2, 3, 16, 16), torch.zeros(1, 2, 4, 16, 16)
    visible = torch.ones(1, 1, 3, 16, 16)
    for frame in range(4):
        rows, columns = slice(5, 9), slice(2 + 2 * frame, 6 + 2 * frame)
        truth[:, 0, frame, rows, columns] = -2.0 * frame
        if frame < 3:
            flow[:, 0, frame, rows, columns] = 16.0
            # What the square comes to lie on is seen no more.
            visible[:, :, frame, rows, columns.start + 4 : columns.stop + 2] = 0
    target, signal = FlowTarget(flow, visible), torch.ones(1)
    assert origin_loss(truth, target, signal, (8.0, 8.0)) < 1e-6
    still = origin_loss(torch.zeros_like(truth), target, signal, (8.0, 8.0))
    half = origin_loss(truth / 2, target, signal, (8.0, 8.0))
    assert still > half > 0.1
    # Where there is only noise, nothing is asked.
    assert origin_loss(torch.zeros_like(truth), target, torch.zeros(1), (8.0, 8.0)) == 0


def test_almost_clean_samples_are_changed_less_instead_of_without_bound(tiny):
    base = tiny.base("pocket")
    schedule = tiny.motion(base).schedule
    t = torch.arange(schedule.num_steps)
    change = schedule.output_change(torch.ones(len(t), 1), t, 0.25)
    _, sigma = schedule.signal_and_noise(t)
    assert change.abs().max() <= 4
    bounded = sigma >= 0.25
    moved = schedule.to_clean(change, torch.zeros_like(change), t)[:, 0]
    torch.testing.assert_close(moved[bounded], torch.ones(int(bounded.sum())))
    assert bool((moved[~bounded] < 1).all())
