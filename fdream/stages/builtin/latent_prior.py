"""The prior ``pocket``: latent diffusion from a caption to the first frame.

The first of the paper's two steps. It is a plain text-to-image model, the very network that the
generator then holds frozen; nothing of the motion modules is loaded here.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, final

from einops import rearrange
from torch import Tensor

from fdream.core.errors import WeightsError
from fdream.core.seeds import initial_noise
from fdream.models.latents import decode_latents, in_tiles, latent_downscale
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages.builtin.bundles import bundle_provenance, open_bundle
from fdream.stages.builtin.condition_tokens import Conventions, encode_text, unknown_words
from fdream.stages.builtin.pixels import refuse_size, to_uint8
from fdream.stages.builtin.sampling import Network, choose_sampler, sample_latents
from fdream.stages.interfaces import SampleOptions, TextToImagePrior

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.fit import Demand
    from fdream.core.sizes import Size
    from fdream.stages.builtin.specs.steps import PocketOptions

# Parts of a bundle that only its generator reads.
_NOT_READ: Final = frozenset({"motion", "motion_text_encoder", "image_encoder", "spatial_lora"})


@final
class LatentPrior(TextToImagePrior):
    """Prior ``pocket``: text encoder, UNet and autoencoder of a bundle, loaded when first used.

    Args:
        options: names the bundle.
        device: where it works.
    """

    def __init__(self, options: PocketOptions, *, device: DeviceManager) -> None:
        self._bundle = open_bundle(options.bundle)
        self._device = device
        self._defaults = self._bundle.defaults("prior")
        self._conventions = Conventions.of(self._bundle)
        self.default_size = self._defaults.size

    def demand(self, size: Size) -> Demand:
        """Estimate the memory that drawing takes; see ``TextToImagePrior.demand``."""
        return self._bundle.demand(size, 1, without=_NOT_READ)

    def draw(
        self, captions: list[str], size: Size, seeds: list[int], options: SampleOptions
    ) -> NDArray[np.uint8]:
        """Draw one image per caption; see ``TextToImagePrior.draw``.

        Raises:
            UsageError: the size is no multiple of the autoencoder's.
        """
        cell = latent_downscale(self._vae)
        refuse_size("this prior", size.height, size.width, cell)
        guidance = self._defaults.guidance if options.guidance is None else options.guidance
        sampler, steps = choose_sampler(self._schedule, options, self._defaults)
        with self._device.inference():
            conditional = self._network(self._encode(captions))
            unconditional = None
            if guidance != 1:
                unconditional = self._network(self._encode([options.negative] * len(captions)))
            grid = (size.height // cell, size.width // cell)
            noise = initial_noise((self._unet.config.in_channels, *grid), seeds)
            latents = sample_latents(
                sampler,
                noise.to(self._device.torch_device),
                conditional,
                unconditional,
                steps=steps,
                guidance=guidance,
                rescale=self._defaults.rescale,
                on_step=options.on_step,
            )
            with self._device.borrow(self._vae) as vae:
                if self._device.tiling:
                    in_tiles(vae)
                video = decode_latents(vae, rearrange(latents, "b c h w -> b c 1 h w"))
        return to_uint8(rearrange(video, "b c 1 h w -> b c h w"))

    def check(self, options: SampleOptions) -> None:
        """Refuse a scheduler or a number of steps that the bundle's schedule cannot take."""
        choose_sampler(self._schedule, options, self._defaults)

    def unknown_words(self, caption: str) -> list[str]:
        """Return the words that are not in the bundle's vocabulary."""
        return unknown_words(self._tokenizer, caption)

    def provenance(self) -> dict[str, Any]:
        """Return the bundle's name and hash, and the defaults it brings."""
        return {**bundle_provenance(self._bundle), "defaults": self._defaults.sampling}

    def _network(self, text: Tensor) -> Network:
        unet = self._device.place(self._unet)

        def answer(latents: Tensor, t: Tensor) -> Tensor:
            placed = self._device.place(latents)
            output: Tensor = unet(placed, t, encoder_hidden_states=text, return_dict=False)[0]
            return output

        return answer

    def _encode(self, captions: list[str]) -> Tensor:
        with self._device.borrow(self._text_encoder) as encoder:
            return encode_text(self._tokenizer, encoder, captions, self._device, self._conventions)

    @cached_property
    def _unet(self) -> Any:
        unet = self._bundle.load("unet")
        if unet.config.addition_embed_type not in (None, "text"):
            raise WeightsError(
                f"bundle {self._bundle.path.name!r}: its UNet wants "
                f"{unet.config.addition_embed_type!r} embeddings, which the pocket prior does not "
                "make; use a prior that serves this model, with --prior."
            )
        return unet

    @cached_property
    def _vae(self) -> Any:
        return self._bundle.load("vae")

    @cached_property
    def _text_encoder(self) -> Any:
        return self._bundle.load("text_encoder")

    @cached_property
    def _tokenizer(self) -> Any:
        return self._bundle.load("tokenizer")

    @cached_property
    def _schedule(self) -> NoiseSchedule:
        schedule: NoiseSchedule = self._bundle.load("scheduler")
        return schedule
