"""What a model will need of memory, estimated from its configurations and headers alone.

Weights are counted exactly. Work space is an estimate: what the widest layers of the network and
of the autoencoder keep alive at once.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from fdream.core.errors import WeightsError
from fdream.core.fit import Demand
from fdream.core.sizes import Size

Config = Callable[[str], Mapping[str, Any]]

_BLOCK: Final = re.compile(r"^.*?\.\d+(?=\.)")
# Tensors as wide as a layer's input that live together in it: of attention with its feed-forward
# part, and of a residual block at the autoencoder's last, widest resolution. Measured on a CPU at
# Stable Diffusion's layout: up to 45 and 6, skip connections and what convolutions unfold included.
_ALIVE_IN_NETWORK: Final = 48
_ALIVE_IN_CODER: Final = 8
_TILE_PX: Final = 512
_FRAMES_AT_A_TIME: Final = 8
_CODER_WIDTH: Final = 128


@dataclass(frozen=True, slots=True)
class WeightCount:
    """Numbers of a component: in all, in its largest block of layers, in its largest layer."""

    total: int
    block: int
    layer: int

    @classmethod
    def of(cls, files: Iterable[Path]) -> WeightCount:
        """Count from the headers of safetensors files.

        Raises:
            WeightsError: one cannot be read.
        """
        blocks: Counter[str] = Counter()
        layers: Counter[str] = Counter()
        for file in files:
            try:
                with safe_open(file, "numpy") as tensors:
                    for name in tensors.keys():  # noqa: SIM118  # cannot be iterated itself
                        numbers = math.prod(tensors.get_slice(name).get_shape())
                        layer, found = name.rpartition(".")[0], _BLOCK.match(name)
                        blocks[found[0] if found else layer] += numbers
                        layers[layer] += numbers
            except (OSError, SafetensorError) as error:
                raise WeightsError(f"{file.name}: cannot be read ({error}).") from error
        return cls(sum(layers.values()), *(max(c.values(), default=0) for c in (blocks, layers)))


def demand_of(counts: Iterable[WeightCount], config: Config, size: Size, frames: int = 1) -> Demand:
    """Estimate the demand of a model of diffusers, or of a bundle.

    Args:
        counts: of its components.
        config: component name -> its configuration, empty where absent.
        size: of the pictures.
        frames: of a video; 1 for a picture.
    """
    found = list(counts)
    network = _network_work(config, size, frames)
    coder = config("vae")
    width = _first(coder, "block_out_channels", "base_dim", "width") or _CODER_WIDTH
    pixel = _ALIVE_IN_CODER * 2 * width
    area = size.height * size.width
    return Demand(
        weights=sum(count.total for count in found),
        component=max((count.total for count in found), default=0),
        block=max((count.block for count in found), default=0),
        layer=max((count.layer for count in found), default=0),
        work=max(network, pixel * area * min(frames, _FRAMES_AT_A_TIME)),
        work_tiled=max(network, pixel * min(area, _TILE_PX**2)),
    )


def _network_work(config: Config, size: Size, frames: int) -> int:
    """Numbers that the denoising network keeps alive, both halves of guidance together."""
    unet, transformer = config("unet"), config("transformer")
    coder = config("vae")
    if unet:
        cells = size.height * size.width // _cell(coder) ** 2
        return 2 * frames * cells * int(unet["block_out_channels"][0]) * _ALIVE_IN_NETWORK
    if not transformer:
        return 0
    heads = transformer.get("num_attention_heads") or 1
    width = heads * int(transformer.get("attention_head_dim") or 64)
    patch = transformer.get("patch_size") or 1
    side = _cell(coder) * int(patch if isinstance(patch, int) else patch[-1])
    step = _compression(coder) if frames > 1 else 1
    tokens = math.ceil(frames / step) * (size.height // side) * (size.width // side)
    return 2 * tokens * width * _ALIVE_IN_NETWORK


def _cell(coder: Mapping[str, Any]) -> int:
    """Pixels that a latent covers along a side."""
    if "patch" in coder:
        return int(coder["patch"])
    if "spatio_temporal_scaling" in coder:
        return int(coder.get("patch_size") or 1) * 2 ** sum(coder["spatio_temporal_scaling"])
    if "scale_factor_spatial" in coder:
        return int(coder["scale_factor_spatial"])
    widths = coder.get("block_out_channels") or (0,) * 4
    return int(2 ** (len(widths) - 1))


def _compression(coder: Mapping[str, Any]) -> int:
    """Frames that a latent covers."""
    if "spatio_temporal_scaling" in coder:
        return int(2 ** sum(coder["spatio_temporal_scaling"]))
    stated = coder.get("temporal_compression_ratio") or coder.get("scale_factor_temporal")
    return int(stated or 1)


def _first(table: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = table.get(key)
        if value is not None:
            return int(value[0] if isinstance(value, list | tuple) else value)
    return None
