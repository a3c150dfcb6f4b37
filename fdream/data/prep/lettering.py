"""How much of a picture looks like letters: a rough measure that needs no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONTRAST: Final = 48  # levels between a stroke and what is beside it
_GAP: Final = 9  # pixels between letters of a line
_HEIGHTS: Final = (4, 48)
_FLATTEST: Final = 1.6  # a line of letters is wider than high
_FILLED: Final = (0.25, 0.85)  # strokes and gaps in turn


def text_area(grey: NDArray[np.uint8]) -> float:
    """Return the share of a picture under what looks like lines of letters.

    Letters are strokes of high contrast that alternate quickly from left to right. Fences, leaves
    and tiles can look alike, so take it for what it is: a figure to sort by.

    Args:
        grey: uint8 (h, w), full range, about 320 pixels wide.

    Returns:
        In [0, 1].

    Ours: strokes by top-hat and black-hat, joined along the line, lines kept by shape and filling.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (7, 5))
    bright = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel)
    total = 0.0
    for strokes in (bright, dark):
        mask = (strokes > _CONTRAST).astype(np.uint8)
        line = cv2.getStructuringElement(cv2.MORPH_RECT, (_GAP, 1))
        joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, line)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=4)
        for label in range(1, count):
            x, y, width, height, _ = boxes[label]
            inside = mask[y : y + height, x : x + width]
            if _is_line(width, height, inside):
                total += float(width * height)
    return min(1.0, total / grey.size)


def _is_line(width: int, height: int, inside: NDArray[np.uint8]) -> bool:
    if not _HEIGHTS[0] <= height <= _HEIGHTS[1] or width < _FLATTEST * height:
        return False
    if not _FILLED[0] <= inside.mean() <= _FILLED[1]:
        return False
    # Letters: along the line, strokes begin about every letter's width, not once or twice.
    begins = np.diff(inside.astype(np.int8), axis=1, prepend=0) > 0
    return float(begins.sum() / height) >= width / height * 0.6
