"""Weights spread over processes (FSDP2): each holds a part, and all of them for a moment.

What is trained lies in shards, as do its gradients, the optimizer's state and the average. Layers
that are called as such gather theirs for the call; the rest is gathered once a step. Checkpoints
and bundles hold whole weights, so that a run goes on with any number of processes.

Source: PyTorch's ``fully_shard``. Ours: it is used directly and not through accelerate, which
shards on GPUs alone and could not be tried on a CPU.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from fdream.core.errors import DeviceError
from fdream.core.recipe import TrainTable

_ASKED = "ACCELERATE_USE_FSDP"
_ELSEWHERE = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}

# What ``fully_shard`` adds to a module, beside its class.
_WRAPPING = (STATE_KEY, REGISTRY_KEY, "_forward_pre_hooks", "_forward_hooks")


def is_asked_for() -> bool:
    """Say whether the launcher wants weights to be spread.

    Raises:
        DeviceError: it wants a way of spreading that is not here.
    """
    for variable, name in _ELSEWHERE.items():
        if _is_set(variable):
            raise DeviceError(
                f"accelerate is set to {name}, which is not supported; spread weights with "
                "`accelerate launch --use_fsdp --fsdp_version 2`, or launch with --multi_gpu or "
                "torchrun."
            )
    if not _is_set(_ASKED):
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2" or _is_set("FSDP_OFFLOAD_PARAMS"):
        raise DeviceError(
            "accelerate is set to FSDP 1, or to keep weights on the CPU; only FSDP 2 on the device "
            "is supported: `accelerate launch --use_fsdp --fsdp_version 2 --fsdp_offload_params "
            "false`."
        )
    return True


@contextmanager
def unasked() -> Iterator[None]:
    """Hide the wish from accelerate, which would shard as well."""
    asked = os.environ.pop(_ASKED, None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[_ASKED] = asked


def check(table: TrainTable, dtype: torch.dtype) -> None:
    """Refuse what does not work on parts of weights.

    Raises:
        DeviceError: the recipe or the command asks for it.
    """
    wrong = {
        'train.optimizer = "muon"': table.optimizer == "muon",  # it needs whole matrices
        "train.compile": table.compile,
        "--dtype float16": dtype == torch.float16,
    }
    for what, is_asked in wrong.items():
        if is_asked:
            raise DeviceError(
                f"{what}: not with FSDP, which spreads weights; leave one of them out."
            )


def spread(loss: nn.Module, kinds: Sequence[str]) -> None:
    """Leave each process its part of the parameters, in place; optimizers are built afterwards.

    Args:
        loss: the module whose forward is a training step's loss; it holds all that is trained.
        kinds: names of classes inside it whose weights are gathered for each call, and read by
            nothing else; all others are gathered for a whole step.
    """
    mesh = torch.distributed.init_device_mesh(
        next(loss.parameters()).device.type, (torch.distributed.get_world_size(),)
    )
    for module in [m for m in loss.modules() if type(m).__name__ in kinds]:
        fully_shard(module, mesh=mesh)
    fully_shard(loss, mesh=mesh)


@contextmanager
def gathered(loss: nn.Module) -> Iterator[None]:
    """Hold whole weights in every module inside the block, for what is no training step.

    All processes have to enter. Nothing written to these weights stays.
    """
    whole: dict[int, nn.Parameter] = {}
    parts: list[tuple[nn.Module, str, nn.Parameter]] = []
    wrapped: list[tuple[nn.Module, type, dict[str, Any]]] = []
    for module in loss.modules():
        if isinstance(module, FSDPModule):
            # Its hooks would gather again what is here already, and leave parts in its place; it
            # refuses to be copied, as bundles do on their way to the disk.
            own = {key: module.__dict__.pop(key) for key in _WRAPPING if key in module.__dict__}
            wrapped.append((module, type(module), own))
            module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
            module.__class__ = type(module).__bases__[1]
        for name, part in module.named_parameters(recurse=False):
            if isinstance(part, DTensor):
                if id(part) not in whole:  # one may stand in two places
                    whole[id(part)] = nn.Parameter(full(part), part.requires_grad)
                parts.append((module, name, part))
                module._parameters[name] = whole[id(part)]
    try:
        yield
    finally:
        for module, name, part in parts:
            module._parameters[name] = part
        for module, kind, own in wrapped:
            module.__dict__.update(own)
            module.__class__ = kind


def is_part(value: Tensor) -> bool:
    """Say whether a process holds only a part of a tensor."""
    return isinstance(value, DTensor)


def full(value: Tensor) -> Tensor:
    """Return the whole of a tensor, which all processes have to ask for if it is spread."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def like(value: Tensor, other: Tensor) -> Tensor:
    """Lay a whole tensor out as another of its shape is: in memory, and over processes."""
    if isinstance(other, DTensor):
        value = value.to(other.device, other.dtype)
        return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None)
    return torch.empty_like(other).copy_(value)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("1", "true")
