"""Where a two-dimensional base has layers, and how wide they are: read once, off live modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from fdream.core.errors import WeightsError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SUPPORTED_DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
SUPPORTED_MID = ("UNetMidBlock2DCrossAttn",)
SUPPORTED_UP = ("CrossAttnUpBlock2D", "UpBlock2D")


@dataclass(frozen=True, slots=True)
class Place:
    """One spatial layer (a ResNet, and the attention after it if there is one).

    Args:
        name: `down_BLOCK_LAYER`, `mid_LAYER` or `up_BLOCK_LAYER`; names our modules in files.
        width: channels the ResNet puts out.
        level: resolution, 0 is the latent grid, each step halves it (rounded up).
        last: whether it is the last layer of its block.
    """

    name: str
    width: int
    level: int
    last: bool

    @property
    def up(self) -> bool:
        """Whether the layer belongs to an up block."""
        return self.name.startswith("up_")


@dataclass(frozen=True, slots=True)
class BaseLayout:
    """Everything our modules must know of a base; stored in the config of a motion file.

    Args:
        places: the layers in the order of the walk.
        level_widths: channels of the up path at each level, finest first.
        latent_channels: C of the latents that the base takes.
        conv_in_width: channels after the first convolution.
        time_width: width of the time embedding.
        text_width: width of the text tokens its cross attentions take.
        groups: groups of its group norms.
    """

    places: tuple[Place, ...]
    level_widths: tuple[int, ...]
    latent_channels: int
    conv_in_width: int
    time_width: int
    text_width: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BaseLayout:
        """The inverse of `to_dict`."""
        rest = {key: value for key, value in values.items() if key != "places"}
        rest["level_widths"] = tuple(rest["level_widths"])
        return cls(places=tuple(Place(**place) for place in values["places"]), **rest)


def read_layout(spatial: UNet2DConditionModel) -> BaseLayout:
    """Read the layout of a base.

    Args:
        spatial: a UNet of (CrossAttn)Down/UpBlock2D and UNetMidBlock2DCrossAttn blocks.

    Returns:
        Its layout. Widths come from the modules themselves: `attention_head_dim` in configs means
        the head count in some bases and the head width in others.

    Raises:
        WeightsError: the base has something the walk does not know; the message names it.
    """
    check_supported(spatial)
    places = list(_places(spatial))
    widths: dict[int, int] = {place.level: place.width for place in places if place.up}
    crossed = next(m for m in spatial.mid_block.attentions.modules() if hasattr(m, "attn2"))
    return BaseLayout(
        places=tuple(places),
        level_widths=tuple(widths[level] for level in sorted(widths)),
        latent_channels=spatial.conv_in.in_channels,
        conv_in_width=spatial.conv_in.out_channels,
        time_width=spatial.time_embedding.linear_2.out_features,
        text_width=crossed.attn2.to_k.in_features,
        groups=spatial.mid_block.resnets[0].norm1.num_groups,
    )


def block_layers(block: Any) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """The (ResNet, attention or None) pairs of a block, in the order they run."""
    attentions = list(getattr(block, "attentions", None) or [])
    for index, resnet in enumerate(block.resnets):
        yield resnet, attentions[index] if index < len(attentions) else None


def check_supported(spatial: UNet2DConditionModel) -> None:
    """Refuse by name what the walk would silently get wrong.

    Args:
        spatial: the base.

    Raises:
        WeightsError: an unknown block, dual attention, FreeU, GLIGEN or an unknown embedding.
    """
    mid = [] if spatial.mid_block is None else [spatial.mid_block]
    if not mid:
        raise _refusal("mid_block is missing", "UNetMidBlock2DCrossAttn")
    groups = (
        ("down_blocks", spatial.down_blocks, SUPPORTED_DOWN),
        ("mid_block", mid, SUPPORTED_MID),
        ("up_blocks", spatial.up_blocks, SUPPORTED_UP),
    )
    for where, blocks, known in groups:
        for index, block in enumerate(blocks):
            kind = type(block).__name__
            if kind not in known:
                raise _refusal(f"{where}[{index}] is {kind}", " or ".join(known))
            if any(type(part).__name__ == "DualTransformer2DModel" for part in block.modules()):
                raise _refusal(f"{where}[{index}] has dual attention", "single cross attention")
    _check_embeddings(spatial)
    check_no_freeu(spatial)


def check_no_freeu(spatial: UNet2DConditionModel) -> None:
    """Refuse FreeU, which scales features inside the blocks' own forward that the walk replaces.

    Raises:
        WeightsError: `enable_freeu` was called on the base.
    """
    for index, block in enumerate(spatial.up_blocks):
        if getattr(block, "s1", None) is not None:
            raise _refusal(f"up_blocks[{index}] has FreeU enabled", "disable_freeu() on the base")


def _check_embeddings(spatial: UNet2DConditionModel) -> None:
    """Refuse embeddings that need inputs a video condition does not carry."""
    config = spatial.config
    known: dict[str, tuple[object, ...]] = {
        "addition_embed_type": (None, "text", "text_time"),
        "encoder_hid_dim_type": (None,),
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "time_cond_proj_dim": (None,),
        "attention_type": (None, "default"),
    }
    for key, values in known.items():
        found = config.get(key)
        if found not in values:
            raise _refusal(f"{key} = {found!r}", " or ".join(repr(value) for value in values))


def _places(spatial: UNet2DConditionModel) -> Iterator[Place]:
    """The layers in the order of the walk, with the resolution they run at."""
    level = 0
    for index, block in enumerate(spatial.down_blocks):
        yield from _block_places(f"down_{index}", block, level)
        level += block.downsamplers is not None
    yield from _block_places("mid", spatial.mid_block, level)
    for index, block in enumerate(spatial.up_blocks):
        yield from _block_places(f"up_{index}", block, level)
        level -= block.upsamplers is not None


def _block_places(name: str, block: Any, level: int) -> Iterator[Place]:
    """The layers of one block."""
    for index, resnet in enumerate(block.resnets):
        last = index == len(block.resnets) - 1
        yield Place(f"{name}_{index}", resnet.conv2.out_channels, level, last)


def _refusal(found: str, wanted: str) -> WeightsError:
    """A refusal that names the part and what would be taken instead."""
    return WeightsError(
        f"spatial base: {found}, which the video walk does not support; it takes {wanted}. "
        f"Choose a base of the SD 1.5, SD 2.1, SDXL or pocket family."
    )
