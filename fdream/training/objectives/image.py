"""Train a text-to-image base on latents of stills, in the schedule that the video stage will use.

The base is a plain ``UNet2DConditionModel``, trained with v-prediction and zero terminal SNR from
its first step: once frozen it cannot learn another schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from fdream.core.device import DeviceManager
from fdream.core.report import Reporter
from fdream.core.seeds import initial_noise
from fdream.data.spriteworld.captions import article
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.world import Description
from fdream.models.bundle import Bundle
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages.builtin.condition_tokens import Conventions, encode_text
from fdream.stages.builtin.dreamer_scheduler import DreamerSampler
from fdream.stages.builtin.pixels import to_unit
from fdream.stages.builtin.sampling import sample_latents
from fdream.training.array_cache import cached_array
from fdream.training.objective import Batch, Drawing, Objective, ObjectiveOptions, Share
from fdream.training.pictures import StillSource, contact_sheet


class ImageOptions(ObjectiveOptions):
    channels: tuple[int, ...] = (64, 96, 128)
    layers: int = 2
    heads: int = 4
    stills: int = 48_000
    """Different pictures; their latents are computed once."""
    density: str = "logit_normal(-0.2,1.2)"
    """Of t in training. Ours: what a picture shows is decided in the middle of the schedule."""
    sheet_steps: int = 20
    sheet_guidance: float = 3.0


@dataclass(frozen=True)
class LatentBatch(Batch):
    """Latents to denoise.

    Attributes:
        clean: (B, C, h, w).
        noise: like ``clean``, standard normal.
        t: (B,) steps of the schedule.
        captions: B of them.
    """

    clean: Tensor
    noise: Tensor
    t: Tensor
    captions: list[str]


class ImageObjective(Objective[LatentBatch]):
    """Denoise latents of stills under whole, halved, partial and empty captions."""

    Options = ImageOptions
    splits = True

    def __init__(
        self, options: ImageOptions, stills: StillSource, base: Bundle, device: DeviceManager
    ) -> None:
        self.options = options
        self.stills = stills
        self.base = base
        self.device = device
        self.schedule = NoiseSchedule.pocket()
        self.vae = base.load("vae")
        self.tokenizer = base.load("tokenizer")
        self.text_encoder = base.load("text_encoder")
        for frozen in (self.vae, self.text_encoder):
            device.place(frozen.requires_grad_(False))
        self.unet = base.load("unet") if base.has("unet") else self._new_unet()
        self.unet.train()
        self.modules = {"unet": self.unet}

    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        key = {
            "vae": self.base.hash_of("vae"),
            "stills": self.options.stills,
            **self.stills.key(),
        }
        reporter.say(f"latents of {self.options.stills} stills")
        self.latents = cached_array(
            cache / "latents", key, self.options.stills, self._encode, reporter
        )
        held_out = self.stills.held_out()
        self.held_out_captions = [still.pair.appearance for still in held_out]
        self.held_out_pictures = to_unit(np.stack([still.frame for still in held_out]))
        with torch.no_grad():
            self.held_out_latents = self._latents_of(self.held_out_pictures).float()

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> LatentBatch:
        rows = torch.randint(len(self.latents), (batch_size,), generator=generator)
        shape = (batch_size, *self.latents.shape[1:])
        noise = torch.randn(shape, generator=generator)
        t = self.schedule.sample_t(batch_size, generator, self.options.density)
        mine = share.of(rows)
        return LatentBatch(
            names=[f"still {int(row)}" for row in mine],
            clean=torch.from_numpy(self.latents[mine.numpy()]).float(),
            noise=share.of(noise),
            t=share.of(t),
            captions=[self._caption(int(row), step) for row in mine],
        )

    def loss(self, batch: LatentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return self._denoise(batch.clean, batch.captions, batch.noise, batch.t), {}

    def validate(self) -> dict[str, float]:
        count = len(self.held_out_captions)
        noise = initial_noise(tuple(self.held_out_latents.shape[1:]), range(count))
        t = torch.linspace(20, self.schedule.num_steps - 1, count).long()
        clean, here = self.held_out_latents, self.device.torch_device
        error = self._denoise(clean, self.held_out_captions, noise.to(here), t.to(here))
        return {"loss": error.item()}

    def drawing(self) -> Drawing:
        captions = self.held_out_captions[:16]
        noise = initial_noise(tuple(self.held_out_latents.shape[1:]), range(len(captions)))
        text, empty = self._text(captions), self._text([""] * len(captions))
        latents = sample_latents(
            DreamerSampler(self.schedule),
            noise.to(self.device.torch_device),
            lambda x, t: self.unet(x, t, encoder_hidden_states=text).sample,
            lambda x, t: self.unet(x, t, encoder_hidden_states=empty).sample,
            steps=self.options.sheet_steps,
            guidance=self.options.sheet_guidance,
        )
        real = self.held_out_pictures[:16]
        drawn = self.vae.decode(self.device.place(latents)).float().cpu()
        return Drawing(contact_sheet([real[:8], drawn[:8], real[8:], drawn[8:]]))

    def components(self) -> Mapping[str, Any]:
        carried = {name: self.base.folder(name) for name in self.base.component_names}
        return {**carried, "unet": self.unet, "scheduler": self.schedule}

    def information(self) -> Mapping[str, Any]:
        return {**self.base.information, "name": "image"}

    def _new_unet(self) -> UNet2DConditionModel:
        options = self.options
        channels = self.vae.config.latent_channels
        width = self.text_encoder.config.hidden_size
        blocks = len(options.channels)
        return UNet2DConditionModel(
            sample_size=self.stills.options.size[0] // self.vae.config.patch,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=options.channels,
            layers_per_block=options.layers,
            # Attention to words on the finest grid costs much and decides little: what stands where
            # is settled on the coarser ones, and the pooled caption reaches every ResNet.
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (blocks - 1)),
            up_block_types=(*["CrossAttnUpBlock2D"] * (blocks - 1), "UpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=options.heads,
            norm_num_groups=16,
            resnet_time_scale_shift="scale_shift",
            addition_embed_type="text",
            encoder_hid_dim=None,
            addition_embed_type_num_heads=options.heads,
        )

    def _denoise(
        self,
        clean: Tensor,
        captions: list[str],
        noise: Tensor,
        t: Tensor,
    ) -> Tensor:
        noisy = self.schedule.add_noise(clean, noise, t)
        output = self.unet(noisy, t, encoder_hidden_states=self._text(captions)).sample
        return F.mse_loss(output.float(), self.schedule.target(clean, noise, t))

    @torch.no_grad()
    def _text(self, captions: list[str]) -> Tensor:
        return encode_text(self.tokenizer, self.text_encoder, captions, self.device, Conventions())

    @torch.no_grad()
    def _encode(self, rows: range) -> np.ndarray:
        frames = np.stack([self.stills.draw(row).frame for row in rows])
        return self._latents_of(to_unit(frames)).to("cpu", torch.float16).numpy()

    def _latents_of(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(self.device.place(pictures))
        return latents

    def _caption(self, row: int, step: int) -> str:
        return partial_caption(self.stills.words(row), Chance(f"caption/{row}/{step}"))


def partial_caption(still: Description, chance: Chance) -> str:
    """Word a still as people do, or as guidance needs.

    Ours: of all draws 45 % are the whole caption, 29 % its appearance half, 8 % the object, 8 % the
    place and 10 % empty.
    """
    draw = chance.between(0, 1)
    if draw < 0.45:
        return still.caption
    if draw < 0.74:
        return still.pair.appearance
    if draw < 0.82:
        return article(still.facts.thing)
    if draw < 0.90:
        return chance.pick(SCENES[still.facts.scene])
    return ""
