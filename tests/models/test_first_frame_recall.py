"""An open gate answers with the first frame, a closed one with the base."""

import pytest
import torch

from fdream.models.factorized_unet import FactorizedUNet


def opened(motion, gate):
    """Hold the gate at one value everywhere."""
    torch.nn.init.zeros_(motion.recall.conv_out.weight)
    torch.nn.init.constant_(motion.recall.conv_out.bias, gate)
    return motion


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
            opened(motion, gate)
            clean[gate] = schedule.to_clean(net(noisy, t, condition).output, noisy, t)
    torch.testing.assert_close(clean[1.0], first, atol=1e-4, rtol=0)
    torch.testing.assert_close(clean[0.5], (clean[0.0] + first) / 2, atol=1e-4, rtol=0)
    motion.recall = None
    with torch.no_grad():
        alone = schedule.to_clean(net(noisy, t, condition).output, noisy, t)
    torch.testing.assert_close(clean[0.0], alone, atol=1e-5, rtol=0)


def test_almost_clean_samples_are_changed_less_instead_of_without_bound(tiny):
    base = tiny.base("pocket")
    schedule = tiny.motion(base).schedule
    t = torch.arange(schedule.num_steps)
    change = schedule.output_change(torch.ones(len(t), 1), t, 0.25)
    signal, sigma = schedule.signal_and_noise(t)
    assert change.abs().max() <= 4
    bounded = sigma >= 0.25
    moved = schedule.to_clean(change, torch.zeros_like(change), t)[:, 0]
    torch.testing.assert_close(moved[bounded], torch.ones(int(bounded.sum())))
    assert bool((moved[~bounded] < 1).all())
    assert signal[-1] == 0
