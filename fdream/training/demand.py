"""What a run will need, told from headers and configurations: nothing is loaded or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from accelerate import init_empty_weights

from fdream.core.recipe import TrainTable
from fdream.models.bundle import Bundle
from fdream.models.latents import latent_downscale, latent_scaling
from fdream.models.motion_modules import MotionModules
from fdream.training.checkpoints import KEPT
from fdream.training.clips.buckets import Bucket
from fdream.training.objectives.video_model import new_motion, passed_over
from fdream.training.objectives.video_options import VideoOptions

_FULL: Final = 4  # bytes of a float32
_HALF: Final = 2
# Frozen text and image encoders answer with so many tokens where their configuration is silent.
_TEXT_TOKENS: Final = 77


@dataclass(frozen=True, slots=True)
class RunDemand:
    """What a run will need.

    Attributes:
        trained: parameters that learn.
        frozen: parameters that do not.
        moments: numbers that the optimizer keeps for each that learns.
        view_bytes: of one view in the store, by bucket.
        passed_over: what to warn of (`objectives.video_model.passed_over`).
    """

    trained: int
    frozen: int
    moments: int
    view_bytes: Mapping[Bucket, int]
    passed_over: Sequence[str] = ()

    def memory(self, half: bool) -> int:
        """Bytes of weights, gradients, optimizer and average; what layers compute comes on top.

        Args:
            half: whether frozen weights are held in half precision.
        """
        each = _FULL * (3 + self.moments)
        return self.trained * each + self.frozen * (_HALF if half else _FULL)

    @property
    def run_folder(self) -> int:
        """Bytes of checkpoints and bundle, while the next ones are written beside them."""
        return self.trained * _FULL * ((KEPT + 1) * (2 + self.moments) + 2)


def video_demand(
    options: VideoOptions, table: TrainTable, base: Bundle, buckets: Mapping[Bucket, int]
) -> RunDemand:
    """Say what the video objective needs on a base; LoRA and PredictNet are small and left out.

    Raises:
        WeightsError: a component is missing or damaged (every file's header is looked at), or
            the motion was trained on another base.
        RecipeError: the base cannot be trained so.
    """
    unet, vae = base.skeleton("unet"), base.skeleton("vae")
    channels = int(base.config("unet")["in_channels"])
    counts = {name: base.num_parameters(name) for name in base.component_names}
    unmet: list[str] = []
    with init_empty_weights():
        motion = (
            base.skeleton("motion") if base.has("motion") else new_motion(options, base, unet, vae)
        )
    if base.has("motion"):
        assert isinstance(motion, MotionModules), "that is what a bundle calls motion"
        unmet = passed_over(options, motion)
        motion.check_base(unet, base.load("scheduler"), latent_scaling(vae))
    learning = {"motion": sum(p.numel() for p in motion.parameters())}
    if base.has("motion_text_encoder") and "motion_text_encoder" not in base.elsewhere:
        learning["motion_text_encoder"] = counts["motion_text_encoder"]
    if options.spatial == "full":
        learning["unet"] = counts["unet"]
    frozen = sum(count for name, count in counts.items() if name not in learning)
    cell = latent_downscale(vae)
    per_clip = _feature_values(base)
    return RunDemand(
        trained=sum(learning.values()),
        frozen=frozen,
        moments=1 if table.optimizer == "muon" else 2,
        view_bytes={bucket: _view_bytes(bucket, cell, channels, per_clip) for bucket in buckets},
        passed_over=unmet,
    )


def _view_bytes(bucket: Bucket, cell: int, channels: int, features: int) -> int:
    cells = (bucket.height // cell) * (bucket.width // cell)
    latents = channels * bucket.frames * cells
    flow = 3 * (bucket.frames - 1) * cells
    return _HALF * (latents + flow + features) + 3 * bucket.height * bucket.width


def _feature_values(base: Bundle) -> int:
    """How many numbers frozen encoders say of one clip."""
    total = 0
    for name in ("text_encoder", "text_encoder_2", "motion_text_encoder"):
        if base.has(name):
            config = base.config(name)
            tokens = min(_TEXT_TOKENS, config.get("max_position_embeddings", _TEXT_TOKENS))
            total += tokens * config.get("hidden_size", config.get("d_model", 0))
    if base.has("image_encoder"):
        whole = base.config("image_encoder")
        vision = whole.get("vision_config", whole)
        total += ((vision["image_size"] // vision["patch_size"]) ** 2 + 1) * vision["hidden_size"]
    return total
