"""What pocket is asked, the same 400 questions every time, and the bars it has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fdream.data.spriteworld.world import Description, SpriteWorld

CLIPS: Final = 400
QUICK_CLIPS: Final = 40
FIRST_SEED: Final = 2_000_000_000
"""Of the questions; the held-out loss and the sample sheets of training draw from other seeds."""
GRID: Final = 16
"""Where sprites begin, as in pocket's recipes; words do not depend on it, real pictures do."""
BARS_PERCENT: Final = {"object": 90.0, "scene": 95.0, "motion": 85.0}
FIRST_FRAME_BAR_DB: Final = 30.0
BACKGROUND_BAR_LEVELS: Final = 3.0
CEILING_MARGIN_PERCENT: Final = 5.0
"""By how much the judges must be right more often, on real renderings, than pocket has to be."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question.

    Attributes:
        index: its number, which is also the seed that pocket draws from.
        shown: what is asked for, in words and as facts; its triple was never trained.
    """

    index: int
    shown: Description


def world() -> SpriteWorld:
    """Return the world the questions are about; describing it needs no font."""
    return SpriteWorld(cast="noto", split="held-out", grid=GRID)


def cases(count: int) -> list[Case]:
    """Return the first ``count`` questions."""
    described = world()
    return [Case(index, described.describe(FIRST_SEED + index)) for index in range(count)]
