"""Everything of the video network that is ours, in one file of weights beside an untouched base."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fdream.core.errors import RecipeError, WeightsError
from fdream.models.base_layout import BaseLayout, Place, read_layout
from fdream.models.conditions import PreparedCondition, VideoCondition
from fdream.models.first_frame_condition import FirstFrameCondition
from fdream.models.first_frame_recall import FirstFrameRecall
from fdream.models.first_frame_search import views_spectrum
from fdream.models.motion_text_encoder import with_empty_token
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.pixel_aware_attention import (
    PixelAwareCrossAttention,
    PixelFeatures,
    heads_for,
)
from fdream.models.temporal import TemporalAttention, TemporalConvolution, sinusoids
from fdream.models.text_image_adapter import TextImageAdapter
from fdream.models.zero_init import zeroed

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class LevelEmbedding(nn.Module):
    """Embeds the noise angle and the frame rate, for our layers and for the base's time embedding.

    Args:
        width: E of the embedding our layers read.
        time_width: width of the base's time embedding.

    Ours: on a remapped table the base's step stands still where its own table ends, so the angle
    atan2(sqrt(1 - abar), sqrt(abar)) tells the levels apart there. The frame rate as a sinusoid
    into a small network is common to image-to-video models.
    """

    FEATURES = 64

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(2 * self.FEATURES, width)
        self.outer = nn.Linear(width, width)
        self.to_time = zeroed(nn.Linear(width, time_width))

    def forward(self, angle: Tensor, fps: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(B,) radians and (B,) frames per second, or None for unknown, to (B, E)."""
        # A full turn of a thousand steps, the scale that timestep embeddings use.
        level = sinusoids(angle * (2000 / math.pi), self.FEATURES)
        rate = torch.zeros_like(level) if fps is None else sinusoids(fps, self.FEATURES)
        features = torch.cat([level, rate], dim=-1).to(dtype)
        return nn.functional.silu(self.outer(nn.functional.silu(self.inner(features))))


class MotionLayer(nn.Module):
    """What stands after one spatial layer; parts that are switched off are None.

    Args:
        convolution: after the ResNet.
        pixel_aware: after the spatial attention, in up blocks.
        attention: last.
    """

    def __init__(
        self,
        convolution: TemporalConvolution | None,
        pixel_aware: PixelAwareCrossAttention | None,
        attention: TemporalAttention | None,
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.pixel_aware = pixel_aware
        self.attention = attention


class MotionModules(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Our layers, keyed by the place in the base where each belongs.

    Build with `for_base`; `from_pretrained` needs only the file, since the base's layout is in its
    config. A width option is None for the base's own width, one number, or one number for each
    resolution, finest first.

    Args:
        layout: `BaseLayout.to_dict()` of the base.
        schedule: diffusers scheduler config the video network is trained on.
        base_schedule: the base's own scheduler config where it differs; None where it does not.
        prediction_type: the base's, stored to refuse another one.
        table_hash: of the base's table, stored to refuse another one.
        latent_scaling: factor from raw to network latents, stored to refuse another one.
        first_frame: add the first frame after the first convolution.
        first_frame_recall: let places that did not move answer with the first frame.
        first_frame_search: let what moved answer with it, too, moved likewise; on larger grids than
            `first_frame_search.MOST_CELLS` nothing is found.
        adapter: `attention`, `concat` or `none`.
        image_width: Di of the image tokens.
        image_tokens: how many tokens the image is resampled to.
        adapter_depth: depth of the resampler.
        pixel_aware: pixel-aware cross attention in the up blocks.
        pixel_aware_max_tokens: no such attention where the grid has more cells than this.
        pixel_aware_channels: its inner width.
        pixel_aware_layers: `every` layer of an up block, or its `last`.
        pixel_downscale: pixels a latent cell covers along each side.
        pixel_patch: pixels folded into channels before its first convolution.
        pixel_stem_channels: widths of its stem.
        pixel_channels: widths of its maps, finest first; None for the base's own.
        temporal_convolution: convolution over frames after every ResNet.
        temporal_conv_channels: its inner width.
        temporal_attention: attention over frames.
        temporal_attention_channels: its inner width.
        temporal_attention_layers: after `every` layer of a block, or its `last`.
        temporal_feed_forward: hidden width of its feed-forward layer, in multiples of the inner.
        motion_text: cross attention of the temporal layers to the motion caption.
        motion_width: Dm of the motion text.
        head_width: channels of one attention head, about.
        level_width: width of the noise level and frame rate embedding.

    Ours: a separate file, as motion adapters are (AnimateDiff, arXiv 2307.04725), so that it works
    on any fine-tune of the same base. What the paper leaves unknown is an option here.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        layout: Mapping[str, Any],
        schedule: Mapping[str, Any],
        base_schedule: Mapping[str, Any] | None = None,
        prediction_type: str = "",
        table_hash: str = "",
        latent_scaling: float = 1.0,
        first_frame: bool = True,
        first_frame_recall: bool = False,
        first_frame_search: bool = False,
        adapter: str = "attention",
        image_width: int = 1024,
        image_tokens: int = 16,
        adapter_depth: int = 4,
        pixel_aware: bool = True,
        pixel_aware_max_tokens: int = 4096,
        pixel_aware_channels: int | Sequence[int] | None = None,
        pixel_aware_layers: str = "every",
        pixel_downscale: int = 8,
        pixel_patch: int = 1,
        pixel_stem_channels: Sequence[int] = (16, 32, 96, 256),
        pixel_channels: Sequence[int] | None = None,
        temporal_convolution: bool = True,
        temporal_conv_channels: int | Sequence[int] | None = None,
        temporal_attention: bool = True,
        temporal_attention_channels: int | Sequence[int] | None = None,
        temporal_attention_layers: str = "every",
        temporal_feed_forward: float = 4.0,
        motion_text: bool = True,
        motion_width: int = 1024,
        head_width: int = 64,
        level_width: int = 512,
    ) -> None:
        super().__init__()
        self.layout = BaseLayout.from_dict(layout)
        self.schedule = NoiseSchedule.from_config(schedule)
        self.base_schedule = (
            self.schedule if base_schedule is None else NoiseSchedule.from_config(base_schedule)
        )
        options = self.config
        _check_options(options, len(self.layout.level_widths))
        self.level = LevelEmbedding(level_width, self.layout.time_width)
        self.condition_in: FirstFrameCondition | None = None
        if first_frame:
            self.condition_in = FirstFrameCondition(
                self.layout.latent_channels, self.layout.conv_in_width
            )
        self.recall: FirstFrameRecall | None = None
        if first_frame_recall:
            self.recall = FirstFrameRecall(
                self.layout.latent_channels,
                self.layout.conv_in_width,
                level_width,
                searches=first_frame_search,
            )
        self.text_image: TextImageAdapter | None = None
        if adapter != "none":
            self.text_image = TextImageAdapter(
                self.layout.text_width,
                image_width,
                adapter,
                image_tokens,
                adapter_depth,
                head_width,
            )
        self.pixels: PixelFeatures | None = None
        if pixel_aware:
            self.pixels = PixelFeatures(
                self.layout.latent_channels,
                pixel_downscale,
                pixel_patch,
                pixel_stem_channels,
                pixel_channels or self.layout.level_widths,
            )
        self.empty_motion: nn.Parameter | None
        if temporal_attention and motion_text:
            self.empty_motion = nn.Parameter(torch.randn(1, 1, motion_width))
        else:
            self.empty_motion = None
        self.layers = nn.ModuleDict(
            {place.name: _motion_layer(place, self.layout, options) for place in self.layout.places}
        )

    @classmethod
    def for_base(
        cls,
        spatial: UNet2DConditionModel,
        schedule: NoiseSchedule,
        *,
        base_schedule: NoiseSchedule | None = None,
        latent_scaling: float = 1.0,
        **options: Any,
    ) -> MotionModules:
        """Build fresh modules for a base; the video network then equals the base frame by frame.

        Args:
            spatial: the base.
            schedule: the table to train and sample the video network on.
            base_schedule: the base's own table; None where it is the same.
            latent_scaling: factor from raw latents to those the base takes.
            **options: as in the class.

        Returns:
            Modules with every residual branch silent.

        Raises:
            WeightsError: the base is of a kind the walk does not support.
            RecipeError: an option is unknown or makes no sense, or the two tables belong to
                different prediction types.
        """
        known = set(inspect.signature(cls.__init__).parameters) - {"self"}
        for name in options:
            if name not in known:
                raise RecipeError(
                    f"motion option {name!r}: not known; choose from {', '.join(sorted(known))}."
                )
        base = base_schedule or schedule
        if base.prediction_type != schedule.prediction_type:
            raise RecipeError(
                f"schedule prediction_type = {schedule.prediction_type!r}: the base predicts "
                f"{base.prediction_type!r} and its raw output stays so; use the base's."
            )
        return cls(
            layout=read_layout(spatial).to_dict(),
            schedule=schedule.config,
            base_schedule=None if base_schedule is None else base_schedule.config,
            prediction_type=base.prediction_type,
            table_hash=base.table_hash,
            latent_scaling=latent_scaling,
            **options,
        )

    @property
    def adapter(self) -> TextImageAdapter | None:
        """The text-image adapter; None where it is switched off."""
        return self.text_image

    @property
    def tap_channels(self) -> tuple[int, ...]:
        """Channels of `Prediction.taps`, coarse first."""
        return tuple(place.width for place in self.layout.places if place.up and place.last)[-2:]

    def check_base(
        self,
        spatial: UNet2DConditionModel,
        schedule: NoiseSchedule | None = None,
        latent_scaling: float | None = None,
    ) -> None:
        """Refuse a base these modules were not trained on.

        Args:
            spatial: the base.
            schedule: its own noise schedule; None where the caller cannot know it.
            latent_scaling: its latent scaling; None where the caller cannot know it.

        Raises:
            WeightsError: what differs, with both values.
        """
        stored, found = self.layout, read_layout(spatial)
        differences = [
            (f"layout.{name}", getattr(stored, name), getattr(found, name))
            for name in BaseLayout.__dataclass_fields__
        ]
        if schedule is not None:
            kind, table = self.config.prediction_type, self.config.table_hash
            differences.append(("prediction_type", kind, schedule.prediction_type))
            differences.append(("table_hash", table[:12], schedule.table_hash[:12]))
        if latent_scaling is not None:
            scale = self.config.latent_scaling
            same = math.isclose(scale, latent_scaling, rel_tol=1e-5)
            differences.append(("latent_scaling", scale, scale if same else latent_scaling))
        for name, wanted, got in differences:
            if wanted != got:
                raise WeightsError(
                    f"motion modules: {name} is {wanted} in their file but {got} in this base; "
                    f"motion weights work only on the base they were trained on and its "
                    f"fine-tunes; choose that base, or train motion for this one."
                )

    def prepare(
        self, condition: VideoCondition, like: PreparedCondition | None = None
    ) -> VideoCondition:
        """Compute once per clip what every sampling step would otherwise repeat.

        Args:
            condition: of B clips.
            like: the preparation of the same first frames under other captions (the other guidance
                branch); what it holds of them is reused.

        Returns:
            The condition with `prepared` set. Gradients flow through it.
        """
        tokens = condition.text
        if self.text_image is not None:
            tokens = self.text_image(tokens, condition.image)
        motion_keys, motion_mask = self._motion_keys(condition)
        if like is not None:
            first_frame, pixel_keys, views = like.first_frame, like.pixel_keys, like.views
        else:
            latent = condition.first_latent
            first_frame = None if self.condition_in is None else self.condition_in(latent)
            pixel_keys = self._pixel_keys(condition)
            views = None
            if condition.views is not None:
                views = (condition.views, views_spectrum(condition.views))
        prepared = PreparedCondition(
            tokens, first_frame, pixel_keys, motion_keys, motion_mask, views
        )
        return replace(condition, prepared=prepared)

    def layer(self, place: str) -> MotionLayer:
        """Our parts after the spatial layer of that name."""
        found = self.layers[place]
        assert isinstance(found, MotionLayer)
        return found

    def _pixel_keys(self, condition: VideoCondition) -> dict[str, tuple[Tensor, Tensor]]:
        """Keys and values of the first frame for each place that looks it up."""
        if self.pixels is None:
            return {}
        maps = self.pixels(condition.first_frame, condition.first_latent)
        limit = self.config.pixel_aware_max_tokens
        keys: dict[str, tuple[Tensor, Tensor]] = {}
        for place in self.layout.places:
            layer, pixels = self.layer(place.name).pixel_aware, maps[place.level]
            if layer is not None and pixels.shape[-2] * pixels.shape[-1] <= limit:
                keys[place.name] = layer.project(pixels)
        return keys

    def _motion_keys(
        self, condition: VideoCondition
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
        """Keys and values of the motion caption for each temporal attention, and their mask."""
        if self.empty_motion is None:
            return {}, None
        text, mask = with_empty_token(
            self.empty_motion,
            condition.text.shape[0],
            condition.motion_text,
            condition.motion_mask,
        )
        keys = {
            place.name: attention.motion.project(text)
            for place in self.layout.places
            if (attention := self.layer(place.name).attention) is not None
            and attention.motion is not None
        }
        return keys, mask


def _motion_layer(place: Place, layout: BaseLayout, options: Mapping[str, Any]) -> MotionLayer:
    """Our parts after one spatial layer."""

    def inner(name: str) -> int:
        value = options[name]
        if value is None:
            return place.width
        return value if isinstance(value, int) else value[place.level]

    def wanted(name: str) -> bool:
        return place.last or options[name] == "every"

    head_width, groups = options["head_width"], layout.groups
    convolution = pixel_aware = attention = None
    if options["temporal_convolution"]:
        convolution = TemporalConvolution(place.width, inner("temporal_conv_channels"), groups)
    if options["pixel_aware"] and place.up and wanted("pixel_aware_layers"):
        width = inner("pixel_aware_channels")
        pixel_channels = (options["pixel_channels"] or layout.level_widths)[place.level]
        pixel_aware = PixelAwareCrossAttention(
            place.width, pixel_channels, width, heads_for(width, head_width), groups
        )
    if options["temporal_attention"] and wanted("temporal_attention_layers"):
        width = inner("temporal_attention_channels")
        attention = TemporalAttention(
            place.width,
            width,
            heads_for(width, head_width),
            options["motion_width"] if options["motion_text"] else None,
            options["level_width"],
            options["temporal_feed_forward"],
            groups,
        )
    return MotionLayer(convolution, pixel_aware, attention)


def _check_options(options: Mapping[str, Any], num_levels: int) -> None:
    """Refuse options that no network can be built from."""
    choices = {
        "adapter": ("attention", "concat", "none"),
        "pixel_aware_layers": ("every", "last"),
        "temporal_attention_layers": ("every", "last"),
    }
    for name, known in choices.items():
        if options[name] not in known:
            raise RecipeError(
                f"motion option {name} = {options[name]!r}: choose from {', '.join(known)}."
            )
    if options["first_frame_search"] and not options["first_frame_recall"]:
        raise RecipeError(
            "motion option first_frame_search: what is found is answered through the gates of "
            "first_frame_recall; switch that on, too."
        )
    widths = ("pixel_aware_channels", "temporal_conv_channels", "temporal_attention_channels")
    for name in (*widths, "pixel_channels"):
        value = options[name]
        if isinstance(value, Sequence) and len(value) != num_levels:
            raise RecipeError(
                f"motion option {name} = {list(value)}: this base has {num_levels} resolutions; "
                f"give that many numbers, finest first."
            )
    downscale, patch = options["pixel_downscale"], options["pixel_patch"]
    halvings = len(options["pixel_stem_channels"]) - 1
    if options["pixel_aware"] and patch * 2**halvings != downscale:
        raise RecipeError(
            f"motion option pixel_stem_channels has {halvings + 1} widths: from pixel_patch = "
            f"{patch} to pixel_downscale = {downscale} it takes one more than the halvings between "
            f"them (patch x 2^halvings = downscale)."
        )
