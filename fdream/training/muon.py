"""Muon for matrices and AdamW for the rest, as one optimizer.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024): momentum
made orthogonal by a Newton-Schulz iteration; Liu et al., arXiv 2502.16982: the update's root mean
square is held at AdamW's, so that one learning rate and one weight decay serve both.

Ours: torch's own ``torch.optim.Muon`` takes 2-D parameters alone and iterates in bfloat16, which is
slow on a CPU; most of a UNet is convolutions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

MATRIX: Final = "matrix"
"""The key of a parameter group that says whether Muon or AdamW moves it."""
SMALLEST_SIDE: Final = 32
"""A matrix with a smaller side (a last layer, a gate) is left to AdamW."""
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5
_ADAMW_RMS: Final = 0.2


class Muon(Optimizer):
    """Move matrices by orthogonal momentum, everything else by AdamW.

    Args:
        params: groups as ``torch.optim`` takes them; those with ``matrix=True`` hold weights of
            linear and convolutional layers, which are flattened to (out, in * kernel).
        lr: of both.
        weight_decay: decoupled, of both.
        momentum: of matrices, with Nesterov's look ahead.
        betas: AdamW's.
        eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            MATRIX: False,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group[MATRIX]:
                self._move_matrices(group, parameters)
            else:
                self._move_others(group, parameters)
        return loss

    def _move_matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        # Equal shapes are iterated together: many small products would be bound by their calls.
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffer = state["momentum_buffer"]
            buffer.lerp_(gradient, 1 - group["momentum"])
            ahead = gradient.lerp(buffer, group["momentum"]).flatten(1)
            alike[ahead.shape[0], ahead.shape[1]].append((parameter, ahead))
        for (rows, columns), members in alike.items():
            updates = orthogonalize(torch.stack([ahead for _, ahead in members]))
            rate = group["lr"] * _ADAMW_RMS * max(rows, columns) ** 0.5
            for (parameter, _), update in zip(members, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view(parameter.shape), alpha=-rate)

    def _move_others(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[p] for p in parameters]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values of matrices near one, keeping their singular vectors.

    Args:
        matrices: (N, rows, columns).

    Returns:
        (N, rows, columns); singular values between about 0.7 and 1.2; very small ones end lower.

    Source: the quintic Newton-Schulz iteration of Jordan et al., with their coefficients.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def is_matrix(module: nn.Module, parameter: Tensor) -> bool:
    """Say whether a parameter of a module is a weight that Muon moves."""
    if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return False
    return parameter.ndim > 1 and min(parameter.flatten(1).shape) >= SMALLEST_SIDE
