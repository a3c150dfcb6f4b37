"""Sums that belong to a whole batch while each of several training processes holds a part of it."""

from __future__ import annotations

import torch
from torch import Tensor


def batch_total(value: Tensor) -> Tensor:
    """Add up a figure over the processes that share a batch.

    Args:
        value: the same shape in every process; no gradient flows through.

    Returns:
        Likewise; the value itself where there is one process.
    """
    if _num_sharing() == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total


def batch_average(value: Tensor) -> Tensor:
    """Average a figure over the processes that share a batch; see ``batch_total``.

    A loss whose denominator counts something, such as moving cells, is the whole batch's only if
    all processes divide by the same; the mean of their losses, which is what their gradients are
    averaged to, is then exact.
    """
    count = _num_sharing()
    return value if count == 1 else batch_total(value) / count


def _num_sharing() -> int:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return torch.distributed.get_world_size()
