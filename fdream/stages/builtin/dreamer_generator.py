"""The generators ``dreamer`` and ``pocket``: the paper's model behind the video interface.

The second of the paper's two steps. The first frame is an input in four places (its latent, its
tokens, its pixels, its caption), and the motion caption enters the temporal layers; see
``models.factorized_unet`` for the walk through them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, final

import torch
from einops import rearrange
from torch import Tensor, nn

from fdream.core.captions import CaptionPair
from fdream.core.errors import UsageError
from fdream.core.seeds import initial_noise
from fdream.models.conditions import Prediction, VideoCondition
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.first_frame_search import first_frame_views
from fdream.models.foreign_base import rebased
from fdream.models.free_noise import repeat_noise
from fdream.models.latents import (
    decode_latents,
    encode_latents,
    in_tiles,
    latent_downscale,
    latent_scaling,
)
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.spatial_adapter import SpatialAdapter
from fdream.stages.builtin.bundles import bundle_provenance, open_bundle
from fdream.stages.builtin.condition_tokens import (
    Conventions,
    encode_motion_text,
    encode_picture,
    encode_text,
    encode_text_pair,
    unknown_words,
)
from fdream.stages.builtin.pixels import refuse_size, to_uint8, to_unit
from fdream.stages.builtin.sampling import Network, choose_sampler, sample_latents
from fdream.stages.builtin.specs.steps import DreamerOptions
from fdream.stages.interfaces import SampleOptions, TrainableGenerator

if TYPE_CHECKING:
    import numpy as np
    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.fit import Demand
    from fdream.core.sizes import Size
    from fdream.models.bundle import Bundle
    from fdream.models.motion_modules import MotionModules
    from fdream.stages.builtin.specs.steps import PocketOptions

# Where the module is registered; not "network", for torch asks for an attribute of that name first,
# and the property would load in order to answer.
_NETWORK: Final = "factorized_unet"


@final
class DreamerGenerator(nn.Module, TrainableGenerator):
    """Generator ``dreamer``: all components of a bundle, each loaded when first used.

    Args:
        options: names the bundle.
        device: where it works.
    """

    def __init__(self, options: DreamerOptions | PocketOptions, *, device: DeviceManager) -> None:
        super().__init__()
        bundle = open_bundle(options.bundle)
        if isinstance(options, DreamerOptions) and options.base is not None:
            bundle = rebased(bundle, options.base)
        self._open(bundle, device)

    @classmethod
    def assemble(
        cls, bundle: Bundle, motion: MotionModules, *, device: DeviceManager
    ) -> DreamerGenerator:
        """Join fresh or half-trained motion modules to the base of a bundle, for training.

        Args:
            bundle: holds everything but the motion modules; its own, if any, are not loaded.
            motion: made for the bundle's base.
            device: where it works.
        """
        generator = cls.__new__(cls)
        nn.Module.__init__(generator)
        generator._open(bundle, device)
        generator.add_module(_NETWORK, FactorizedUNet(generator._load_spatial(), motion))
        return generator

    def _open(self, bundle: Bundle, device: DeviceManager) -> None:
        self._bundle = bundle
        self._device = device
        self._defaults = bundle.defaults("generator")
        self._conventions = Conventions.of(bundle)
        self._tokenizers: dict[str, Any] = {}
        self.spatial_lora: SpatialAdapter | None = None
        # What is encoded in training is kept, and float16 overflows in some autoencoders.
        exact = device.training or device.dtype == torch.float16
        self._coder_device = replace(device, dtype=torch.float32) if exact else device
        self.default_frames = self._defaults.frames
        self.default_fps = self._defaults.fps
        self.default_size = self._defaults.size

    @property
    def schedule(self) -> NoiseSchedule:
        """The table the motion modules are trained on; the base's own may differ."""
        schedule: NoiseSchedule = self.network.motion.schedule
        return schedule

    @property
    def network(self) -> FactorizedUNet:
        """The video network: frozen base and motion modules."""
        if _NETWORK not in self._modules:
            # What is loaded inside an inference context could never take part in training.
            with torch.inference_mode(False):
                unet, motion = self._load_spatial(), self._bundle.load("motion")
                scaling = latent_scaling(self.part("vae"))
                motion.check_base(unet, self._bundle.load("scheduler"), scaling)
                network = FactorizedUNet(unet, motion).eval()
                network.window = self.default_frames
                self.add_module(_NETWORK, network)
        found = self._modules[_NETWORK]
        assert isinstance(found, FactorizedUNet)
        return found

    def _load_spatial(self) -> UNet2DConditionModel:
        """The base, with the low-rank change that was trained along with the motion, if any."""
        unet: UNet2DConditionModel = self._bundle.load("unet")
        if self._bundle.has("spatial_lora"):
            adapter = SpatialAdapter.from_pretrained(
                str(self._bundle.folder("spatial_lora")), unet, "lora"
            )
            # Not a submodule: its weights are the base's already.
            self.__dict__["spatial_lora"] = adapter
        return unet

    def check(self, options: SampleOptions) -> None:
        """Refuse a scheduler or a number of steps that the bundle's schedule cannot take."""
        choose_sampler(self.schedule, options, self._defaults)

    def demand(self, size: Size, frames: int) -> Demand:
        """Estimate the memory that animating takes; see ``VideoGenerator.demand``."""
        return self._bundle.demand(size, frames)

    def animate(
        self,
        first_frames: NDArray[np.uint8],
        captions: list[CaptionPair],
        frames: int,
        fps: float,
        seeds: list[int],
        options: SampleOptions,
    ) -> NDArray[np.uint8]:
        """Animate each first frame; see ``VideoGenerator.animate``.

        A video of one frame is that frame. Frames past the number that the bundle was trained for
        are made in overlapping windows; see ``models.free_noise``.

        Raises:
            UsageError: the size is no multiple of the autoencoder's, or no frame is asked for.
        """
        height, width = first_frames.shape[1:3]
        refuse_size("this generator", height, width, latent_downscale(self.part("vae")))
        if frames < 1:
            raise UsageError(f"--frames {frames}: at least one frame is needed.")
        guidance = self._defaults.guidance if options.guidance is None else options.guidance
        sampler, steps = choose_sampler(self.schedule, options, self._defaults)
        if frames == 1:
            # Of one frame the network is its base alone, which has never seen the image, and would
            # draw another one.
            return first_frames[:, None].copy()
        # Borrowed outside: what is cast inside an inference context can never be trained again.
        with self._device.borrow(self.network) as network, self._device.inference():
            # Not placed: in half precision 29.97 would be another rate.
            rate = torch.full((len(captions),), float(fps), device=self._device.torch_device)
            condition = self.condition(self._device.place(to_unit(first_frames)), captions, rate)
            condition = network.motion.prepare(condition)
            unconditional = None
            if guidance != 1:
                negative = [CaptionPair(options.negative, options.negative)] * len(captions)
                tokens = self.caption_tokens(negative, (height, width))
                other = replace(condition, **tokens, prepared=None)
                other = network.motion.prepare(other, like=condition.prepared)
                unconditional = self._network(other)
            grid = condition.first_latent.shape[-2:]
            channels = condition.first_latent.shape[1]
            noise = initial_noise((channels, frames, *grid), seeds)
            noise = repeat_noise(noise, self.default_frames, seeds)
            latents = sample_latents(
                sampler,
                noise.to(self._device.torch_device),
                self._network(condition),
                unconditional,
                steps=steps,
                guidance=guidance,
                rescale=self._defaults.rescale,
                first_latents=condition.first_latent.float(),
                on_step=options.on_step,
            )
            video = self.decode(latents)
        return to_uint8(video)

    def _network(self, condition: VideoCondition) -> Network:
        def answer(latents: Tensor, t: Tensor) -> Tensor:
            return self.predict(self._device.place(latents), t, condition).output

        return answer

    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames (B, 3, F, H, W) in [-1, 1] to latents (B, C, F, h, w)."""
        with self._coder_device.borrow(self.part("vae")) as vae:
            return encode_latents(vae, self._coder_device.place(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, F, h, w) to frames (B, 3, F, H, W) in [-1, 1]."""
        with self._coder_device.borrow(self.part("vae")) as vae:
            if self._device.tiling:
                return decode_latents(in_tiles(vae), self._coder_device.place(latents), chunk=1)
            return decode_latents(vae, self._coder_device.place(latents))

    def condition(
        self, first_frame: Tensor, captions: list[CaptionPair], fps: Tensor
    ) -> VideoCondition:
        """Gather what the network is told about a clip; see ``TrainableGenerator.condition``."""
        image = None
        if self.network.motion.adapter is not None:
            with self._device.borrow(self.part("image_encoder")) as encoder:
                image = encode_picture(encoder, first_frame, self._conventions)
        latent = self.encode(rearrange(first_frame, "b c h w -> b c 1 h w"))
        return VideoCondition(
            image=image,
            first_latent=rearrange(latent, "b c 1 h w -> b c h w"),
            first_frame=first_frame,
            fps=fps,
            views=self.views(first_frame),
            **self.caption_tokens(captions, (first_frame.shape[-2], first_frame.shape[-1])),
        )

    def views(self, first_frame: Tensor) -> Tensor | None:
        """Code first frames (B, 3, H, W) to be searched for; None where nothing searches."""
        recall = self.network.motion.recall
        if recall is None or not recall.searches:
            return None
        with torch.no_grad():
            return first_frame_views(first_frame, self.encode, latent_downscale(self.part("vae")))

    def caption_tokens(self, captions: list[CaptionPair], size: tuple[int, int]) -> dict[str, Any]:
        """Encode both halves: the fields of a condition that captions decide.

        Args:
            captions: B pairs.
            size: (height, width) of the frames, which SDXL is told.
        """
        appearance = [caption.appearance for caption in captions]
        return {**self.appearance_tokens(appearance, size), **self.motion_tokens(captions)}

    def motion_tokens(self, captions: list[CaptionPair]) -> dict[str, Any]:
        """Encode the motion halves: ``motion_text`` and ``motion_mask``, where they are read."""
        if self.network.motion.empty_motion is None:
            return {}
        motion = [caption.motion for caption in captions]
        with self._device.borrow(self.part("motion_text_encoder")) as encoder:
            hidden, mask = encode_motion_text(
                self._tokenizer("motion_tokenizer"), encoder, motion, self._device
            )
        return {"motion_text": hidden, "motion_mask": mask}

    def frozen_features(
        self, first_frame: Tensor, captions: list[CaptionPair], *, motion_text: bool
    ) -> dict[str, Any]:
        """Encode what training need not encode again: fields of a condition, on the CPU.

        Args:
            first_frame: (B, 3, H, W) in [-1, 1].
            captions: B pairs.
            motion_text: whether the encoder of the motion caption is frozen too.
        """
        pictures = self._device.place(first_frame)
        size = (first_frame.shape[-2], first_frame.shape[-1])
        with self._device.autocast():
            found = (
                self.caption_tokens(captions, size)
                if motion_text
                else self.appearance_tokens([c.appearance for c in captions], size)
            )
            if self.network.motion.adapter is not None:
                with self._device.borrow(self.part("image_encoder")) as encoder:
                    found["image"] = encode_picture(encoder, pictures, self._conventions)
        return _on_cpu(found)

    def appearance_tokens(self, captions: list[str], size: tuple[int, int]) -> dict[str, Any]:
        """Encode the appearance halves: ``text``, and ``added`` where the base pools them."""
        first = self.part("text_encoder")
        if not self._bundle.has("text_encoder_2"):
            with self._device.borrow(first) as encoder:
                tokenizer = self._tokenizer("tokenizer")
                text = encode_text(tokenizer, encoder, captions, self._device, self._conventions)
            return {"text": text}
        tokenizers = [self._tokenizer(name) for name in ("tokenizer", "tokenizer_2")]
        with self._device.borrow(first), self._device.borrow(self.part("text_encoder_2")) as second:
            text, pooled = encode_text_pair(tokenizers, (first, second), captions, self._device)
        # Original size, crop from the top left, and wanted size: a whole picture of this size.
        times = torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32, device=pooled.device)
        return {
            "text": text,
            "added": {"text_embeds": pooled, "time_ids": times.expand(len(captions), -1)},
        }

    def predict(self, noisy: Tensor, t: Tensor, condition: VideoCondition) -> Prediction:
        """Run the network once; see ``TrainableGenerator.predict``."""
        answer: Prediction = self.network(noisy, t, condition)
        return answer

    def unknown_words(self, caption: str) -> list[str]:
        """Return the words that are not in the bundle's vocabulary."""
        return unknown_words(self._tokenizer("tokenizer"), caption)

    def knows_photos(self) -> bool:
        """Whether its base was trained on pictures of any kind.

        Ours: a bundle whose text encoder counts its words, as pocket's does, knows as few things.
        """
        return self._bundle.words("tokenizer") is None

    def provenance(self) -> dict[str, Any]:
        """Return the bundle's name and hash, and the defaults it brings."""
        return {**bundle_provenance(self._bundle), "defaults": self._defaults.sampling}

    def part(self, name: str) -> nn.Module:
        """A component of the bundle, loaded once."""
        if name not in self._modules:
            with torch.inference_mode(False):
                self.add_module(name, self._bundle.load(name))
        found = self._modules[name]
        assert found is not None
        return found

    def use_motion_text(self, tokenizer: Any, encoder: nn.Module) -> None:
        """Take this encoder of the motion caption in place of the bundle's, for training."""
        self._tokenizers["motion_tokenizer"] = tokenizer
        self.add_module("motion_text_encoder", encoder)

    def _tokenizer(self, name: str) -> Any:
        if name not in self._tokenizers:
            self._tokenizers[name] = self._bundle.load(name)
        return self._tokenizers[name]


def _on_cpu(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _on_cpu(value) if isinstance(value, dict) else value.cpu()
        for key, value in fields.items()
    }
