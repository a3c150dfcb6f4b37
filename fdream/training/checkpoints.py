"""Checkpoints: safetensors for tensors, JSON for the rest, complete or absent.

A checkpoint is written beside its final name, synced to the disk and renamed, so that a kill or a
power cut leaves either the whole of it or a folder that is never read and is swept up by the next
save. Its ``state.json`` names every other file with size and hash: what a disk has spoilt since is
noticed, and the checkpoint before it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from fdream.core.errors import WeightsError
from fdream.core.paths import atomic_write
from fdream.training import spread

_PARTIAL = ".partial"
_STATE = "state.json"
KEPT = 2
"""How many checkpoints a run keeps: the last, and one in case a disk lies."""


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Time spent training, over all sessions; what ``minutes`` counts."""
    samples: int = 0


def complete(folder: Path) -> list[Path]:
    """Return the checkpoints of a run's ``checkpoints`` folder that were renamed, oldest first."""
    found = (p for p in folder.glob("step-*") if p.suffix != _PARTIAL)
    return sorted(p for p in found if (p / _STATE).is_file())


def latest(folder: Path, warn: Callable[[str], None] | None = None) -> Path | None:
    """Return the newest checkpoint whose files are what was written, or None if there is none.

    Args:
        folder: a run's ``checkpoints``.
        warn: told of each newer one that is damaged.

    Raises:
        WeightsError: there are checkpoints, and all are damaged: to begin again would lose a run.
    """
    found = complete(folder)
    for checkpoint in reversed(found):
        fault = damage(checkpoint)
        if fault is None:
            return checkpoint
        if warn is not None:
            warn(f"{checkpoint}: {fault}; it is passed over for the one before.")
    if found:
        raise WeightsError(
            f"{folder}: no checkpoint is whole ({found[-1].name}: {damage(found[-1])}); restore "
            "one from a backup, or train in another folder with -s run.output=FOLDER."
        )
    return None


def damage(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint's files, or None if they are what was written."""
    try:
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        files = state.get("files", {})
    except (OSError, ValueError, AttributeError) as error:
        return f"{_STATE} cannot be read ({error})"
    for name, facts in files.items():
        path = checkpoint / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            return f"{name} is missing or cut off"
        if _sha256(path) != facts["sha256"]:
            return f"{name} is not what was written"
    return None


def progress_of(checkpoint: Path) -> Progress:
    """Return how far the run had come."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return Progress(**state["progress"])


def save(
    folder: Path,
    progress: Progress,
    modules: Mapping[str, nn.Module],
    averages: Mapping[str, Tensor],
    optimizer: Optimizer,
    extra: Mapping[str, Any] | None = None,
    *,
    writes: bool = True,
) -> Path:
    """Write a checkpoint and drop those older than the last ``KEPT``.

    Args:
        folder: a run's ``checkpoints``.
        progress: how far the run has come.
        modules: what is trained.
        averages: their averaged weights, by ``component.parameter``.
        optimizer: whose state goes in.
        extra: JSON values kept with the progress, such as a loss scale.
        writes: whether this process does; where weights are spread, the others lend their parts.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: the disk is full or gone; nothing half-written is left.
    """
    final = folder / f"step-{progress.step:08d}"
    tensors, rest = _optimizer_state(optimizer)
    parts = {
        "weights": _weights(modules),
        "ema": {k: _kept(v) for k, v in averages.items()},
        "optimizer": tensors,
    }
    if not writes:
        return final
    partial = final.with_name(final.name + _PARTIAL)
    for stale in folder.glob(f"*{_PARTIAL}"):
        shutil.rmtree(stale)
    partial.mkdir(parents=True)
    try:
        for name, part in parts.items():
            _write(part, partial / f"{name}.safetensors")
        state = {
            "schema": 1,
            "progress": asdict(progress),
            "optimizer": rest,
            "extra": dict(extra or {}),
            "files": _listing(partial),
        }
        text = json.dumps(state, indent=1, sort_keys=True)
        (partial / _STATE).write_text(text, encoding="utf-8")
        _sync(partial)
    except BaseException:
        # What a full disk needs most is the room.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync_folder(folder)
    for old in complete(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def save_module(folder: Path, module: nn.Module) -> None:
    """Write one module's weights as ``folder/weights.safetensors``, whole or not at all."""
    folder.mkdir(exist_ok=True)
    with atomic_write(folder / "weights.safetensors") as partial:
        _write({k: v.contiguous() for k, v in module.state_dict().items()}, partial)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a checkpoint holds beside what was put back in place.

    Attributes:
        progress: how far the run had come.
        averages: averaged weights by ``component.parameter``.
        extra: as it was saved.
    """

    progress: Progress
    averages: dict[str, Tensor]
    extra: dict[str, Any]


def load(checkpoint: Path, modules: Mapping[str, nn.Module], optimizer: Optimizer) -> Restored:
    """Restore modules and optimizer in place.

    Raises:
        WeightsError: the checkpoint does not fit these modules.
    """
    weights = load_file(checkpoint / "weights.safetensors")
    for name, module in modules.items():
        own = {
            k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")
        }
        for key, part in module.state_dict().items():
            if key in own and own[key].shape == part.shape:
                own[key] = spread.like(own[key], part)
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(
                f"{checkpoint}: {name} does not fit the recipe ({reason}); the model options "
                "changed since it was saved: use another run folder."
            ) from error
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    _restore_optimizer(
        optimizer, load_file(checkpoint / "optimizer.safetensors"), state["optimizer"]
    )
    averages = load_file(checkpoint / "ema.safetensors")
    return Restored(Progress(**state["progress"]), averages, state.get("extra", {}))


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        # It wraps what the system says of a full disk; only then is this not our bug.
        raise OSError(None, str(error), str(path)) from error


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in files
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Have the disk hold a folder's files, not only the system's memory of them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handles of folders, and writes their entries itself.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Name every weight; a tied one, as T5's embedding, is stored under each of its names."""
    weights: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            value = _kept(value)
            # safetensors refuses tensors that share memory.
            weights[f"{name}.{key}"] = value.clone() if value.data_ptr() in stored else value
            stored.add(value.data_ptr())
    return weights


def _kept(value: Tensor) -> Tensor:
    """A tensor as it is saved: whole, and not in the way of the device if it had to be gathered."""
    return (spread.full(value).cpu() if spread.is_part(value) else value).contiguous()


def _optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors by ``index.key`` and JSON values."""
    state = optimizer.state_dict()["state"]
    tensors, rest = {}, {}
    for index, entry in state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = _kept(value)
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
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, entry in state.items():
        # A parameter that has had no gradient yet has no state, so that there may be fewer.
        fits = number < len(parameters)
        parameter = parameters[number].detach() if fits else torch.empty(0)
        for key, value in entry.items():
            if not isinstance(value, Tensor) or not value.ndim:
                continue
            if value.shape != parameter.shape:
                raise WeightsError(
                    f"optimizer state {number}.{key} is {tuple(value.shape)}, the recipe's "
                    f"parameter {tuple(parameter.shape)}: use another run folder."
                )
            # The fused kernels read parameter and state element by element in memory: a state in
            # another layout than its parameter would be paired with the wrong weights.
            entry[key] = spread.like(value, parameter)
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
