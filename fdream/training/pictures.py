"""Pictures for training: SpriteWorld's stills and clips by index, and sheets to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from einops import rearrange
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationInfo, field_validator
from torch import Tensor

from fdream.core.sizes import Size
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.motions import MOTIONS
from fdream.data.spriteworld.sprites import SpriteSet, cast
from fdream.data.spriteworld.strangers import stranger
from fdream.data.spriteworld.world import (
    WORLD_VERSION,
    Clip,
    Description,
    Facts,
    Split,
    SpriteWorld,
    Still,
)
from fdream.stages.builtin.pixels import to_uint8

HELD_OUT_SEED = 1_000_000_000
"""First seed of held-out clips; the split, not the seed, keeps what they show from training."""


class SpriteWorldOptions(BaseModel):
    """The ``[data.options]`` of ``source = "spriteworld"``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sprites: SpriteSet = "noto"
    size: tuple[int, int] = (128, 128)
    """(height, width) in pixels."""
    frames: int = 16
    fps: float = 8.0
    degraded: bool = False
    grid: int | None = None
    """See ``SpriteWorld.grid``."""
    first_frames: float = 0.5
    """Share of first frames among stills; the others are taken at random times."""
    strangers: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of clips of a picture that is not of the world (``stranger``), which stands still
    whatever its caption says. Ours: without them a photo dissolves into pieces of sprites."""
    emphasis: dict[str, PositiveFloat] = {}
    """How many times as often as in the world itself an object is trained, or a motion; ``camera``
    stands for a camera that moves, whatever moves before it. Nothing held out is chosen by it."""

    @field_validator("emphasis")
    @classmethod
    def _known(cls, emphasis: dict[str, float], others: ValidationInfo) -> dict[str, float]:
        known = ("camera", *MOTIONS, *cast(others.data.get("sprites", "noto")))
        for name in emphasis:
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}")
        return emphasis

    def weight(self, facts: Facts) -> float:
        """Return how often a clip is trained, against the others of its world."""
        moving = self.emphasis.get("camera") if facts.camera != "still" else None
        motion = self.emphasis.get(facts.motion, 1.0) if moving is None else moving
        return motion * self.emphasis.get(facts.thing, 1.0)

    @property
    def highest_weight(self) -> float:
        """At least the weight of every clip."""
        things = cast(self.sprites)
        rest = [value for name, value in self.emphasis.items() if name not in things]
        return max([1.0, *rest]) * max([1.0, *(self.emphasis.get(thing, 1.0) for thing in things)])

    def world(self, split: Split) -> SpriteWorld:
        """Return the world that these options describe."""
        return SpriteWorld(
            cast=self.sprites,
            size=Size(*self.size),
            frames=self.frames,
            split=split,
            degraded=self.degraded,
            grid=self.grid,
        )


_CANDIDATES = 64
"""Scenes that are looked at for one training sample of a world with an emphasis."""


class _Source:
    """SpriteWorld's clips by index: training ones by number, held-out ones all at once."""

    def __init__(self, options: SpriteWorldOptions, validation: int, seed: int = 0) -> None:
        self.options = options
        self.validation = validation
        self._first_seed = seed * 100_000_000
        self._train = options.world("train")
        self._held_out = options.world("held-out")
        # OpenCV's own threads fight torch's for two cores and win nothing on pictures this small.
        cv2.setNumThreads(1)

    def words(self, index: int) -> Description:
        """Return what training sample number ``index`` shows, without drawing it."""
        return self._train.describe(self._seed(index))

    def information(self) -> Mapping[str, Any]:
        """Return what a bundle says of the data it was trained on."""
        return {"sprites": self.options.sprites, "size": list(self.options.size)}

    def key(self) -> Mapping[str, Any]:
        """Return everything that the samples depend on, for caches."""
        return {
            **self.options.model_dump(mode="json"),
            "first_seed": self._first_seed,
            "world": WORLD_VERSION,
        }

    def _seed(self, index: int) -> int:
        """Return the world's seed of a training sample.

        Under an emphasis scenes are drawn until one is taken, with its weight against the highest
        as the chance; where none of the candidates was, the last one is trained.
        """
        if not self.options.emphasis:
            return self._first_seed + index
        highest = self.options.highest_weight
        chance = Chance(f"emphasis/{self._first_seed}/{index}")
        for candidate in range(index * _CANDIDATES, (index + 1) * _CANDIDATES):
            seed = self._first_seed + candidate
            if chance.happens(self.options.weight(self._train.facts(seed)) / highest):
                break
        return seed


class StillSource(_Source):
    """Single frames of clips at random times, many of them first frames.

    A frozen base can only draw poses it has seen, so it must see more than first frames.
    """

    def draw(self, index: int) -> Still:
        """Return training still number ``index``; the same one every time."""
        seed = self._seed(index)
        chance = Chance(f"still/{seed}")
        first = chance.happens(self.options.first_frames)
        frame = 0 if first else chance.below(self.options.frames)
        return self._train.still(seed, frame)

    def held_out(self) -> list[Still]:
        """Return first frames of clips whose (object, scene, motion) was never trained."""
        return [self._held_out.still(HELD_OUT_SEED + k, 0) for k in range(self.validation)]

    def held_out_frames(self) -> np.ndarray:
        """Return them as uint8 (N, H, W, 3)."""
        return np.stack([still.frame for still in self.held_out()])


class ClipSource(_Source):
    """Whole clips."""

    def draw(self, index: int, stride: int = 1) -> Clip:
        """Return training clip number ``index``, or every ``stride``-th frame of it."""
        seed = self._seed(index)
        picture = self._stranger(seed)
        if picture is None:
            return self._train.clip(seed, stride)
        words, frames = self._train.describe(seed), len(range(0, self.options.frames, stride))
        return Clip(
            words.facts,
            words.caption,
            words.pair,
            frames=np.repeat(picture[None], frames, axis=0),
            flow=np.zeros((frames - 1, *picture.shape[:2], 2), np.float32),
            mask=np.zeros((frames, *picture.shape[:2]), bool),
            visible=np.ones((frames - 1, *picture.shape[:2]), bool),
        )

    def first_frame(self, index: int) -> np.ndarray:
        """Return the first frame of training clip number ``index``: uint8 (H, W, 3)."""
        seed = self._seed(index)
        picture = self._stranger(seed)
        return self._train.still(seed, 0).frame if picture is None else picture

    def held_out(self, stride: int = 1) -> list[Clip]:
        """Return clips whose (object, scene, motion) was never trained, frames as in ``draw``."""
        return [self._held_out.clip(HELD_OUT_SEED + k, stride) for k in range(self.validation)]

    def _stranger(self, seed: int) -> np.ndarray | None:
        """Return the picture, uint8 (H, W, 3), if the clip of a seed is not of the world."""
        if not Chance(f"strangers/{seed}").happens(self.options.strangers):
            return None
        return stranger(seed, *self.options.size)


def contact_sheet(rows: Sequence[Tensor]) -> np.ndarray:
    """Lay rows of pictures on one sheet; a row with fewer pictures than others ends in black.

    Args:
        rows: each (N, 3, H, W) in [-1, 1], alike in H and W.

    Returns:
        uint8 (rows * H, N * W, 3).
    """
    strips = [rearrange(to_uint8(row), "n h w c -> h (n w) c") for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips]
    )


def psnr(mean_square: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of pictures in [-1, 1].

    Args:
        mean_square: a scalar, the mean squared error.
    """
    return 10 * (4 / mean_square.detach().clamp(min=1e-12)).log10()
