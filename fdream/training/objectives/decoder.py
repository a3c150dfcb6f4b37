"""Teach the decoder of a patch autoencoder to forgive what its base draws amiss.

A small base gets colours and outlines right before it gets details right, and a patch code turns
each detail into a speck of its own. The decoder sees a whole object at once and can mend that; the
encoder stays, so everything that was trained on its latents still fits.

Source: LTX-Video (arXiv 2501.00103) leaves the last denoising to the decoder. Ours: it learns from
latents that the base itself has redrawn from part-way noise, since its mistakes are no white noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from fdream.core.device import DeviceManager
from fdream.core.errors import RecipeError, WeightsError
from fdream.core.report import Reporter
from fdream.core.seeds import initial_noise
from fdream.data.spriteworld.chance import Chance
from fdream.models.bundle import Bundle
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.patch_autoencoder import PatchAutoencoder
from fdream.stages.builtin.condition_tokens import Conventions, encode_text
from fdream.stages.builtin.dreamer_scheduler import DreamerSampler
from fdream.stages.builtin.pixels import to_unit
from fdream.stages.builtin.sampling import guide
from fdream.training.array_cache import cached_array
from fdream.training.objective import Batch, Drawing, Objective, ObjectiveOptions, Share
from fdream.training.objectives.autoencoder import reconstruction_error
from fdream.training.objectives.image import partial_caption
from fdream.training.pictures import StillSource, contact_sheet, psnr

_HELD_OUT: Final = 32
# Of guidance: what pocket's prior draws with, so that the mistakes are those that it makes.
_RESCALE: Final = 0.3


class DecoderOptions(ObjectiveOptions):
    width: int | None = None
    """Channels of the decoder's correction; the base's, and its weights, when not set."""
    depth: int | None = None
    """Residual blocks of it, likewise."""
    stills: Annotated[int, Field(ge=1)] = 8000
    """Different pictures that the base redraws, once."""
    redrawn: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of samples whose latents the base has redrawn; the others are the encoder's own."""
    steps: Annotated[int, Field(ge=2)] = 8
    """Of the whole way from noise, of which the base goes a part."""
    from_step: tuple[int, int] = (3, 6)
    """First and last step of that way at which it may begin."""
    guidance: tuple[float, float] = (1.5, 4.0)
    """Range of guidance scales it draws with."""
    latent_noise: Annotated[float, Field(ge=0)] = 0.3
    """Largest deviation of white noise on the latents beside that; each sample has its own."""
    edge_weight: Annotated[float, Field(ge=0)] = 0.5

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        first, last = self.from_step
        if not 0 <= first <= last < self.steps:
            raise ValueError(f"from_step has to be two steps in order, from 0 to {self.steps - 1}")
        if not 0 < self.guidance[0] <= self.guidance[1]:
            raise ValueError("guidance has to be two scales in order, above 0")
        return self


@dataclass(frozen=True)
class LatentsBatch(Batch):
    """Pictures and the latents that the decoder has to draw them from.

    Attributes:
        pictures: (B, 3, H, W) in [-1, 1].
        latents: (B, C, h, w), redrawn by the base.
        redrawn: (B, 1, 1, 1) bool, true where those count and not the encoder's own.
        noise: (B, C, h, w), added to either.
    """

    pictures: Tensor
    latents: Tensor
    redrawn: Tensor
    noise: Tensor


class DecoderObjective(Objective[LatentsBatch]):
    """Draw stills from latents as the base makes them; encoder and base stay as they are.

    Args:
        options: the recipe's ``[objective]`` table.
        stills: the data.
        base: a bundle with a patch autoencoder, a text encoder and a text-to-image UNet.
        device: where it computes.

    Raises:
        WeightsError: the base's autoencoder is none of patches.
        RecipeError: a larger decoder is asked for, and the base corrects its encoder.
    """

    Options = DecoderOptions
    splits = True

    def __init__(
        self, options: DecoderOptions, stills: StillSource, base: Bundle, device: DeviceManager
    ) -> None:
        self.options = options
        self.stills = stills
        self.base = base
        self.device = device
        self.schedule: NoiseSchedule = base.load("scheduler")
        self.tokenizer = base.load("tokenizer")
        self.text_encoder = device.place(base.load("text_encoder").requires_grad_(False).eval())
        self.unet = device.place(base.load("unet").requires_grad_(False).eval())
        vae = base.load("vae")
        if not isinstance(vae, PatchAutoencoder):
            raise WeightsError(
                f"bundle {base.name!r}: its autoencoder is a {type(vae).__name__}; objective "
                "decoder teaches a PatchAutoencoder, as pocket has one."
            )
        self.vae = self._grown(vae)
        self.modules = {"vae": self.vae}

    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        options = self.options
        key = {
            "bundle": {name: self.base.hash_of(name) for name in ("vae", "unet", "text_encoder")},
            "how": [options.steps, *options.from_step, *options.guidance],
            **self.stills.key(),
        }
        reporter.say(f"{options.stills} stills, redrawn by the base")
        self.latents = cached_array(
            cache / "redrawn", key, options.stills, self._redrawn_rows, reporter
        )
        held_out = self.stills.held_out()[:_HELD_OUT]
        self.held_out = to_unit(np.stack([still.frame for still in held_out]))
        self.held_out_redrawn = self._redraw(
            self.held_out, [still.pair.appearance for still in held_out], Chance("held-out"), 0
        )

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> LatentsBatch:
        rows = torch.randint(len(self.latents), (batch_size,), generator=generator)
        noise = torch.randn(batch_size, *self.latents.shape[1:], generator=generator)
        level = torch.rand(batch_size, 1, 1, 1, generator=generator) * self.options.latent_noise
        redrawn = torch.rand(batch_size, 1, 1, 1, generator=generator) < self.options.redrawn
        mine = share.of(rows)
        return LatentsBatch(
            names=[f"still {int(row)}" for row in mine],
            pictures=to_unit(np.stack([self.stills.draw(int(row)).frame for row in mine])),
            latents=torch.from_numpy(self.latents[mine.numpy()]).float(),
            redrawn=share.of(redrawn),
            noise=share.of(noise * level),
        )

    def loss(self, batch: LatentsBatch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            own = self.vae.encode(batch.pictures)
        latents = torch.where(batch.redrawn, batch.latents, own)
        drawn = self.vae.decode(latents + batch.noise).float()
        loss, square = reconstruction_error(drawn, batch.pictures, self.options.edge_weight)
        return loss, {"psnr": psnr(square)}

    def validate(self) -> dict[str, float]:
        wanted = self.device.place(self.held_out).float()
        ways = {"psnr": self.vae.encode(wanted), "psnr_redrawn": self.held_out_redrawn}
        return {
            name: psnr(F.mse_loss(self._decoded(latents), wanted)).item()
            for name, latents in ways.items()
        }

    def drawing(self) -> Drawing:
        wanted = self.device.place(self.held_out).float()
        own, redrawn = self._decoded(self.vae.encode(wanted)), self._decoded(self.held_out_redrawn)
        return Drawing(contact_sheet([row[:8].cpu() for row in (wanted, own, redrawn)]))

    def components(self) -> Mapping[str, Any]:
        carried = {name: self.base.folder(name) for name in self.base.component_names}
        return {**carried, "vae": self.vae}

    def information(self) -> Mapping[str, Any]:
        return {**self.base.information, "name": "decoder"}

    def _grown(self, given: PatchAutoencoder) -> PatchAutoencoder:
        """The base's autoencoder, or one with its encoder and a larger decoder; encoder frozen."""
        options, config = self.options, dict(given.config)
        had = (config["width"], config["depth"])
        size = (options.width or had[0], options.depth or had[1])
        if size != had:
            if given.encoder_correction is not None:
                raise RecipeError(
                    f"objective.width and depth {size}: this base corrects its encoder at {had}, "
                    "and one size serves both; leave them out, or train the autoencoder with "
                    "objective.correct_encoder = false."
                )
            config |= {"width": size[0], "depth": size[1]}
            grown = PatchAutoencoder.from_config(config)
            state = given.state_dict()
            kept = {k: v for k, v in state.items() if not k.startswith("decoder_correction.")}
            grown.load_state_dict(kept, strict=False)
            given = grown
        given.analysis.requires_grad_(False)
        if given.encoder_correction is not None:
            given.encoder_correction.requires_grad_(False)
        return given

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents).float().clamp(-1, 1)

    @torch.no_grad()
    def _redrawn_rows(self, rows: range) -> np.ndarray:
        pictures = to_unit(np.stack([self.stills.draw(row).frame for row in rows]))
        chance = Chance(f"redraw/{rows.start}")
        captions = [
            partial_caption(self.stills.words(row), Chance(f"redraw/{row}")) for row in rows
        ]
        return self._redraw(pictures, captions, chance, rows.start).to("cpu", torch.float16).numpy()

    @torch.no_grad()
    def _redraw(
        self, pictures: Tensor, captions: list[str], chance: Chance, first_row: int
    ) -> Tensor:
        """Noise the latents of pictures part of the way, and let the base find back.

        Returns:
            (B, C, h, w) float32.
        """
        options = self.options
        first, last = options.from_step
        begin = first + chance.below(last - first + 1)
        scale = chance.between(*options.guidance)
        sampler = DreamerSampler(self.schedule)
        grid = sampler.timesteps(options.steps)[begin:]
        with self.device.autocast():
            clean = self.vae.encode(self.device.place(pictures)).float()
            rows = range(first_row, first_row + len(clean))
            noise = initial_noise(tuple(clean.shape[1:]), rows).to(clean.device)
            latents = self.schedule.add_noise(clean, noise, grid[:1].expand(len(clean)))
            text, empty = self._text(captions), self._text([""] * len(captions))
            for t in grid:
                told, untold = (
                    self.unet(latents, t, encoder_hidden_states=words).sample.float()
                    for words in (text, empty)
                )
                latents = sampler.step(guide(told, untold, scale, _RESCALE), t, latents)
        return latents

    def _text(self, captions: list[str]) -> Tensor:
        return encode_text(self.tokenizer, self.text_encoder, captions, self.device, Conventions())
