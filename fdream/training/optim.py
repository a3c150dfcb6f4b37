"""Optimizer, learning rate and weight average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fdream.core.recipe import TrainTable
from fdream.training.muon import MATRIX, Muon, is_matrix


def build_optimizer(modules: Iterable[nn.Module], table: TrainTable) -> Optimizer:
    """Build the recipe's optimizer over all parameters that want a gradient.

    Gains and biases do not decay. With ``muon``, AdamW still moves what is no large matrix.
    """
    seen: set[int] = set()
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for module in (inner for root in modules for inner in root.modules()):
        for parameter in module.parameters(recurse=False):
            # A tied parameter is met once for each of its modules.
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                chosen = table.optimizer == "muon" and is_matrix(module, parameter)
                (matrices if chosen else rest).append(parameter)
    decay = table.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if table.optimizer == "muon":
        groups.append({"params": matrices, "weight_decay": decay, MATRIX: True})
        return Muon([g for g in groups if g["params"]], lr=table.lr, betas=table.betas)
    fused = all(p.device.type in ("cpu", "cuda") for p in rest)
    return AdamW([g for g in groups if g["params"]], lr=table.lr, betas=table.betas, fused=fused)


def learning_rate(table: TrainTable, step: int, done: float) -> float:
    """Return the rate of a step.

    Args:
        table: the recipe's ``[train]`` table.
        step: counted from 0; warm-up is linear over ``warmup_steps``.
        done: share of the run behind us, by steps or by time, whichever ends it first.
    """
    warm = min(1.0, (step + 1) / max(1, table.warmup_steps))
    floor = table.final_lr_scale
    done = min(1.0, max(0.0, done))
    shape = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
    }[table.schedule]
    return table.lr * warm * (floor + (1 - floor) * shape)


class WeightAverage:
    """Exponential moving average of every trained parameter, with diffusers' warm-up.

    Source: the warm-up (1 + n) / (10 + n) is the one of TensorFlow's and diffusers' EMA; without it
    a short run would keep its random start.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self._live = {
            f"{name}.{key}": value
            for name, module in modules.items()
            for key, value in module.named_parameters()
            if value.requires_grad
        }
        self._decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {
            key: value.detach().clone() for key, value in self._live.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        live = [self._live[key].detach() for key in self.shadow]
        torch._foreach_lerp_(list(self.shadow.values()), live, 1 - decay)

    def restore(self, shadow: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved averages."""
        for key, value in self.shadow.items():
            value.copy_(shadow[key])
        self.updates = updates

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; call again to go back."""
        for key, value in self.shadow.items():
            kept = self._live[key].detach().clone()
            self._live[key].copy_(value)
            value.copy_(kept)
