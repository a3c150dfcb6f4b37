"""Checks for stages that hold weights: where they are, and that they survive a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdream.stages.conformance.subject import NotApplicable, Subject, expect


def weights_are_on_the_device(subject: Subject) -> None:
    """Every weight is where the device manager says."""
    expect_placed(subject, subject.stage)


def expect_placed(subject: Subject, stage: Any) -> None:
    """Require parameters and buffers on the subject's device."""
    wanted = subject.device.torch_device.type
    if subject.device.offload != "none":
        raise NotApplicable("weights wait on the CPU under offload")
    for name, tensor in _state(stage).items():
        expect(tensor.device.type == wanted, f"{name} is on {tensor.device}, expected {wanted}")


def expect_reloads(stage: Any, other: Any) -> None:
    """Require that ``other`` takes the weights of ``stage`` through a file, one for one."""
    state = _state(stage)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.safetensors"
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
        missing, unexpected = other.load_state_dict(load_file(path), strict=False)
    expect(not missing, f"a fresh stage has weights the saved one lacks: {missing[:3]}")
    expect(not unexpected, f"a fresh stage lacks weights the saved one has: {unexpected[:3]}")
    for name, tensor in _state(other).items():
        expect(torch.equal(tensor.cpu(), state[name].cpu()), f"{name} changed in the file")


def _state(stage: Any) -> dict[str, Tensor]:
    state = dict(stage.state_dict()) if isinstance(stage, torch.nn.Module) else {}
    if not state:
        raise NotApplicable("it is no nn.Module with weights")
    return state
