"""Three hundred steps of the flow loss alone make the temporal layers carry motion.

What they learn in so few steps is the motion caption, applied to the object they find: with every
caption hidden, in training or only afterwards, the error on moving cells stays at that of "nothing
moves" (measured: 0.98 and 1.07, against 0.59 with captions). So this test holds the path from the
caption through the temporal layers to the taps; it does not show motion read off the frames.
"""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from fdream.core.sizes import Size
from fdream.data.spriteworld.world import SpriteWorld
from fdream.models.conditions import FlowTarget, VideoCondition
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.flow_ops import MOVING_PX, resize_flow
from fdream.models.predictnet import PredictNet

STEPS, BATCH, PATCH, WORD_WIDTH = 300, 16, 4, 32


class Clips:
    """Rendered clips as tensors; latents are folded pixels, words are fixed random vectors."""

    def __init__(self, split, count):
        world = SpriteWorld(cast="plain", size=Size(32, 32), frames=4, split=split)
        clips = [world.clip(seed) for seed in range(count)]
        frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))
        flow = torch.from_numpy(np.stack([clip.flow for clip in clips]))
        visible = torch.from_numpy(np.stack([clip.visible for clip in clips]))
        self.frames = rearrange(frames / 127.5 - 1, "b f h w c -> b c f h w")
        self.flow = rearrange(flow, "b f h w c -> b c f h w")
        self.visible = rearrange(visible.float(), "b f h w -> b 1 f h w")
        self.words, self.mask = embed([clip.pair.motion for clip in clips])

    def batch(self, rows):
        frames = self.frames[rows]
        flat = F.pixel_unshuffle(rearrange(frames, "b c f h w -> (b f) c h w"), PATCH) / 2
        latents = rearrange(flat, "(b f) c h w -> b c f h w", b=len(frames))
        condition = VideoCondition(
            text=torch.zeros(len(frames), 2, 16),
            image=None,
            first_latent=latents[:, :, 0],
            first_frame=frames[:, :, 0],
            motion_text=self.words[rows],
            motion_mask=self.mask[rows],
        )
        return latents, condition, FlowTarget(self.flow[rows], self.visible[rows])


def embed(captions, length=8):
    words = torch.zeros(len(captions), length, WORD_WIDTH)
    mask = torch.zeros(len(captions), length, dtype=torch.bool)
    for row, caption in enumerate(captions):
        for column, word in enumerate(caption.split()[:length]):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            generator = torch.Generator().manual_seed(seed)
            words[row, column] = torch.randn(WORD_WIDTH, generator=generator)
            mask[row, column] = True
    return words, mask


def train(net, predictnet, clips):
    schedule, generator = net.motion.schedule, torch.Generator().manual_seed(0)
    parameters = [*net.motion.parameters(), *predictnet.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.95))
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 10, (STEPS - step) / 60)
    )
    predictnet.observe(clips.flow)
    for _ in range(STEPS):
        rows = torch.randint(len(clips.frames), (BATCH,), generator=generator)
        latents, condition, target = clips.batch(rows)
        noise = torch.randn(latents.shape, generator=generator)
        t = torch.randint(200, (BATCH,), generator=generator)
        prediction = net(schedule.add_noise(latents, noise, t), t, condition)
        signal, _ = schedule.signal_and_noise(t)
        optimizer.zero_grad()
        predictnet.loss(prediction, target, signal.square()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()


@torch.no_grad()
def error(net, predictnet, clips):
    """Mean end-point error on moving cells, in units of what "nothing moves" would score."""
    latents, condition, target = clips.batch(torch.arange(len(clips.frames)))
    t = torch.full((len(latents),), 100)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    noisy = net.motion.schedule.add_noise(latents, noise, t)
    flow = predictnet(net(noisy, t, condition).taps)
    truth = resize_flow(target.flow, flow.shape[-2:], rescale=False)
    length = truth.norm(dim=1)
    moving = length > MOVING_PX
    return ((flow - truth).norm(dim=1)[moving].mean() / length[moving].mean()).item()


@pytest.mark.timeout(900)
def test_flow_alone_makes_the_temporal_layers_carry_motion(tiny):
    channels = 3 * PATCH**2
    base = tiny.base(
        "pocket",
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    motion = tiny.motion(
        base,
        motion_width=WORD_WIDTH,
        pixel_downscale=PATCH,
        pixel_patch=PATCH,
        pixel_stem_channels=[16],
        head_width=16,
        level_width=32,
    )
    net, predictnet = FactorizedUNet(base, motion).train(), PredictNet.for_motion(motion)
    train(net, predictnet, Clips("train", 400))
    held_out = Clips("held-out", 64)
    learned = error(net, predictnet, held_out)
    net.bypass_temporal = True
    bypassed = error(net, predictnet, held_out)
    assert learned <= 0.7
    assert bypassed >= 1.25 * learned
