"""The interface between the training loop and what it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fdream.core.report import Reporter


class ObjectiveOptions(BaseModel):
    """Base of every objective's ``[objective]`` table: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(ABC):
    """Something to minimise: modules, batches and a loss.

    Batches are functions of the step alone, so that a run resumed at a step sees what it would have
    seen; all randomness of a step comes from the generator that the loop passes in.
    """

    Options: ClassVar[type[ObjectiveOptions]]

    modules: dict[str, nn.Module]
    """Trained modules by bundle component name; the loop optimises, averages and saves them."""

    @abstractmethod
    def prepare(self, cache: Path, reporter: Reporter) -> None:
        """Do what is done once before step 0 and after a resume: render, encode, fit.

        Args:
            cache: a folder of the run for what need not be computed again.
            reporter: where progress goes.
        """

    @abstractmethod
    def loss(
        self, step: int, batch_size: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute one micro-batch's loss: a scalar with a graph, and figures for the log."""

    def compile(self) -> None:
        """Compile what runs in ``loss``; evaluation runs it eagerly."""
        for module in self.modules.values():
            module.compile()

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure the current weights on held-out samples, the same ones and noise every time."""

    @abstractmethod
    def sheet(self) -> np.ndarray:
        """Draw what the current weights do, as one picture: uint8 (H, W, 3)."""

    @abstractmethod
    def components(self) -> Mapping[str, Any]:
        """Return everything the bundle of this run holds, trained or not, by component name."""

    def beside(self) -> Mapping[str, nn.Module]:
        """Return modules that the run keeps beside its bundle: they serve training alone."""
        return {}

    @abstractmethod
    def information(self) -> Mapping[str, Any]:
        """Return the ``fdream`` table of the bundle's ``model_index.json``."""
