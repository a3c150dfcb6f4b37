"""A caption in the two halves that the paper's factorisation needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STILL: Final = "still"
"""What splitters call the motion of a caption that says nothing of any."""


@dataclass(frozen=True, slots=True)
class CaptionPair:
    """What is seen, and how it moves.

    Attributes:
        appearance: describes the first frame.
        motion: describes what happens next; may be empty.
        camera: what the camera does, in the field's words such as ``"zoom in"`` or ``"pan left,
            tilt up"``; empty when nothing is said of it.
        confidence: how sure the splitter is of the halves, 0 to 1.
        note: what a reader should know of this pair, such as why it was not split; else empty.
    """

    appearance: str
    motion: str
    camera: str = ""
    confidence: float = 1.0
    note: str = ""
