"""Checks for metrics."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fdream.stages.conformance.subject import Subject, expect

_CAPTIONS: Final = [f"clip {index}" for index in range(4)]
_RELATIVE: Final = 1e-4


def figures_are_finite_numbers(subject: Subject) -> None:
    """``compute`` returns finite floats by name."""
    figures = _measured(subject, [4])
    expect(bool(figures), "compute returned no figure")
    for name, value in figures.items():
        is_number = isinstance(name, str) and isinstance(value, float)
        expect(is_number and math.isfinite(value), f"figure {name!r} is {value!r}")


def runs_repeat(subject: Subject) -> None:
    """A fresh metric finds the same figures for the same videos."""
    expect(_measured(subject, [4]) == _measured(subject, [4]), "a second run found other figures")


def a_batch_may_be_split(subject: Subject) -> None:
    """Figures do not depend on how the videos arrive."""
    together, apart = _measured(subject, [4]), _measured(subject, [1, 3])
    for name, value in together.items():
        same = name in apart and math.isclose(
            value, apart[name], rel_tol=_RELATIVE, abs_tol=_RELATIVE
        )
        expect(same, f"{name} is {value} at once and {apart.get(name)} in two batches")


def _measured(subject: Subject, sizes: list[int]) -> dict[str, Any]:
    metric = subject.another()
    for real in (True, False):
        videos, begin = _videos(real), 0
        for size in sizes:
            part = slice(begin, begin + size)
            metric.update(videos[part], _CAPTIONS[part], real=real)
            begin += size
    figures: dict[str, Any] = metric.compute()
    return figures


def _videos(real: bool) -> NDArray[np.uint8]:
    generator = np.random.default_rng(int(real))
    coarse = generator.integers(0, 256, (4, 1, 8, 8, 3), dtype=np.uint8)
    still = coarse.repeat(8, axis=2).repeat(8, axis=3)
    return np.concatenate([np.roll(still, 2 * step, axis=3) for step in range(8)], axis=1)
