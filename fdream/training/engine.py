"""What accelerate does for the loop: processes, number formats, gradients averaged over processes.

The loop knows this class and nothing of accelerate, so that one loop serves a laptop's CPU and
eight GPUs alike. ``batch_size`` in a recipe counts the samples of all processes together: a recipe
then means the same training on one GPU and on four.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from fdream.core.errors import DeviceError
from fdream.training import spread
from fdream.training.objective import Share

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager

ItemT = TypeVar("ItemT")

# One process may encode a data set for hours while the others wait for it.
_PATIENCE = timedelta(hours=24)
_LOST = re.compile(r"Connection (closed|reset) by peer")
# Groups of processes that have ended, kept for good. Were DDP's C++ side the last to let go of one,
# it would join the group's threads while it holds the GIL, which one of them may be waiting for.
_ENDED: list[Any] = []


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the engine has to know before the first step.

    Attributes:
        accumulate: batches an optimizer step.
        uneven: whether some steps leave some weights without a gradient.
        trackers: names of accelerate's trackers, such as ``tensorboard``.
        folder: where trackers write.
    """

    accumulate: int = 1
    uneven: bool = False
    trackers: tuple[str, ...] = ()
    folder: Path = Path()


class Engine:
    """One training process among its siblings, or alone.

    Args:
        device: where this process computes, and in which number format.
        options: of the run.

    Raises:
        DeviceError: the format does not train on the device, or the launcher asks for a way of
            spreading weights over processes that is not here.
    """

    def __init__(self, device: DeviceManager, options: EngineOptions) -> None:
        if device.kind != "cuda" and device.dtype == torch.float16:
            raise DeviceError(
                f"dtype float16 on {device.kind}: its gradients overflow, and the scaling that "
                "prevents it works on CUDA alone; add --dtype bfloat16 or float32."
            )
        self.device = device
        spreads = spread.is_asked_for()
        with spread.unasked():
            self._accelerator = self._accelerate(options)
        self.share = Share(self._accelerator.process_index, self._accelerator.num_processes)
        self.spreads = spreads and self.share.count > 1
        """Whether each process holds a part of the weights alone."""
        if options.trackers:
            self._accelerator.init_trackers(options.folder.name)

    def _accelerate(self, options: EngineOptions) -> Accelerator:
        device = self.device
        return Accelerator(
            device_placement=False,  # ``device`` has placed everything, and knows the formats
            # ``device.autocast`` chooses the formats; float16 is named for its loss scale alone.
            mixed_precision="fp16" if device.dtype == torch.float16 else "no",
            cpu=device.kind == "cpu",
            gradient_accumulation_steps=options.accumulate,
            log_with=list(options.trackers) or None,
            project_dir=options.folder,
            kwargs_handlers=[
                # Buffers are averaged by those who own them: a broadcast would drop what the
                # other processes have seen.
                DistributedDataParallelKwargs(
                    find_unused_parameters=options.uneven, broadcast_buffers=False
                ),
                InitProcessGroupKwargs(timeout=_PATIENCE),
            ],
        )

    @property
    def is_main(self) -> bool:
        """Whether this process writes for all."""
        return self._accelerator.is_main_process

    def describe(self) -> dict[str, Any]:
        """Return what a run records about its processes."""
        return {
            "processes": self.share.count,
            "distributed": self._accelerator.distributed_type.value.lower(),
            "spread": self.spreads,
        }

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        """Wrap the module whose forward is the loss, and its optimizer."""
        if self.spreads:  # and the module is wrapped already
            return module, self._accelerator.prepare(optimizer)
        with warnings.catch_warnings():
            # Its successor would still send buffers once, over what a resume has just restored.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            prepared: tuple[nn.Module, Any] = self._accelerator.prepare(module, optimizer)
        return prepared

    def accumulate(self, module: nn.Module) -> Any:
        """Open one batch of an optimizer step; gradients travel with the last of them."""
        return self._accelerator.accumulate(module)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one batch's share of the step's loss."""
        self._accelerator.backward(loss)

    def clip(self, parameters: list[Tensor], longest: float) -> Tensor:
        """Shorten the whole gradient to a length, and return the length it had."""
        length = self._accelerator.clip_grad_norm_(parameters, longest)
        return spread.full(torch.as_tensor(0.0 if length is None else length))

    @property
    def scales_loss(self) -> bool:
        """Whether an infinite gradient only means that the loss was scaled too far (float16)."""
        return self._accelerator.scaler is not None

    def scaler_state(self) -> dict[str, Any]:
        """Return the loss scale of float16, for checkpoints; empty elsewhere."""
        scaler = self._accelerator.scaler
        return {} if scaler is None else dict(scaler.state_dict())

    def restore_scaler(self, state: Mapping[str, Any]) -> None:
        """Continue with a saved loss scale."""
        if self._accelerator.scaler is not None and state:
            self._accelerator.scaler.load_state_dict(dict(state))

    def agree(self, figures: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Average figures over processes; the one moment of a step that waits for the device.

        Args:
            figures: the same names in every process.
        """
        device = self.device.torch_device
        values = torch.stack(
            [
                torch.as_tensor(value, dtype=torch.float32).detach().to(device).reshape(())
                for value in figures.values()
            ]
        )
        if self.share.count > 1:
            torch.distributed.all_reduce(values)
            values /= self.share.count
        return dict(zip(figures, values.tolist(), strict=True))

    def mine(self, value: float) -> float:
        """Make the main process' number everybody's, once ``agree`` has averaged it."""
        return value * self.share.count if self.is_main else 0.0

    def gathered(self, items: list[ItemT]) -> list[ItemT]:
        """Return the items of all processes, the same list in each; they all have to ask."""
        if self.share.count == 1:
            return items
        found: list[Any] = [None] * self.share.count
        torch.distributed.all_gather_object(found, items)
        return [item for part in found for item in part]

    @contextmanager
    def siblings(self) -> Iterator[None]:
        """Say what it means when another process is gone while this one waits for it.

        Raises:
            DeviceError: another process has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.share.count == 1 or not _LOST.search(str(error)):
                raise
            raise DeviceError(
                "another process of this run has ended, and none can go on without it; what that "
                "one said is the reason. Mend that, then run the same command again: it goes on "
                "from the last checkpoint."
            ) from error

    def wait(self) -> None:
        """Wait for all processes."""
        self._accelerator.wait_for_everyone()

    def track(self, figures: Mapping[str, float], step: int) -> None:
        """Hand figures to the trackers."""
        self._accelerator.log(dict(figures), step=step)

    def close(self) -> None:
        """End trackers, and forget the process group: the next run may choose another format."""
        if self.share.count > 1:
            _ENDED.append(torch.distributed.group.WORLD)
        self._accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=self.share.count == 1)
