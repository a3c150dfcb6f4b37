"""Optimizer, learning rate and weight average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fdream.core.errors import RecipeError
from fdream.core.recipe import TrainTable
from fdream.training import spread
from fdream.training.muon import MATRIX, Muon, is_matrix

FACTOR: Final = "factor"
"""Key of a parameter group: what the learning rate is multiplied by."""


def build_optimizer(
    modules: Mapping[str, nn.Module],
    table: TrainTable,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Optimizer:
    """Build the recipe's optimizer over all parameters that want a gradient.

    Gains and biases do not decay. With ``muon``, AdamW still moves what is no large matrix.

    Args:
        modules: by component name.
        table: the recipe's ``[train]`` table.
        groups: named parts of the model, as patterns of parameter names.

    Raises:
        RecipeError: ``train.lr_factors`` names what is not there.
    """
    factors = lr_factors(modules, table, groups or {})
    decay, is_muon = table.weight_decay, table.optimizer == "muon"
    # One factor at a time, so that without factors the groups are what they always were.
    found: list[dict[str, Any]] = []
    for factor in dict.fromkeys(factors.values()):
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for parameter, module in _trained(modules):
            if factors[parameter] == factor:
                (matrices if is_muon and is_matrix(module, parameter) else rest).append(parameter)
        shared = {FACTOR: factor}
        found += [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay, **shared},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, **shared},
        ]
        if is_muon:
            found.append({"params": matrices, "weight_decay": decay, MATRIX: True, **shared})
    found = [group for group in found if group["params"]]
    if is_muon:
        return Muon(found, lr=table.lr, betas=table.betas)
    kinds = {p.device.type for group in found for p in group["params"]}
    return AdamW(found, lr=table.lr, betas=table.betas, fused=kinds <= {"cpu", "cuda"})


def lr_factors(
    modules: Mapping[str, nn.Module], table: TrainTable, groups: Mapping[str, Sequence[str]]
) -> dict[Tensor, float]:
    """Return each trained parameter's part of the learning rate; what has none is held fixed.

    A key of ``train.lr_factors`` is the name of a group or a component, or a pattern of parameter
    names such as ``motion.layers.up_*``; the last key that fits decides.
    """
    names: dict[Tensor, list[str]] = {}
    for component, module in modules.items():
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                names.setdefault(parameter, []).append(f"{component}.{name}")
    factors = dict.fromkeys(names, 1.0)
    for key, factor in table.lr_factors.items():
        patterns = groups.get(key) or ((f"{key}.*",) if key in modules else (key,))
        fitting = [p for p, all_names in names.items() if _fits(all_names, patterns)]
        if not fitting:
            known = ", ".join([*groups, *modules])
            raise RecipeError(
                f"train.lr_factors.{key}: no trained parameter is called so; known parts: {known}; "
                "a pattern such as 'motion.layers.up_*' names parameters."
            )
        factors.update(dict.fromkeys(fitting, factor))
    for weight, factor in factors.items():
        weight.requires_grad_(factor > 0)
    return {weight: factor for weight, factor in factors.items() if factor > 0}


def _trained(modules: Mapping[str, nn.Module]) -> Iterator[tuple[Tensor, nn.Module]]:
    """Every parameter that wants a gradient, once, with the first module that holds it."""
    seen: set[int] = set()
    for module in (inner for root in modules.values() for inner in root.modules()):
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter, module


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


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
            value.copy_(spread.like(shadow[key], value))
        self.updates = updates

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; call again to go back."""
        for key, value in self.shadow.items():
            kept = self._live[key].detach().clone()
            self._live[key].copy_(value)
            value.copy_(kept)
