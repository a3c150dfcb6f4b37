"""A fresh video network is the image network, and a trained one refuses what it is not."""

from dataclasses import replace

import pytest
import torch
from einops import rearrange, repeat

from fdream.core.errors import WeightsError
from fdream.models.conditions import VideoCondition
from fdream.models.factorized_unet import FactorizedUNet

FAMILIES = ("sd15", "sd21", "sdxl", "pocket")


def frame_by_frame(base, noisy, t, condition: VideoCondition):
    """The bare base on the same frames, with the same steps and text."""
    frames = noisy.shape[2]
    added = {
        key: repeat(value, "b d -> (b f) d", f=frames)
        for key, value in (condition.added or {}).items()
    }
    output = base(
        rearrange(noisy, "b c f h w -> (b f) c h w"),
        repeat(t, "b -> (b f)", f=frames),
        repeat(condition.text, "b l d -> (b f) l d", f=frames),
        added_cond_kwargs=added,
    ).sample
    return rearrange(output, "(b f) c h w -> b c f h w", f=frames)


@pytest.mark.parametrize("size", [(8, 8), (9, 13)], ids=["even", "odd"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_video_network_is_the_base_frame_by_frame(tiny, family, size):
    base = tiny.base(family)
    net = FactorizedUNet(base, tiny.motion(base, family)).eval()
    condition = tiny.condition(base, batch=3, size=size)
    noisy = torch.randn(3, 4, 5, *size, generator=torch.Generator().manual_seed(4))
    t = torch.tensor([3, 411, 998])
    with torch.no_grad():
        video = net(noisy, t, condition).output
        images = frame_by_frame(base, noisy, t, condition)
    torch.testing.assert_close(video, images, atol=1e-5, rtol=0)
    # The condition is not empty talk: once learned, it changes the answer.
    with torch.no_grad():
        tiny.randomise(net.motion)
        assert (net(noisy, t, condition).output - images).abs().max() > 1e-2


def test_a_trained_network_still_knows_one_frame_as_an_image(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base, adapter="none"))).eval()
    condition = tiny.condition(base)
    noisy, t = torch.randn(2, 4, 1, 8, 8), torch.tensor([100, 900])
    with torch.no_grad():
        prediction = net(noisy, t, condition)
        images = frame_by_frame(base, noisy, t, condition)
    torch.testing.assert_close(prediction.output, images, atol=1e-5, rtol=0)
    assert prediction.taps == []


def test_the_base_stays_frozen_in_eval_and_unchanged(tiny):
    base = tiny.base("pocket")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    net = FactorizedUNet(base, tiny.motion(base)).train()
    assert net.motion.training
    assert not base.training
    optimizer = torch.optim.AdamW((p for p in net.parameters() if p.requires_grad), lr=1e-2)
    net(
        torch.randn(2, 4, 3, 8, 8), torch.tensor([5, 800]), tiny.condition(base)
    ).output.square().mean().backward()
    optimizer.step()
    assert all(parameter.grad is None for parameter in base.parameters())
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())


def learn(net, condition, steps=4):
    """A few optimizer steps towards noise; the gradients of the last one stay."""
    generator = torch.Generator().manual_seed(5)
    schedule = net.motion.schedule
    optimizer = torch.optim.AdamW(net.motion.parameters(), lr=1e-3)
    for _ in range(steps):
        noise = torch.randn(2, 4, 4, 8, 8, generator=generator)
        clean = torch.randn(2, 4, 4, 8, 8, generator=generator)
        t = schedule.sample_t(2, generator)
        optimizer.zero_grad()
        output = net(schedule.add_noise(clean, noise, t), t, condition).output
        (output - schedule.target(clean, noise, t)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("adapter", ["attention", "concat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_motion_parameter_learns_within_four_steps(tiny, family, adapter):
    base = tiny.base(family)
    motion = tiny.motion(base, family, adapter=adapter, first_frame_recall=True)
    net = FactorizedUNet(base, motion).train()
    learn(net, tiny.condition(base))
    silent = [
        name
        for name, parameter in net.motion.named_parameters()
        if parameter.grad is None or not bool((parameter.grad != 0).any())
    ]
    assert silent == []


def test_checkpointing_changes_memory_and_nothing_else(tiny):
    base = tiny.base("sdxl")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base, "sdxl"))).train()
    condition, noisy, t = tiny.condition(base), torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700])

    def gradients(checkpointing):
        net.gradient_checkpointing = checkpointing
        net.zero_grad()
        prediction = net(noisy, t, condition)
        loss = prediction.output.square().mean() + sum(
            tap.square().mean() for tap in prediction.taps
        )
        loss.backward()
        return loss, [p.grad.clone() for p in net.motion.parameters()]

    (plain, plain_grads), (again, again_grads) = gradients(False), gradients(True)
    torch.testing.assert_close(again, plain)
    torch.testing.assert_close(again_grads, plain_grads)


def test_padding_of_the_motion_caption_has_no_effect(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    condition = tiny.condition(base)
    noisy, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700])
    motion, mask = condition.motion_text, condition.motion_mask
    noise = torch.randn_like(motion)

    def answer(text, mask):
        with torch.no_grad():
            return net(noisy, t, replace(condition, motion_text=text, motion_mask=mask)).output

    plain = answer(motion, mask)
    other_padding = answer(torch.where(mask[..., None], motion, noise), mask)
    torch.testing.assert_close(other_padding, plain, atol=1e-6, rtol=0)
    other_words = answer(torch.where(mask[..., None], noise, motion), mask)
    assert (other_words - plain).abs().max() > 1e-4
    # A caption of padding alone is no caption, and no number is lost to an empty softmax.
    nothing = answer(noise, torch.zeros_like(mask))
    torch.testing.assert_close(nothing, answer(None, None), atol=1e-6, rtol=0)


def test_preparing_once_is_preparing_each_step(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    condition = tiny.condition(base)
    noisy, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700])
    both = torch.ones(2, dtype=torch.bool)
    other = condition.drop_text(both, torch.zeros(7, 16)).drop_image(both)
    with torch.no_grad():
        prepared = net.motion.prepare(condition)
        assert torch.equal(net(noisy, t, prepared).output, net(noisy, t, condition).output)
        shared = net.motion.prepare(other, like=prepared.prepared)
        assert torch.equal(net(noisy, t, shared).output, net(noisy, t, other).output)
    assert shared.prepared.pixel_keys is prepared.prepared.pixel_keys


def test_frames_see_each_other_only_through_the_temporal_layers(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    condition, t = tiny.condition(base), torch.tensor([40, 700])
    noisy = torch.randn(2, 4, 4, 8, 8)
    changed = noisy.clone()
    changed[:, :, 2] += 1
    for bypass in (False, True):
        net.bypass_temporal = bypass
        with torch.no_grad():
            apart = net(noisy, t, condition).output - net(changed, t, condition).output
        others = apart[:, :, [0, 1, 3]].abs().max()
        assert (others < 1e-6) == bypass


def test_half_precision_runs_and_keeps_the_noise_level_exact(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    condition, noisy, t = tiny.condition(base), torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700])
    with torch.no_grad():
        full = net(noisy, t, condition).output
        net.to(torch.bfloat16)
        fields = ("text", "image", "first_latent", "first_frame", "motion_text")
        low = {name: getattr(condition, name).bfloat16() for name in fields}
        half = net(noisy.bfloat16(), t, replace(condition, **low)).output
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean()


def test_whole_and_fractional_steps_agree(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    condition, noisy, t = tiny.condition(base), torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 999])
    with torch.no_grad():
        whole = net(noisy, t, condition).output
        torch.testing.assert_close(net(noisy, t.float(), condition).output, whole)


def test_a_remapped_table_asks_the_base_at_its_own_steps(tiny):
    """Where the base's table ends its step stands still, and only our angle still rises."""
    base, base_schedule = tiny.base("sd21"), tiny.schedule("sd21", zero=False)
    schedule = tiny.schedule("sd21", zero=True)
    torch.manual_seed(0)
    motion = tiny.motion(base, schedule=schedule, base_schedule=base_schedule)
    net = FactorizedUNet(base, motion).eval()
    condition, noisy = tiny.condition(base), torch.randn(2, 4, 3, 8, 8)
    t = torch.tensor([300, 999])
    with torch.no_grad():
        images = frame_by_frame(base, noisy, schedule.remap(t, base_schedule), condition)
        torch.testing.assert_close(net(noisy, t, condition).output, images, atol=1e-5, rtol=0)
        tiny.randomise(motion)
        last = [net(noisy, torch.full((2,), step), condition).output for step in (998, 999)]
    assert net._base_steps[998] == net._base_steps[999] == 999
    assert (last[0] - last[1]).abs().max() > 1e-5


UNSUPPORTED = {
    "SimpleCrossAttnDownBlock2D": {
        "down_block_types": ("DownBlock2D", "SimpleCrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    },
    "dual attention": {"dual_cross_attention": True},
    "AttnUpBlock2D": {"up_block_types": ("CrossAttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")},
    "UNetMidBlock2DSimpleCrossAttn": {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"},
    "class_embed_type": {"class_embed_type": "timestep"},
    "attention_type": {"attention_type": "gated"},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_bases_are_refused_by_name(tiny, name):
    base = tiny.base("pocket", **UNSUPPORTED[name])
    with pytest.raises(WeightsError, match=name):
        tiny.motion(base)


def test_freeu_is_refused_even_when_it_is_switched_on_later(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.motion(base))
    base.enable_freeu(0.9, 0.2, 1.2, 1.4)
    with pytest.raises(WeightsError, match="FreeU"):
        net(torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700]), tiny.condition(base))
    base.disable_freeu()
    net(torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700]), tiny.condition(base))
