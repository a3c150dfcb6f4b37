"""How our branches start silent, so that a fresh video network is the image network."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def zeroed(layer: Layer) -> Layer:
    """Set a layer's weight and bias to zero, and return it.

    Each residual branch has exactly one such layer, its last. Two in a row would never learn: the
    gradient of each is proportional to the other.

    Source: zero-initialised outputs as in ControlNet (arXiv 2302.05543) and AnimateDiff (arXiv
    2307.04725). Ours: exactly one a branch, held by a test.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
