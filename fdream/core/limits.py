"""What can be asked for: one range, whoever asks: an option, a line of JSON, a caller, a record."""

from __future__ import annotations

from typing import Final, NamedTuple

from fdream.core.errors import UsageError


class Range(NamedTuple):
    """The smallest and the largest value that is possible."""

    low: float
    high: float

    def refuse_outside(self, name: str, value: float | None) -> None:
        """Refuse a value outside of the range; None means that nobody asked.

        Raises:
            UsageError: outside, or not a number.
        """
        # Written so that NaN fails: it is neither below nor above anything.
        if value is not None and not self.low <= value <= self.high:
            raise UsageError(
                f"{name} = {value}: from {self.low:g} to {self.high:g} is possible; leave it out "
                "for the stage's own choice."
            )


SEED: Final = Range(0, 2**63 - 1)
NUM: Final = Range(1, 10_000)
STEPS: Final = Range(1, 1000)
GUIDANCE: Final = Range(0, 100)
FRAMES: Final = Range(1, 10_000)
FPS: Final = Range(0.1, 240)
SIDE: Final = Range(1, 8192)

MAX_PIXELS: Final = 64_000_000
"""Of a picture that comes from outside; it is refused above that, before it is decoded."""
