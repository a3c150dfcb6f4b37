"""The networks of the video objective: a base, motion modules, and what is trained of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from torch import nn

from fdream.core.device import DeviceManager
from fdream.core.errors import RecipeError
from fdream.models.bundle import Bundle
from fdream.models.latents import latent_downscale, latent_scaling
from fdream.models.motion_modules import MotionModules
from fdream.models.motion_text_encoder import fresh_motion_encoder
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.spatial_adapter import SpatialAdapter
from fdream.stages.builtin.dreamer_generator import DreamerGenerator
from fdream.training.objectives.video_options import VideoOptions

LORA: Final = "spatial_lora"
DOMAIN: Final = "domain_adapter"
# T5's tokenizers allow 512; captions of motion are short, and padding costs attention.
_MOTION_TOKENS: Final = 77

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "temporal": ("motion.layers.*.convolution.*", "motion.layers.*.attention.*"),
    "pixel_aware": ("motion.pixels.*", "motion.layers.*.pixel_aware.*"),
    "adapter": ("motion.text_image.*",),
    "first_frame": ("motion.condition_in.*", "motion.recall.*"),
    "motion_text": ("motion_text_encoder.*", "motion.empty_motion"),
    "spatial": ("unet.*", f"{LORA}.*"),
}
"""Names for parts of the model, for learning rates; whole components go by their own names."""

CLOSED: Final = ("ResnetBlock2D", "BasicTransformerBlock", "TemporalConvolution")
"""Layers whose weights are read by their own forward alone; the keys of our attentions are not."""

REPEATED: Final = (*CLOSED, "TemporalAttention", "PixelAwareCrossAttention")
"""Layers that come again and again, and hold nearly all of the work: compiled one by one."""


class VideoModel:
    """The generator as training sees it.

    Args:
        options: of the objective.
        base: a bundle with or without motion modules.
        device: where it computes.
        gradient_checkpointing: compute layers again in backward, to save memory.

    Raises:
        WeightsError: the bundle's motion modules were trained on another base.

    Attributes:
        generator: conditions, predicts and draws.
        modules: what is trained, by component name.
        frozen_text: whether the motion caption's encoder stays as it is.
        passed_over: what to warn of, as the function of that name says it.
    """

    def __init__(
        self,
        options: VideoOptions,
        base: Bundle,
        device: DeviceManager,
        *,
        gradient_checkpointing: bool = False,
    ) -> None:
        self._base = base
        self.passed_over: list[str] = []
        self.motion = (
            base.load("motion")
            if base.has("motion")
            else new_motion(options, base, base.load("unet"), base.load("vae"))
        )
        self.generator = DreamerGenerator.assemble(base, self.motion, device=device)
        self.network = self.generator.network
        if base.has("motion"):
            self.passed_over = passed_over(options, self.motion)
            scaling = latent_scaling(self.generator.part("vae"))
            self.motion.check_base(self.network.spatial, base.load("scheduler"), scaling)
        self.network.gradient_checkpointing = gradient_checkpointing
        self.modules: dict[str, nn.Module] = {"motion": self.motion}
        self._place_motion_text(options)
        self._open_space(options)
        device.place(self.network)
        for name in ("vae", "text_encoder", "text_encoder_2", "image_encoder"):
            if base.has(name):
                self.generator.part(name).requires_grad_(False)
        self.vae = device.place(self.generator.part("vae"))
        for module in self.modules.values():
            module.train()

    @property
    def schedule(self) -> NoiseSchedule:
        """What the motion modules are trained on."""
        return self.generator.schedule

    @property
    def domain(self) -> SpatialAdapter | None:
        """The domain adapter, if there is one."""
        found = self.modules.get(DOMAIN)
        assert found is None or isinstance(found, SpatialAdapter)
        return found

    @property
    def space_is_frozen(self) -> bool:
        """Whether the base's own weights stay bit for bit what they were."""
        return "unet" not in self.modules

    def as_drawn(self) -> AbstractContextManager[None]:
        """Be, inside the block, what the bundle will be: without the domain adapter."""
        return nullcontext() if self.domain is None else self.domain.dropped()

    def components(self) -> dict[str, Any]:
        """Return what a bundle of this model holds, by component name."""
        own: dict[str, Any] = {
            name: module
            for name, module in self.modules.items()
            if name not in (DOMAIN, "supervisor")
        }
        if self.motion.empty_motion is not None:
            own["motion_tokenizer"] = self._motion_tokenizer
        carried = {
            name: self._base.carried(name) for name in self._base.component_names if name not in own
        }
        return {**carried, **own}

    def _place_motion_text(self, options: VideoOptions) -> None:
        """Give the generator an encoder of the motion caption, and say whether it is trained."""
        self.frozen_text = True
        if self.motion.empty_motion is None:
            return
        base = self._base
        if base.has("motion_text_encoder"):
            encoder = base.load("motion_text_encoder")
            tokenizer = base.load("motion_tokenizer")
            tokenizer.model_max_length = min(tokenizer.model_max_length, _MOTION_TOKENS)
            # One that came pretrained is not ours to change; one that began in a run goes on.
            self.frozen_text = "motion_text_encoder" in base.elsewhere
        else:
            tokenizer = base.load("tokenizer")
            encoder = fresh_motion_encoder(
                len(tokenizer), self.motion.config.motion_width, options.motion_text_layers
            )
            self.frozen_text = False
        if self.frozen_text:
            encoder.requires_grad_(False)
        else:
            self.modules["motion_text_encoder"] = encoder
        self._motion_tokenizer = tokenizer
        self.generator.use_motion_text(tokenizer, encoder)

    def _open_space(self, options: VideoOptions) -> None:
        """Let as much of the spatial network be trained as the recipe says."""
        spatial = self.network.spatial
        if options.spatial == "full":
            self.modules["unet"] = spatial.requires_grad_(True)
        if options.spatial == "lora":
            lora = options.lora
            begun = self.generator.spatial_lora
            self.modules[LORA] = (
                SpatialAdapter(spatial, "lora", lora.rank, lora.alpha, lora.layers)
                if begun is None
                else begun.requires_grad_(True)
            )
        if options.domain_adapter is not None:
            table = options.domain_adapter
            self.modules[DOMAIN] = SpatialAdapter(
                spatial, "domain", table.rank, table.alpha, table.layers
            )


def passed_over(options: VideoOptions, motion: MotionModules) -> list[str]:
    """Say which options of motion do not hold, because a bundle's own modules are trained on.

    Args:
        options: of the objective.
        motion: the bundle's that the run starts from; a skeleton will do.

    Returns:
        A sentence for each, to warn with.
    """
    return [
        f"objective.motion.{name} = {json.dumps(asked)} does not hold: the motion modules of "
        f"train.init_from have {json.dumps(motion.config.get(name))}, and go on as they were "
        "built; start from a bundle without motion to have new ones."
        for name, asked in options.motion.items()
        if motion.config.get(name) != asked
    ]


def new_motion(
    options: VideoOptions, base: Bundle, unet: nn.Module, vae: nn.Module
) -> MotionModules:
    """Make fresh motion modules for a base; widths that the recipe leaves open fit its encoders.

    Args:
        options: of the objective.
        base: what the modules are for.
        unet: its spatial network; a skeleton will do.
        vae: its autoencoder, likewise.

    Raises:
        RecipeError: the recipe asks for zero terminal SNR on a base that cannot take it.
    """
    own = base.load("scheduler")
    schedule = training_schedule(own, options.zero_terminal_snr)
    return MotionModules.for_base(
        unet,
        schedule,
        base_schedule=None if schedule is own else own,
        latent_scaling=latent_scaling(vae),
        **{**_fitting(base, vae), **options.motion},
    )


def training_schedule(own: NoiseSchedule, zero_terminal_snr: bool | None) -> NoiseSchedule:
    """Return the table to train on: the base's own, or that without signal at its end.

    Args:
        own: the base's.
        zero_terminal_snr: what the recipe says; None: where the base predicts v.

    Raises:
        RecipeError: the base predicts epsilon, which says nothing about the picture there.

    Source: Lin et al., arXiv 2305.08891. Ours: the choice by the base; the paper's own schedule
    could not be read.
    """
    wanted = (
        own.prediction_type == "v_prediction" if zero_terminal_snr is None else zero_terminal_snr
    )
    if wanted == own.zero_terminal_snr:
        return own
    if not wanted:
        raise RecipeError(
            "objective.zero_terminal_snr = false: this base was trained on a table that ends "
            "without signal, and knows no other end; leave the key out."
        )
    if own.prediction_type != "v_prediction":
        raise RecipeError(
            "objective.zero_terminal_snr = true: this base predicts epsilon, which says nothing "
            "about the picture where no signal is left; take a base that predicts v (SD 2.1), or "
            "leave the key out."
        )
    return NoiseSchedule.from_config(
        {**own.config, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    )


def _fitting(base: Bundle, vae: nn.Module) -> dict[str, Any]:
    """Options of the motion modules that follow from the base's other components."""
    downscale = latent_downscale(vae)
    found: dict[str, Any] = {"pixel_downscale": downscale}
    if base.has("image_encoder"):
        # A whole CLIP model has two towers, each with a configuration of its own.
        config = base.config("image_encoder")
        found["image_width"] = config.get("vision_config", config)["hidden_size"]
    elif base.elsewhere:
        found["adapter"] = "none"
    if base.has("motion_text_encoder"):
        found["motion_width"] = base.config("motion_text_encoder")["d_model"]
    elif base.elsewhere:
        found["motion_text"] = False
    return found
