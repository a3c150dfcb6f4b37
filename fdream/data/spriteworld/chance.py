"""Randomness that is the same on every machine and in every Python version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Draws from a named stream.

    Only ``Random.random()`` is used: CPython promises its sequence for a seed, but not that of
    ``choice`` or ``uniform``.
    """

    def __init__(self, stream: str) -> None:
        self._random = random.Random(stream).random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._random()

    def below(self, count: int) -> int:
        """Draw an integer in 0..count - 1."""
        return int(self._random() * count)

    def happens(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]
