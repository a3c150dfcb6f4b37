"""Write a pipeline of Stable Diffusion 1.x as the original code names its tensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor

_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_NETWORK: Final = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_CODER: Final = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def write_single_file(pipeline: Any, file: Path, **metadata: str) -> None:
    """Write one; ``metadata`` goes into the header."""
    state: dict[str, Tensor] = {}
    layers = pipeline.unet.config.layers_per_block
    for key, value in pipeline.unet.state_dict().items():
        crossed = _crosses(pipeline.unet, key)
        state[f"model.diffusion_model.{_network_key(key, layers, crossed)}"] = value
    blocks = len(pipeline.vae.config.block_out_channels)
    for key, value in pipeline.vae.state_dict().items():
        # The original's attention is a convolution of one pixel.
        flat = "attentions" in key and key.endswith("weight") and value.ndim == 2
        state[f"first_stage_model.{_coder_key(key, blocks)}"] = (
            value[:, :, None, None] if flat else value
        )
    for key, value in pipeline.text_encoder.state_dict().items():
        stem = key if key.startswith("text_model.") else f"text_model.{key}"
        state[f"cond_stage_model.transformer.{stem}"] = value
    save_file({key: value.contiguous().clone() for key, value in state.items()}, file, metadata)


def _crosses(network: Any, key: str) -> bool:
    """Whether the up block that a key is of has attention, behind which its upsampler counts."""
    found = re.match(r"up_blocks\.(\d+)\.", key)
    return found is not None and hasattr(network.up_blocks[int(found[1])], "attentions")


def _network_key(key: str, layers: int, crossed: bool) -> str:
    key = _renamed(key, _NETWORK)
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    if found:
        way, block, part, index, rest = found.groups()
        first = 1 + int(block) * (layers + 1) if way == "down" else int(block) * (layers + 1)
        group = "input_blocks" if way == "down" else "output_blocks"
        if part == "downsamplers":
            return f"{group}.{first + layers}.0.op.{rest.removeprefix('conv.')}"
        if part == "upsamplers":
            return f"{group}.{first + layers}.{2 if crossed else 1}.{rest}"
        place = {"resnets": 0, "attentions": 1}[part]
        key = f"{group}.{first + int(index)}.{place}.{rest}"
    return _renamed(key, _RESNET) if "transformer_blocks" not in key else key


def _coder_key(key: str, blocks: int) -> str:
    found = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    if found:
        coder, way, block, part, index, rest = found.groups()
        number = int(block) if way == "down" else blocks - 1 - int(block)
        name = {"resnets": f"block.{index}", "downsamplers": "downsample"}.get(part, "upsample")
        key = f"{coder}.{way}.{number}.{name}.{rest}"
    return _renamed(key, _CODER)


def _renamed(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        key = re.sub(rf"(^|\.){re.escape(ours)}(?=\.)", rf"\g<1>{theirs}", key)
    return key
