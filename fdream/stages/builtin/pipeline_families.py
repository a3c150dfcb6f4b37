"""What differs between ready-made image-to-video pipelines; the adapter does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fdream.core.errors import StageError

INDEX: Final = "model_index.json"
Config = Callable[[str], dict[str, Any]]
"""Component name -> its configuration, empty where absent; ``INDEX`` -> the pipeline's own."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of pipeline.

    Attributes:
        frame_step: frames come as a whole number of these, plus one; 1 allows any number.
        cell: pixels that a side must be a multiple of.
        fps: frames per second its training clips had.
        text: whether it reads a caption.
        guidance: the argument that takes the guidance scale.
        rate: the argument that takes the frame rate; None where the model knows one rate.
    """

    frame_step: int
    cell: Callable[[Config], int]
    fps: Callable[[Config], float]
    text: bool = True
    guidance: str = "guidance_scale"
    rate: str | None = None


def _svd_cell(config: Config) -> int:
    # Its UNet halves the grid after every block but the last.
    halvings = len(config("unet")["block_out_channels"]) - 1
    return int(_vae_cell(config) * 2**halvings)


def _wan_cell(config: Config) -> int:
    network = config("transformer") or config("transformer_2")
    return int(config("vae").get("scale_factor_spatial", 8) * network["patch_size"][1])


def _wan_fps(config: Config) -> float:
    # The one whose condition is spread over time steps is Wan 2.2 TI2V, trained at 24.
    return 24.0 if config(INDEX).get("expand_timesteps") else 16.0


def _ltx_cell(config: Config) -> int:
    vae = config("vae")
    inside = vae["patch_size"] * 2 ** sum(vae["spatio_temporal_scaling"])
    return int(inside * config("transformer").get("patch_size", 1))


def _cogvideox_cell(config: Config) -> int:
    return int(_vae_cell(config) * config("transformer")["patch_size"])


def _cogvideox_fps(config: Config) -> float:
    # 1.5 patches time as well, and was trained at twice the rate.
    return 16.0 if config("transformer").get("patch_size_t") else 8.0


def _vae_cell(config: Config) -> int:
    return int(2 ** (len(config("vae")["block_out_channels"]) - 1))


FAMILIES: Final[dict[str, Family]] = {
    "StableVideoDiffusionPipeline": Family(
        frame_step=1,
        cell=_svd_cell,
        fps=lambda config: 7.0,
        text=False,
        guidance="max_guidance_scale",
        rate="fps",
    ),
    "WanImageToVideoPipeline": Family(frame_step=4, cell=_wan_cell, fps=_wan_fps),
    "LTXImageToVideoPipeline": Family(
        frame_step=8, cell=_ltx_cell, fps=lambda config: 25.0, rate="frame_rate"
    ),
    "CogVideoXImageToVideoPipeline": Family(frame_step=4, cell=_cogvideox_cell, fps=_cogvideox_fps),
}
"""By pipeline class, as the folder's index names it."""


def family_of(class_name: str, model: str) -> Family:
    """Return what is special about a pipeline class.

    Raises:
        StageError: it is none of those that are supported.
    """
    if class_name not in FAMILIES:
        raise StageError(
            f"{model}: {class_name} is no image-to-video pipeline that fdream knows; these are: "
            f"{', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[class_name]
