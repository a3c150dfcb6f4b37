"""Tiny random bases of each family, and random conditions for them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from fdream.models.conditions import VideoCondition
from fdream.models.motion_modules import MotionModules
from fdream.models.noise_schedule import POCKET_SCHEDULER_CONFIG, NoiseSchedule

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"

BASES = {
    "sd15": {
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
        "layers_per_block": 2,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    },
    "sd21": {
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
        "layers_per_block": 2,
        "cross_attention_dim": 16,
        "attention_head_dim": (2, 4, 4, 4),
        "use_linear_projection": True,
        "norm_num_groups": 4,
    },
    "sdxl": {
        "block_out_channels": (8, 16, 16),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP_CROSS, UP_CROSS, UP_PLAIN),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 2),
        "cross_attention_dim": 16,
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 12 + 6 * 4,
        "norm_num_groups": 4,
    },
    "pocket": {
        "in_channels": 4,
        "block_out_channels": (8, 16, 16),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP_CROSS, UP_CROSS, UP_PLAIN),
        "layers_per_block": 2,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "resnet_time_scale_shift": "scale_shift",
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 4,
        "norm_num_groups": 4,
    },
}

SD_SCHEDULER_CONFIG = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "num_train_timesteps": 1000,
}

SMALL = {
    "image_width": 12,
    "motion_width": 10,
    "adapter_depth": 1,
    "image_tokens": 3,
    "pixel_stem_channels": [4, 4, 6, 8],
    "head_width": 8,
    "level_width": 16,
}


def make_base(family: str, seed: int = 0, **changes) -> UNet2DConditionModel:
    """A random base whose every layer matters (its own zero-initialised parts are filled)."""
    torch.manual_seed(seed)
    base = UNet2DConditionModel(sample_size=8, **(BASES[family] | changes))
    return base.eval()


def make_schedule(family: str, *, zero: bool = True) -> NoiseSchedule:
    """The family's own kind of table; `zero` false leaves a v base its residual signal."""
    if family in ("pocket", "sd21"):
        return NoiseSchedule.from_config(POCKET_SCHEDULER_CONFIG | {"rescale_betas_zero_snr": zero})
    return NoiseSchedule.from_config(SD_SCHEDULER_CONFIG)


def make_motion(
    base, family: str = "pocket", seed: int = 1, schedule: NoiseSchedule | None = None, **options
) -> MotionModules:
    torch.manual_seed(seed)
    schedule = schedule or make_schedule(family)
    return MotionModules.for_base(base, schedule, **(SMALL | options))


def make_condition(base, batch: int = 2, size=(8, 8), seed: int = 2) -> VideoCondition:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    added = None
    if base.config.addition_embed_type == "text_time":
        added = {"text_embeds": randn(batch, 12), "time_ids": randn(batch, 6).abs() * 100}
    mask = torch.ones(batch, 5, dtype=torch.bool)
    mask[0, 3:] = False
    return VideoCondition(
        text=randn(batch, 7, 16),
        image=randn(batch, 6, 12),
        first_latent=randn(batch, base.config.in_channels, *size),
        first_frame=randn(batch, 3, size[0] * 8, size[1] * 8).clamp(-1, 1),
        motion_text=randn(batch, 5, 10),
        motion_mask=mask,
        fps=torch.linspace(4, 24, batch),
        added=added,
    )


def randomise(motion: MotionModules, seed: int = 3, scale: float = 0.05) -> MotionModules:
    """Move every weight a little, so that no branch is silent any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in motion.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return motion


@pytest.fixture
def tiny() -> SimpleNamespace:
    """Builders of tiny random bases, motion modules, schedules and conditions."""
    return SimpleNamespace(
        base=make_base,
        motion=make_motion,
        schedule=make_schedule,
        condition=make_condition,
        randomise=randomise,
    )
