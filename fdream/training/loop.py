"""The training loop: one for all objectives, from the pocket VAE to the video generator."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from PIL import Image
from torch import nn

from fdream.core.errors import FdreamError, OutputError
from fdream.core.recipe import TrainTable
from fdream.core.report import Reporter
from fdream.models.bundle import Bundle
from fdream.training import checkpoints
from fdream.training.checkpoints import Progress
from fdream.training.objective import Objective
from fdream.training.optim import WeightAverage, build_optimizer, learning_rate


class Stopped(FdreamError):
    """The run was asked to stop and has saved; running the same command again continues it."""

    def __init__(self, signum: int, step: int) -> None:
        # The one error whose code depends on what happened.
        self.exit_code = 130 if signum == signal.SIGINT else 143  # type: ignore[misc]
        super().__init__(
            f"stopped at step {step} and saved; run the same command again to continue."
        )


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what it makes."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def sheets(self) -> Path:
        return self.root / "sheets"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"


class TrainingLoop:
    """Steps an objective until its steps or minutes are used up.

    Args:
        objective: what is trained.
        table: the recipe's ``[train]`` table.
        folder: where checkpoints, samples, log and the bundle go.
        seed: of the run; step k draws from ``seed`` and k alone.
        reporter: where progress goes.
    """

    def __init__(
        self,
        objective: Objective,
        table: TrainTable,
        folder: RunFolder,
        seed: int,
        reporter: Reporter,
    ) -> None:
        self.objective = objective
        self.table = table
        self.folder = folder
        self.seed = seed
        self.reporter = reporter

    def run(self) -> Progress:
        """Train, resuming from the newest checkpoint.

        Raises:
            Stopped: SIGINT or SIGTERM came; everything was saved first.
            FdreamError: the loss is not finite.
        """
        folder, table, objective = self.folder, self.table, self.objective
        for place in (folder.checkpoints, folder.cache, folder.sheets):
            place.mkdir(parents=True, exist_ok=True)
        objective.prepare(folder.cache, self.reporter)
        modules = objective.modules
        # Before the optimizer: its state takes the layout of the parameters it is built on.
        if table.channels_last:
            for module in modules.values():
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(modules.values(), table)
        self.average = WeightAverage(modules, table.ema_decay)
        progress = self._resume()
        if table.compile:
            objective.compile()
        last_save = time.monotonic()
        with (
            _listening() as stop,
            self.reporter.progress(table.steps, objective.__class__.__name__) as bar,
        ):
            bar.update(progress.step)
            while not self._finished(progress):
                started = time.monotonic()
                figures = self._step(progress)
                progress.step += 1
                progress.samples += table.batch_size * table.accumulate
                progress.seconds += time.monotonic() - started
                bar.update(1, **figures)
                if progress.step % table.log_every == 0:
                    self._log(progress, figures)
                due = time.monotonic() - last_save > 60 * table.save_minutes
                if stop or due or progress.step % table.save_every == 0:
                    self._save(progress)
                    last_save = time.monotonic()
                if stop:
                    raise Stopped(stop[0], progress.step)
                if progress.step % table.eval_every == 0:
                    self._evaluate(progress)
                if progress.step % table.sample_every == 0:
                    self._draw(progress)
        self._save(progress)
        self._evaluate(progress)
        self._draw(progress)
        return progress

    def _finished(self, progress: Progress) -> bool:
        out_of_time = self.table.minutes is not None and progress.seconds >= 60 * self.table.minutes
        return progress.step >= self.table.steps or out_of_time

    def _done(self, progress: Progress) -> float:
        by_time = (
            0.0 if self.table.minutes is None else progress.seconds / (60 * self.table.minutes)
        )
        return max(progress.step / self.table.steps, by_time)

    def _step(self, progress: Progress) -> dict[str, float]:
        table = self.table
        rate = learning_rate(table, progress.step, self._done(progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total: dict[str, float] = {}
        for micro in range(table.accumulate):
            index = progress.step * table.accumulate + micro
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
            loss, figures = self.objective.loss(index, table.batch_size, generator)
            (loss / table.accumulate).backward()
            for key, value in {"loss": loss.item(), **figures}.items():
                total[key] = total.get(key, 0.0) + value / table.accumulate
        parameters = [
            p
            for module in self.objective.modules.values()
            for p in module.parameters()
            if p.requires_grad
        ]
        total["grad_norm"] = nn.utils.clip_grad_norm_(parameters, table.grad_clip).item()
        if not torch.isfinite(torch.tensor(total["grad_norm"])):
            raise FdreamError(
                f"step {progress.step}: the gradient is not finite (loss {total['loss']}); nothing "
                f"was saved after the last checkpoint. Lower train.lr (now {table.lr}) or raise "
                f"train.warmup_steps (now {table.warmup_steps})."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        return {**total, "lr": rate}

    def _resume(self) -> Progress:
        newest = checkpoints.latest(self.folder.checkpoints)
        if newest is None:
            return Progress()
        progress, shadow = checkpoints.load(newest, self.objective.modules, self.optimizer)
        self.average.restore(shadow, progress.step)
        self.reporter.say(f"resuming {self.folder.root.name} at step {progress.step}")
        return progress

    def _save(self, progress: Progress) -> None:
        objective, folder = self.objective, self.folder
        try:
            checkpoints.save(
                folder.checkpoints,
                progress,
                objective.modules,
                self.average.shadow,
                self.optimizer,
            )
            with self._averaged():
                Bundle.write(folder.bundle, objective.components(), objective.information())
                for name, module in objective.beside().items():
                    checkpoints.save_module(folder.root / name, module)
        except OSError as error:
            raise OutputError(
                f"{folder.root}: step {progress.step} could not be saved ({error.strerror}); the "
                "last checkpoint is whole. Make room, then run the same command again."
            ) from error

    def _evaluate(self, progress: Progress) -> None:
        with self._averaged():
            self._log(progress, {f"held_out_{k}": v for k, v in self.objective.validate().items()})

    def _draw(self, progress: Progress) -> None:
        with self._averaged():
            Image.fromarray(self.objective.sheet()).save(
                self.folder.sheets / f"step-{progress.step:08d}.png"
            )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Hold the averaged weights and evaluation mode inside the block."""
        self.average.swap()
        for module in self.objective.modules.values():
            module.eval()
        try:
            # Eagerly: a compiled module would compile again for every other batch size.
            with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.average.swap()
            for module in self.objective.modules.values():
                module.train()

    def _log(self, progress: Progress, figures: dict[str, float]) -> None:
        row = {
            "step": progress.step,
            "samples": progress.samples,
            "minutes": round(progress.seconds / 60, 2),
        }
        row |= {key: float(f"{value:.5g}") for key, value in figures.items()}
        with self.folder.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the step in flight ends and is saved; a second signal kills."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)
        signal.signal(signum, before[signum])

    before: dict[int, Any] = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for signum in before:
        signal.signal(signum, note)
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
