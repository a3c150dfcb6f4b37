"""What is kept of a run: checkpoints to go on from, and the bundle of averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fdream.core.errors import OutputError
from fdream.core.report import Reporter
from fdream.models.bundle import Bundle
from fdream.training import checkpoints, spread
from fdream.training.checkpoints import Progress
from fdream.training.engine import Engine
from fdream.training.objective import Objective
from fdream.training.optim import WeightAverage
from fdream.training.run_folder import RunFolder


class Keeper:
    """Saves a run and brings it back.

    Args:
        objective: what is trained.
        folder: of the run.
        optimizer: whose state belongs to a checkpoint.
        average: of the trained weights; what bundles hold.
        engine: one of its processes writes.
        loss: holds all that is trained; its weights may be spread over processes.
    """

    def __init__(
        self,
        objective: Objective[Any],
        folder: RunFolder,
        optimizer: Optimizer,
        average: WeightAverage,
        engine: Engine,
        loss: nn.Module,
    ) -> None:
        self._objective = objective
        self._folder = folder
        self._optimizer = optimizer
        self._average = average
        self._engine = engine
        self._loss = loss

    def resume(self, reporter: Reporter) -> Progress:
        """Put the newest whole checkpoint back in place, if there is one."""
        newest = checkpoints.latest(self._folder.checkpoints, reporter.warn)
        if newest is None:
            return Progress()
        restored = checkpoints.load(newest, self._objective.modules, self._optimizer)
        self._average.restore(restored.averages, restored.progress.step)
        self._engine.restore_scaler(restored.extra.get("scaler", {}))
        reporter.say(f"resuming {self._folder.root.name} at step {restored.progress.step}")
        return restored.progress

    def save(self, progress: Progress) -> None:
        """Write a checkpoint and the bundle; all processes wait for it.

        Raises:
            OutputError: the disk is full or gone.
        """
        if self._engine.is_main or self._engine.spreads:
            self._write(progress)
        self._engine.wait()

    def gathered(self) -> AbstractContextManager[None]:
        """Hold whole weights inside the block, for what is no training step."""
        return spread.gathered(self._loss) if self._engine.spreads else nullcontext()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights and evaluation mode inside the block."""
        modules = self._objective.modules.values()
        self._average.swap()
        for module in modules:
            module.eval()
        try:
            # Eagerly: a compiled module would compile again for every other batch size.
            with (
                self.gathered(),
                torch.no_grad(),
                self._engine.device.autocast(),
                torch.compiler.set_stance("force_eager"),
            ):
                yield
        finally:
            self._average.swap()
            for module in modules:
                module.train()

    def _write(self, progress: Progress) -> None:
        objective, folder = self._objective, self._folder
        try:
            checkpoints.save(
                folder.checkpoints,
                progress,
                objective.modules,
                self._average.shadow,
                self._optimizer,
                {"scaler": self._engine.scaler_state()},
                writes=self._engine.is_main,
            )
            with self.averaged():
                if not self._engine.is_main:
                    return  # it has lent its parts
                Bundle.write(folder.bundle, objective.components(), objective.information())
                for name, module in objective.beside().items():
                    checkpoints.save_module(folder.root / name, module)
        except OSError as error:
            raise OutputError(
                f"{folder.root}: step {progress.step} could not be saved "
                f"({error.strerror or error}); the last checkpoint is whole. Make room, then run "
                "the same command again."
            ) from error
