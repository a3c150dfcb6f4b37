"""The distance as torchmetrics computes it from the same features, to be told beside ours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class _Given(nn.Module):
    """An extractor for features that are extracted already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float | None:
    """Return torchmetrics' FID of (N, D) features; None where torchmetrics is not installed."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError:
        return None
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]))
    metric.set_dtype(torch.float64)
    for rows, is_real in ((real, True), (fake, False)):
        metric.update(torch.from_numpy(np.asarray(rows, np.float64)), real=is_real)
    return float(metric.compute())
