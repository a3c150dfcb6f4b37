"""What a check looks at, and how it says no."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fdream.core.device import DeviceManager
from fdream.core.errors import CheckFailed
from fdream.stages import registry
from fdream.stages.spec import StageKind

# design: frames agree within one level on 99.9 % of values when batches are split differently.
_LEVELS: Final = 1
_SHARE: Final = 0.999


class NotApplicable(Exception):
    """The rule is not for this stage; the message says why."""


class Subject:
    """One stage under test, built through the registry as users get it.

    Args:
        kind: of the stage.
        name: ``NAME`` or ``NAME:ARG``.
        options: as in a recipe.
        device: where to build it; None chooses the CPU, where runs repeat exactly.
    """

    def __init__(
        self,
        kind: StageKind,
        name: str,
        options: Mapping[str, Any] | None = None,
        device: DeviceManager | None = None,
    ) -> None:
        self.kind: StageKind = kind
        self.name = name
        self.options = dict(options or {})
        self.device = device or DeviceManager.choose(device="cpu")

    @cached_property
    def stage(self) -> Any:
        """The stage, built once and shared by all checks."""
        return self.another()

    def another(self) -> Any:
        """Build the stage anew."""
        return registry.build(self.kind, self.name, self.options, device=self.device)

    def __str__(self) -> str:
        """Return KIND/NAME."""
        return f"{self.kind}/{self.name}"


def expect(holds: bool, otherwise: str) -> None:
    """Raise ``CheckFailed`` with ``otherwise`` unless ``holds``."""
    if not holds:
        raise CheckFailed(otherwise)


def expect_frames(value: object, shape: tuple[int, ...], call: str) -> None:
    """Require uint8 RGB frames of one shape."""
    expect(isinstance(value, np.ndarray), f"{call} returned {type(value).__name__}, not an array")
    assert isinstance(value, np.ndarray)
    expect(value.dtype == np.uint8, f"{call} returned {value.dtype}, not uint8")
    expect(value.shape == shape, f"{call} returned shape {value.shape}, expected {shape}")


def expect_equal(first: NDArray[Any], second: NDArray[Any], otherwise: str) -> None:
    """Require bit-equal arrays."""
    expect(first.shape == second.shape and bool((first == second).all()), otherwise)


def expect_close_frames(first: NDArray[np.uint8], second: NDArray[np.uint8], when: str) -> None:
    """Require frames within one level on 99.9 % of values."""
    apart = np.abs(first.astype(np.int16) - second.astype(np.int16))
    share = float((apart <= _LEVELS).mean())
    expect(
        share >= _SHARE,
        f"{when} only {share:.2%} of values stay within {_LEVELS} level of 255 "
        f"(largest difference {int(apart.max())}); {_SHARE:.1%} are required",
    )
