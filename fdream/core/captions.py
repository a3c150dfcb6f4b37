"""A caption in the two halves that the paper's factorisation needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CaptionPair:
    """What is seen, and how it moves.

    Attributes:
        appearance: describes the first frame.
        motion: describes what happens next; may be empty.
    """

    appearance: str
    motion: str
