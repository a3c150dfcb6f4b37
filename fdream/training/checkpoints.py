"""Checkpoints: safetensors for tensors, JSON for the rest, complete or absent.

A checkpoint is written beside its final name and renamed, so that a kill leaves either the whole of
it or a folder that is never read and is swept up by the next save.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from fdream.core.errors import WeightsError
from fdream.core.paths import atomic_write

_PARTIAL = ".partial"
KEPT = 2
"""How many checkpoints a run keeps: the last, and one in case a disk lies."""


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Time spent training, over all sessions; what ``minutes`` counts."""
    samples: int = 0


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run's ``checkpoints`` folder, or None."""
    found = sorted(p for p in folder.glob("step-*") if p.suffix != _PARTIAL and p.is_dir())
    return found[-1] if found else None


def save(
    folder: Path,
    progress: Progress,
    modules: Mapping[str, nn.Module],
    averages: Mapping[str, Tensor],
    optimizer: Optimizer,
) -> Path:
    """Write a checkpoint and drop those older than the last ``KEPT``.

    Returns:
        The folder of the new checkpoint.
    """
    final = folder / f"step-{progress.step:08d}"
    partial = final.with_name(final.name + _PARTIAL)
    for stale in folder.glob(f"*{_PARTIAL}"):
        shutil.rmtree(stale)
    partial.mkdir(parents=True)
    save_file(_weights(modules), partial / "weights.safetensors")
    save_file({k: v.contiguous() for k, v in averages.items()}, partial / "ema.safetensors")
    tensors, rest = _optimizer_state(optimizer)
    save_file(tensors, partial / "optimizer.safetensors")
    state = {"schema": 1, "progress": asdict(progress), "optimizer": rest}
    (partial / "state.json").write_text(
        json.dumps(state, indent=1, sort_keys=True), encoding="utf-8"
    )
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    complete = sorted(p for p in folder.glob("step-*") if p.is_dir())
    for old in complete[:-KEPT]:
        shutil.rmtree(old)
    return final


def save_module(folder: Path, module: nn.Module) -> None:
    """Write one module's weights as ``folder/weights.safetensors``, whole or not at all."""
    folder.mkdir(exist_ok=True)
    with atomic_write(folder / "weights.safetensors") as partial:
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial)


def load(
    checkpoint: Path, modules: Mapping[str, nn.Module], optimizer: Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Restore modules and optimizer in place.

    Returns:
        The progress, and the averaged weights by ``component.parameter`` name.

    Raises:
        WeightsError: the checkpoint does not fit these modules.
    """
    weights = load_file(checkpoint / "weights.safetensors")
    for name, module in modules.items():
        own = {
            k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(
                f"{checkpoint}: {name} does not fit the recipe ({reason}); the model options "
                "changed since it was saved: use another run folder."
            ) from error
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    _restore_optimizer(
        optimizer, load_file(checkpoint / "optimizer.safetensors"), state["optimizer"]
    )
    return Progress(**state["progress"]), load_file(checkpoint / "ema.safetensors")


def _weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Name every weight; a tied one, as T5's embedding, is stored under each of its names."""
    weights: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            value = value.contiguous()
            # safetensors refuses tensors that share memory.
            weights[f"{name}.{key}"] = value.clone() if value.data_ptr() in stored else value
            stored.add(value.data_ptr())
    return weights


def _optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors by ``index.key`` and JSON values."""
    state = optimizer.state_dict()["state"]
    tensors, rest = {}, {}
    for index, entry in state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value.contiguous()
            else:
                rest[f"{index}.{key}"] = value
    return tensors, rest


def _restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *rest.items()]:
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    current = optimizer.state_dict()
    expected = sum(len(group["params"]) for group in current["param_groups"])
    if state and len(state) != expected:
        raise WeightsError(
            f"optimizer state for {len(state)} parameters, the recipe trains {expected}: use "
            "another run folder."
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, entry in state.items():
        parameter = parameters[number].detach()
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                # The fused kernels read parameter and state element by element in memory: a state
                # in another layout than its parameter would be paired with the wrong weights.
                entry[key] = torch.empty_like(parameter).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
