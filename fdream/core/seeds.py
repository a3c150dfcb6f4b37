"""Randomness that belongs to the sample, not to the batch, the device or the process.

Every sample has its own noise seed, and its noise is drawn on the CPU. So a batch may be split,
reordered or moved to another device, and each sample still starts from the same noise.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

NoiseStream = Literal["prior", "generator"]


def noise_seed(seed: int, stream: NoiseStream, index: int) -> int:
    """Return the noise seed of one sample, in [0, 2**63).

    Args:
        seed: what the user gave or ``draw_seed`` drew.
        stream: whose noise; the two stages of one sample must not share theirs.
        index: position of the sample in the run, from 0.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def initial_noise(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Draw standard normal noise, one generator per seed, so that any batch split agrees.

    Args:
        shape: of one sample, without the batch axis.
        seeds: one noise seed per sample.

    Returns:
        (B, *shape), float32, on the CPU.
    """
    import torch

    draws = [torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws)


def draw_seed() -> int:
    """Draw a seed for a run that was given none, in [0, 2**32): short enough to write down."""
    return secrets.randbits(32)
