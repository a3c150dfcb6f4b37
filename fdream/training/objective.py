"""The interface between the training loop and what it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fdream.core.report import Reporter


class ObjectiveOptions(BaseModel):
    """Base of every objective's ``[objective]`` table: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a batch belongs to one process of several.

    All randomness of a step is drawn for the whole batch and then cut: so any number of processes
    trains on the same samples, noise and steps.
    """

    index: int = 0
    count: int = 1

    def of(self, items: Any) -> Any:
        """Cut a sequence or tensor of a whole batch, along its first axis."""
        size = len(items) // self.count
        return items[self.index * size : (self.index + 1) * size]


@dataclass(frozen=True)
class Batch:
    """What one process sees of one step: tensors on the CPU, until they are sent.

    Attributes:
        names: what the samples are called, for messages.
    """

    names: list[str]

    def to(self, device: torch.device) -> Self:
        """Return the same with its tensors on a device."""
        return sent(self, device)


BatchT = TypeVar("BatchT", bound=Batch)


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """A video drawn to be looked at.

    Attributes:
        caption: what it should show.
        frames: uint8 (F, H, W, 3).
        fps: frames per second.
    """

    caption: str
    frames: np.ndarray
    fps: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the current weights do, to be looked at.

    Attributes:
        sheet: one picture, uint8 (H, W, 3).
        clips: videos, where videos are drawn.
        figures: what can be measured on them.
    """

    sheet: np.ndarray
    clips: Sequence[DrawnClip] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


class Objective(ABC, Generic[BatchT]):
    """Something to minimise: modules, batches and a loss.

    Batches are functions of the step alone, so that a run resumed at a step sees what it would have
    seen; all randomness of a step comes from the generator that the loop passes in.
    """

    Options: ClassVar[type[ObjectiveOptions]]
    splits: ClassVar[bool] = False
    """Whether the loss is a mean over samples, so that several processes may share a batch."""
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Names for parts of the model, as patterns of parameter names, for learning rates."""
    closed: ClassVar[tuple[str, ...]] = ()
    """Classes of layers whose weights nothing reads but their own forward."""
    uneven: bool = False
    """Whether some steps leave some trained weights without a gradient."""

    modules: dict[str, nn.Module]
    """Trained modules by bundle component name; the loop optimises, averages and saves them."""

    @abstractmethod
    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        """Do what is done once before step 0 and after a resume: render, encode, fit.

        All processes do so at once: what is kept is locked while it is made, and read by the
        others when it is whole.

        Args:
            cache: a folder of the run for what need not be computed again.
            share: which part of shared work to begin with.
            reporter: where progress goes.
        """

    @abstractmethod
    def draw(self, step: int, batch_size: int, share: Share, generator: torch.Generator) -> BatchT:
        """Gather one micro-batch on the CPU, or a process' share of it.

        Called ahead of time and from several threads: it may read what ``prepare`` left, and change
        nothing.

        Args:
            step: number of the micro-batch, from 0; with the generator all that it depends on.
            batch_size: of all processes together.
            share: which part of it to return.
            generator: of the whole batch, on the CPU.
        """

    @abstractmethod
    def loss(self, batch: BatchT) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute a micro-batch's loss: a scalar with a graph, and figures for the log."""

    def probe(self, batch: BatchT) -> dict[str, Tensor]:
        """Return figures too dear for every step, such as ratios of gradients; none by default."""
        del batch
        return {}

    def compile(self) -> None:
        """Compile what runs in ``loss``; evaluation runs it eagerly."""
        for module in self.modules.values():
            module.compile()

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure the current weights on held-out samples, the same ones and noise every time."""

    @abstractmethod
    def drawing(self) -> Drawing:
        """Draw what the current weights do."""

    @abstractmethod
    def components(self) -> Mapping[str, Any]:
        """Return everything the bundle of this run holds, trained or not, by component name."""

    def beside(self) -> Mapping[str, nn.Module]:
        """Return modules that the run keeps beside its bundle: they serve training alone."""
        return {}

    def troubles(self) -> dict[str, str]:
        """Return samples that could not be read so far, by name, and why."""
        return {}

    @abstractmethod
    def information(self) -> Mapping[str, Any]:
        """Return the ``fdream`` table of the bundle's ``model_index.json``."""


def sent(value: Any, device: torch.device) -> Any:
    """Move the tensors of nested dataclasses; what is no tensor stays."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: sent(part, device) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(sent(part, device) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: sent(getattr(value, f.name), device) for f in fields(value)}
        )
    return value
