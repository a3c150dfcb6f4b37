"""What the video objective asks of its data, and what it offers in return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdream.core.captions import CaptionPair
from fdream.core.report import Reporter
from fdream.models.conditions import FlowTarget
from fdream.training.objective import Share, sent


@dataclass(frozen=True)
class Views:
    """Clips as one step sees them: frames at an offset and a stride, of one size.

    Attributes:
        names: what the clips are called.
        pairs: one caption pair a clip.
        fps: (B,) frames per second, at the stride.
        first_frame: (B, 3, H, W) in [-1, 1].
        target: flow and visibility on the latent grid, displacements in pixels of the frame.
        latents: (B, C, F, h, w); None where they are not kept.
        frames: (B, 3, F, H, W) in [-1, 1], in place of latents.
        features: what frozen encoders say of the first frame and the captions, where it is kept:
            fields of a condition by name.
        counts: (B, 1, 1, h, w) in [0, 1], how much each cell counts; None: all alike.
    """

    names: list[str]
    pairs: list[CaptionPair]
    fps: Tensor
    first_frame: Tensor
    target: FlowTarget
    latents: Tensor | None = None
    frames: Tensor | None = None
    features: dict[str, Any] | None = None
    counts: Tensor | None = None

    def to(self, device: torch.device) -> Views:
        """Return the same with its tensors on a device."""
        moved: Views = sent(self, device)
        return moved


@dataclass(frozen=True)
class HeldOut:
    """Clips that are never trained on, alike in size.

    Attributes:
        views: with latents.
        frames: fetches uint8 (B, F, H, W, 3), what they show; few of them are looked at.
    """

    views: Views
    frames: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class ClipCoder:
    """The networks through which clips are seen, and what identifies their answers.

    Attributes:
        encode: uint8 (B, F, H, W, 3) to latents (B, C, F, h, w), float32 on the CPU.
        flow: frames (B, 3, F, H, W) in [-1, 1], with the exact flow and visibility where they are
            known, to flow and visibility on the latent grid, (B, 3, F-1, h, w).
        features: first frames uint8 (B, H, W, 3) and captions to what frozen encoders say of them,
            on the CPU; empty where none is frozen.
        downscale: pixels a latent cell covers along each side.
        channels: of the latents.
        vae_key: identifies the autoencoder.
        teacher: identifies the teacher of flow: its name, and its options where they are not the
            defaults.
        features_key: identifies the encoders of ``features``.
        dtype: the number format in which networks answer.
    """

    encode: Callable[[np.ndarray], Tensor]
    flow: Callable[[Any], np.ndarray]
    features: Callable[[np.ndarray, list[CaptionPair]], dict[str, Tensor]]
    downscale: int
    channels: int
    vae_key: str
    teacher: str
    features_key: str
    dtype: str


class ClipDataset(ABC):
    """Clips for the video objective, as functions of the step alone."""

    @abstractmethod
    def prepare(self, coder: ClipCoder, cache: Path, share: Share, reporter: Reporter) -> None:
        """Encode what is encoded once.

        Args:
            coder: how.
            cache: a folder of the run.
            share: which part of the work this process may take on.
            reporter: where progress goes.
        """

    @abstractmethod
    def draw(self, step: int, batch_size: int, share: Share, generator: torch.Generator) -> Views:
        """Return a process' share of one batch; see ``Objective.draw``."""

    @abstractmethod
    def held_out(self) -> list[HeldOut]:
        """Return the held-out clips, in parts small enough for one forward."""

    @abstractmethod
    def information(self) -> Mapping[str, Any]:
        """Return what a bundle says of the data it was trained on."""

    def troubles(self) -> dict[str, str]:
        """Return the clips that could not be read so far, and why."""
        return {}
