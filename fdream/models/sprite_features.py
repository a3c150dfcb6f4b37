"""A small classifier of SpriteWorld's clips, whose inner features measure clips without a download.

It shares no weights with any generator and was trained on renderings alone
(``recipes/eval/sprite_features.py``). Its figures are no FVD and are never called one.

The packaged weights learnt a world of 42 objects, of which 29 are left, and its smaller shake.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from fdream.core.errors import WeightsError

WEIGHTS: Final = Path(__file__).resolve().parent.parent / "weights" / "sprite_features.safetensors"
SIDE_PX: Final = 64
NUM_FRAMES: Final = 8
NUM_FEATURES: Final = 32
_WIDTHS: Final = (32, 64)


class SpriteFeatures(nn.Module):
    """Convolutions in space, then in time, on grids of 16 and 8 cells a side.

    Ours: nothing in the paper; small enough for a laptop, and of few enough features for a
    Frechet distance of some dozens of clips.

    Args:
        classes: how many answers each question has: object, scene, motion, camera.
    """

    def __init__(self, classes: tuple[int, ...]) -> None:
        super().__init__()
        fine, coarse = _WIDTHS
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, fine, 3, padding=1))
        self.fine = nn.ModuleList(_SpaceTime(fine) for _ in range(2))
        self.to_coarse = nn.Conv2d(fine, coarse, 2, stride=2)
        self.coarse = nn.ModuleList(_SpaceTime(coarse) for _ in range(2))
        self.features = nn.Linear(2 * coarse, NUM_FEATURES)
        self.heads = nn.ModuleList(nn.Linear(NUM_FEATURES, count) for count in classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Look at clips.

        Args:
            clips: (B, 3, F, 64, 64) in [-1, 1].

        Returns:
            (B, 32) features, any range.
        """
        frames = clips.shape[2]
        grid = self.stem(rearrange(clips, "b c f h w -> (b f) c h w"))
        for block in self.fine:
            grid = block(grid, frames)
        grid = self.to_coarse(grid)
        for block in self.coarse:
            grid = block(grid, frames)
        grid = rearrange(F.relu(grid), "(b f) c h w -> b c (f h w)", f=frames)
        return self.features(torch.cat([grid.mean(-1), grid.amax(-1)], dim=1))

    def answers(self, features: Tensor) -> list[Tensor]:
        """Return the logits of each question, from (B, 32) features."""
        return [head(F.relu(features)) for head in self.heads]

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> SpriteFeatures:
        """Load the weights (float16 on disk) to measure with.

        Raises:
            WeightsError: they are missing or not of this network.
        """
        try:
            weights = load_file(path)
            network = cls(tuple(len(weights[name]) for name in sorted(weights) if _is_bias(name)))
            network.load_state_dict(weights)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(
                f"{path.name}: not the weights of the SpriteWorld classifier "
                f"({str(error).splitlines()[0]}); reinstall fdream."
            ) from error
        return network.float().eval()


def weights_hash(path: Path = WEIGHTS) -> str:
    """Return the sha256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_bias(name: str) -> bool:
    return name.startswith("heads.") and name.endswith(".bias")


class _SpaceTime(nn.Module):
    """A 3x3 convolution in space and one of three frames in time, beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.time = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        )

    def forward(self, grid: Tensor, frames: int) -> Tensor:
        """Apply both to (B F, C, h, w)."""
        grid = grid + self.space(grid)
        height = grid.shape[-2]
        clip = rearrange(grid, "(b f) c h w -> b c f (h w)", f=frames)
        return grid + rearrange(self.time(clip), "b c f (h w) -> (b f) c h w", h=height)
