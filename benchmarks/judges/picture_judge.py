"""What a picture of SpriteWorld shows: object, scene, where the sprite is and how it is turned.

A small ConvNet, trained by ``benchmarks.judges.train`` on renderings alone. It looks for the object
under its own mask and for the scene outside of it, so that neither is guessed from the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.sprites import NOTO

OBJECTS: Final = tuple(NOTO)
PLACES: Final = tuple(SCENES)
SIDE_PX: Final = 128
"""Pictures are judged at this size; others are resized first."""
CELL_PX: Final = 4
"""Side of a mask's cell in pixels."""
WEIGHTS: Final = Path(__file__).parent / "picture.safetensors"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a judge sees in N pictures.

    Attributes:
        objects: (N, 29) log-probabilities, in the order of ``OBJECTS``.
        places: (N, 8) log-probabilities, in the order of ``PLACES``.
        mask: (N, 32, 32), how much of each cell the sprite covers, 0..1.
        turn: (N, 2), cosine and sine of the sprite's angle, clockwise from upright, unit length.
    """

    objects: np.ndarray
    places: np.ndarray
    mask: np.ndarray
    turn: np.ndarray


class PictureJudge(nn.Module):
    """Three grids of residual blocks, a mask, and heads that pool under and beside the mask.

    Args:
        widths: channels on the grids of 32, 16 and 8 cells a side.
        depths: residual blocks on each grid.
        hidden: width of the object's and the angle's heads.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (24, 48, 96),
        depths: tuple[int, int, int] = (1, 1, 2),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(CELL_PX), nn.Conv2d(3 * CELL_PX**2, fine, 3, padding=1)
        )
        self.fine = nn.Sequential(*(_Block(fine) for _ in range(depths[0])))
        self.middle = nn.Sequential(
            nn.Conv2d(fine, middle, 2, stride=2), *(_Block(middle) for _ in range(depths[1]))
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(middle, coarse, 2, stride=2), *(_Block(coarse) for _ in range(depths[2]))
        )
        self.to_mask = nn.ModuleList(nn.Conv2d(width, 32, 1) for width in widths)
        self.mask = nn.Sequential(nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))
        pooled = middle + coarse
        self.object = _head(pooled, hidden, len(OBJECTS))
        self.turn = _head(pooled, hidden, 2)
        self.place = nn.Linear(pooled, len(PLACES))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Look at pictures.

        Args:
            pictures: (B, 3, 128, 128) in [-1, 1].

        Returns:
            ``object`` (B, 29) and ``place`` (B, 8) logits, ``mask`` (B, 32, 32) logits, ``turn``
            (B, 2), not normalised.
        """
        fine = self.fine(self.stem(pictures))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        laterals = [
            F.interpolate(to_mask(grid), size=fine.shape[-2:], mode="nearest")
            for to_mask, grid in zip(self.to_mask, (fine, middle, coarse), strict=True)
        ]
        mask = self.mask(sum(laterals))
        # The heads read the mask and do not train it: its shape is the tracker's measure.
        inside = mask.detach().sigmoid()
        under = torch.cat([_pool(grid, inside) for grid in (middle, coarse)], 1)
        beside = torch.cat([_pool(grid, 1 - inside) for grid in (middle, coarse)], 1)
        return {
            "object": self.object(under),
            "place": self.place(beside),
            "mask": rearrange(mask, "b 1 h w -> b h w"),
            "turn": self.turn(under),
        }

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> PictureJudge:
        """Load a checkpoint (float16 on disk) to judge with."""
        judge = cls()
        judge.load_state_dict(load_file(path))
        return judge.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def look(self, pictures: np.ndarray, batch: int = 64) -> Sight:
        """Judge pictures.

        Args:
            pictures: uint8 (N, H, W, 3) RGB.
            batch: how many at a time.
        """
        parts = [self(to_input(pictures[k : k + batch])) for k in range(0, len(pictures), batch)]
        seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return Sight(
            objects=seen["object"].log_softmax(-1).numpy(),
            places=seen["place"].log_softmax(-1).numpy(),
            mask=seen["mask"].sigmoid().numpy(),
            turn=F.normalize(seen["turn"], dim=-1).numpy(),
        )


def to_input(pictures: np.ndarray) -> Tensor:
    """Turn uint8 (N, H, W, 3) into the (N, 3, 128, 128) in [-1, 1] that the judge reads."""
    batch = rearrange(torch.from_numpy(np.ascontiguousarray(pictures)), "n h w c -> n c h w")
    batch = batch.float() / 127.5 - 1
    if batch.shape[-2:] != (SIDE_PX, SIDE_PX):
        batch = F.interpolate(batch, size=(SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
    return batch.contiguous(memory_format=torch.channels_last)


def _pool(grid: Tensor, weight: Tensor) -> Tensor:
    """Average (B, C, h, w) under a weight (B, 1, 32, 32), to (B, C)."""
    weight = F.adaptive_avg_pool2d(weight, grid.shape[-2:])
    return (grid * weight).sum((-2, -1)) / (weight.sum((-2, -1)) + 1e-3)


def _head(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class _Block(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, grid: Tensor) -> Tensor:
        return grid + self.body(grid)
