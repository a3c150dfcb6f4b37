"""The training loop: one for all objectives, from the pocket VAE to the video generator."""

from __future__ import annotations

import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fdream.core.device import DeviceManager
from fdream.core.errors import FdreamError
from fdream.core.recipe import TrainTable
from fdream.core.report import Reporter
from fdream.training import spread
from fdream.training.batches import Ahead
from fdream.training.checkpoints import Progress
from fdream.training.engine import Engine, EngineOptions
from fdream.training.keeper import Keeper
from fdream.training.objective import Batch, Objective
from fdream.training.optim import FACTOR, WeightAverage, build_optimizer, learning_rate
from fdream.training.run_folder import RunFolder
from fdream.training.stopping import Stopped, listening
from fdream.training.watcher import Watcher

# Overflows in a row after which float16 is given up: the scale has been halved that often.
_MOST_OVERFLOWS = 25
_MOST_NAMES = 8


class LossModule(nn.Module):
    """An objective as the one module whose forward is the loss, so that engines can wrap it."""

    def __init__(self, objective: Objective[Any], device: DeviceManager) -> None:
        super().__init__()
        self._device = device
        self.trained = nn.ModuleDict(objective.modules)
        self._objective = objective

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with self._device.autocast():
            return self._objective.loss(batch)


class Asked(NamedTuple):
    """What a step was asked to be followed by, in any process."""

    stop: bool
    save: bool


@dataclass(slots=True)
class Session:
    """What lives from one start of the loop to its end.

    Attributes:
        engine: runs the processes.
        loss: the objective, as the engine wrapped it.
        optimizer: likewise.
        batches: of each optimizer step.
        keeper: saves and resumes.
        watcher: measures, draws and logs.
        progress: how far the run has come.
        seconds: spent training by this process' clock, earlier sessions included.
        last_save: when, by the monotonic clock.
        overflows: steps in a row that float16 lost.
        probed: figures that wait for the next row of the log.
    """

    engine: Engine
    loss: nn.Module
    optimizer: Any
    batches: Ahead[list[Batch]]
    keeper: Keeper
    watcher: Watcher
    progress: Progress
    seconds: float
    last_save: float
    overflows: int = 0
    probed: dict[str, float] = field(default_factory=dict)

    def save(self) -> None:
        """Save the run as it is now."""
        started = time.monotonic()
        self.keeper.save(self.progress)
        self.last_save = time.monotonic()
        self.watcher.note(save_s=self.last_save - started)


class TrainingLoop:
    """Steps an objective until its steps or minutes are used up.

    Args:
        objective: what is trained.
        table: the recipe's ``[train]`` table.
        folder: where checkpoints, samples, log and the bundle go.
        seed: of the run; step k draws from ``seed`` and k alone.
        reporter: where progress goes.
        device: where the objective computes.
        workers: threads that gather batches ahead of time.
    """

    def __init__(
        self,
        objective: Objective[Any],
        table: TrainTable,
        folder: RunFolder,
        seed: int,
        reporter: Reporter,
        device: DeviceManager,
        workers: int = 0,
    ) -> None:
        self.objective = objective
        self.table = table
        self.folder = folder
        self.seed = seed
        self.reporter = reporter
        self.device = device.for_training()
        self.workers = workers

    def run(self) -> Progress:
        """Train, resuming from the newest checkpoint.

        Raises:
            Stopped: SIGINT or SIGTERM came; everything was saved first.
            FdreamError: the loss is not finite, or several processes cannot share its batches.
        """
        options = EngineOptions(
            self.table.accumulate,
            self.objective.uneven,
            tuple(self.table.trackers),
            self.folder.root,
        )
        engine = Engine(self.device, options)
        try:
            self._check_share(engine.share.count)
            self.folder.make()
            started = time.monotonic()
            self.objective.prepare(self.folder.cache, engine.share, self.reporter)
            prepared = time.monotonic() - started
            with (
                self.device.guard(),
                engine.siblings(),
                self.device.deterministic(self.table.deterministic),
                self._open(engine) as session,
            ):
                self._train(session, prepared)
                return session.progress
        finally:
            engine.close()

    def _check_share(self, count: int) -> None:
        batch = self.table.batch_size
        if count > 1 and not self.objective.splits:
            raise FdreamError(
                f"train.objective = {self.table.objective!r}: its loss compares the samples of a "
                f"batch, so {count} processes cannot share one; train it with one process."
            )
        if batch % count:
            raise FdreamError(
                f"train.batch_size = {batch}: it counts the samples of all processes together, and "
                f"{count} processes cannot share them evenly; choose a multiple of {count}."
            )

    @contextmanager
    def _open(self, engine: Engine) -> Iterator[Session]:
        table, modules = self.table, self.objective.modules
        for module in modules.values():
            self.device.place(module)
            # Before the optimizer: its state takes the layout of the parameters it is built on.
            # Parts of weights have no such layout.
            if table.channels_last and not engine.spreads:
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        loss: nn.Module = LossModule(self.objective, self.device)
        if engine.spreads:
            spread.check(table, self.device.dtype)
            spread.spread(loss, self.objective.closed)
        self.optimizer = build_optimizer(modules, table, self.objective.groups)
        self.average = WeightAverage(modules, table.ema_decay)
        keeper = Keeper(self.objective, self.folder, self.optimizer, self.average, engine, loss)
        progress = keeper.resume(self.reporter)
        loss, optimizer = engine.prepare(loss, self.optimizer)
        if table.compile:
            # diffusers remembers how it compared versions; tracing that anew changes nothing.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            self.objective.compile()
        with Ahead(self._gather(engine), self.workers) as batches:
            watcher = Watcher(self.objective, self.folder, keeper, engine, batches, progress)
            yield Session(
                engine,
                loss,
                optimizer,
                batches,
                keeper,
                watcher,
                progress,
                seconds=progress.seconds,
                last_save=time.monotonic(),
            )

    def _gather(self, engine: Engine) -> Callable[[int], list[Batch]]:
        table = self.table

        def batches(step: int) -> list[Batch]:
            found = []
            for micro in range(step * table.accumulate, (step + 1) * table.accumulate):
                generator = torch.Generator().manual_seed(self.seed * 1_000_003 + micro)
                found.append(self.objective.draw(micro, table.batch_size, engine.share, generator))
            return found

        return batches

    def _train(self, session: Session, prepare_s: float) -> None:
        table, progress, watcher = self.table, session.progress, session.watcher
        name = self.objective.__class__.__name__
        with listening() as stop, self.reporter.progress(table.steps, name, progress.step) as bar:
            # Whoever sees the log begin may stop the run from then on.
            watcher.note(prepare_s=prepare_s)
            while not self._finished(progress):
                started = time.monotonic()
                figures, asked = self._step(session, started, stop)
                session.seconds += time.monotonic() - started
                if session.engine.share.count == 1:
                    progress.seconds = session.seconds
                progress.step += 1
                progress.samples += table.batch_size * table.accumulate
                bar.update(1, **figures)
                if progress.step % table.log_every == 0:
                    bar.row(watcher.log_step(figures | session.probed))
                    session.probed.clear()
                if asked.stop or asked.save or progress.step % table.save_every == 0:
                    session.save()
                if asked.stop:
                    raise Stopped(stop[0] if stop else signal.SIGTERM, progress.step)
                if progress.step % table.eval_every == 0:
                    bar.row(watcher.evaluate())
                if progress.step % table.sample_every == 0:
                    bar.row(watcher.draw())
            session.save()
            if watcher.evaluated_at != progress.step:
                bar.row(watcher.evaluate())
            if watcher.drawn_at != progress.step:
                bar.row(watcher.draw())

    def _finished(self, progress: Progress) -> bool:
        out_of_time = self.table.minutes is not None and progress.seconds >= 60 * self.table.minutes
        return progress.step >= self.table.steps or out_of_time

    def _done(self, progress: Progress) -> float:
        by_time = (
            0.0 if self.table.minutes is None else progress.seconds / (60 * self.table.minutes)
        )
        return max(progress.step / self.table.steps, by_time)

    def _step(
        self, session: Session, started: float, stop: list[int]
    ) -> tuple[dict[str, float], Asked]:
        table, engine, progress = self.table, session.engine, session.progress
        rate = learning_rate(table, progress.step, self._done(progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group[FACTOR]
        # Whatever a layer draws, dropout say, is then a function of the step too.
        torch.manual_seed(self.seed * 1_000_003 + progress.step * engine.share.count)
        total: dict[str, Tensor] = {}
        batches = session.batches.take(progress.step)
        if table.probe_every and progress.step % table.probe_every == 0:
            session.probed |= self._probe(session, batches[0])
        for batch in batches:
            with engine.accumulate(session.loss):
                loss, figures = session.loss(batch.to(self.device.torch_device))
                engine.backward(loss)
            for key, value in {"loss": loss, **figures}.items():
                total[key] = total.get(key, 0.0) + value.detach() / table.accumulate
        total["grad_norm"] = engine.clip(self._trained(), table.grad_clip)
        now = time.monotonic()
        agreed = engine.agree(
            total
            | {
                "stop": float(bool(stop)),
                "save": float(now - session.last_save > 60 * table.save_minutes),
                "seconds": engine.mine(session.seconds + now - started),
            }
        )
        asked = Asked(agreed.pop("stop") > 0, agreed.pop("save") > 0)
        seconds = agreed.pop("seconds")
        if engine.share.count > 1:
            # One clock for all processes, or their learning rates would part.
            progress.seconds = seconds
        self._check_finite(session, agreed, batches)
        session.optimizer.step()
        session.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        return {**agreed, "lr": rate}, asked

    def _probe(self, session: Session, batch: Batch) -> dict[str, float]:
        """Ask for the dear figures; nothing is learned and nothing remembered of it."""
        modules = self.objective.modules.values()
        for module in modules:
            module.eval()
        with (
            session.keeper.gathered(),
            self.device.autocast(),
            torch.compiler.set_stance("force_eager"),
        ):
            found = self.objective.probe(batch.to(self.device.torch_device))
        for module in modules:
            module.train()
        return session.engine.agree(found) if found else {}

    def _trained(self) -> list[Tensor]:
        return [
            p
            for module in self.objective.modules.values()
            for p in module.parameters()
            if p.requires_grad
        ]

    def _check_finite(
        self, session: Session, figures: Mapping[str, float], batches: list[Batch]
    ) -> None:
        finite = math.isfinite(figures["loss"]) and math.isfinite(figures["grad_norm"])
        # The scaler drops such a step by itself, and lowers its scale.
        overflow = session.engine.scales_loss and math.isfinite(figures["loss"]) and not finite
        session.overflows = session.overflows + 1 if overflow else 0
        if finite or (overflow and session.overflows < _MOST_OVERFLOWS):
            return
        names = session.engine.gathered([name for batch in batches for name in batch.names])
        shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
        raise FdreamError(
            f"step {session.progress.step}: the gradient is not finite (loss {figures['loss']}); "
            f"nothing was saved after the last checkpoint. The samples were {shown}. Lower "
            f"train.lr (now {self.table.lr}) or raise train.warmup_steps (now "
            f"{self.table.warmup_steps})."
        )
