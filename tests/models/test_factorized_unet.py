"""A fresh video network is the image network, and a trained one refuses what it is not."""

import pytest
import torch
from einops import rearrange, repeat

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
