"""Sums that belong to a whole batch while each of several training processes holds a part of it."""

from __future__ import annotations

import torch
from torch import Tensor


def batch_average(value: Tensor) -> Tensor:
    """Average a figure over the processes that share a batch.

    A loss whose denominator counts something, such as moving cells, is the whole batch's only if
    all processes divide by the same; the mean of their losses, which is what their gradients are
    averaged to, is then exact.

    Args:
        value: the same shape in every process; no gradient flows through.

    Returns:
        Likewise; the value itself where there is one process.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
