"""What is measured on the pictures of a clip, from small grey copies taken eight times a second.

The figures do not depend on the clip's size or rate, so one threshold serves a whole pile.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from fdream.data.prep.hashes import clip_hash
from fdream.data.prep.lettering import text_area
from fdream.data.prep.shots import plane_array

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from fdream.core.prep_recipe import MeasureTable

    Grey = NDArray[np.uint8]

_RATE: Final = 8
_SMALL: Final = 128  # longer side of the copies for motion, light and hash
_LARGE: Final = 320  # of those for text, taken once a second
# Mean difference of levels below which two copies show the same picture: what coding alone changes
# is a few hundredths on still footage, and ten times more where a leaf moves.
_SAME: Final = 0.1
_BLACK: Final = 24  # full range; coded black is noisy
_DIGITS: Final = 6


class ClipMeasures:
    """Gathers small copies of a clip's pictures, and measures them at its end."""

    def __init__(self, options: MeasureTable, fps: Fraction) -> None:
        """Start before the first picture.

        Args:
            options: the recipe's ``[measure]``.
            fps: rate of the clip.
        """
        self._options = options
        self._every = max(1, round(fps / _RATE))
        self._seconds_apart = float(self._every / fps)
        self._small: list[Grey] = []
        self._large: list[Grey] = []

    def wants(self, number: int) -> bool:
        """Whether the picture of this number is looked at."""
        wanted = self._options
        any_small = wanted.motion or wanted.light or wanted.hash
        return number % self._every == 0 and (any_small or wanted.text)

    def look(self, number: int, picture: VideoFrame) -> None:
        """Look at a picture of the clip, yuv420p in video range."""
        if not self.wants(number):
            return
        luma = plane_array(picture, 0)
        self._small.append(_grey(luma, _SMALL))
        if self._options.text and number % (self._every * _RATE) == 0:
            self._large.append(_grey(luma, _LARGE))

    def figures(self) -> dict[str, Any]:
        """Return what was found, by the names of ``samples.Sample``."""
        found: dict[str, Any] = {}
        if self._options.motion:
            found |= motion_figures(self._small, self._seconds_apart)
        if self._options.light:
            found |= light_figures(self._small)
        if self._options.text:
            found["text"] = float(np.median([text_area(grey) for grey in self._large]))
        if self._options.hash:
            found["phash"] = clip_hash(self._small)
        # Rounded, so that the last bits of a sum never tell two machines apart.
        return {
            name: round(value, _DIGITS) if isinstance(value, float) else value
            for name, value in found.items()
        }


def motion_figures(greys: list[Grey], seconds_apart: float) -> dict[str, float]:
    """Measure motion by dense inverse search, and how much of the time nothing moves.

    Args:
        greys: copies in order.
        seconds_apart: between two of them.

    Returns:
        ``motion``: mean length of the flow, per cent of the picture's longer side a second;
        ``frozen``: share of neighbours that show the same picture. Nothing for a single copy.
    """
    still = [float(np.mean(cv2.absdiff(a, b))) < _SAME for a, b in pairwise(greys)]
    if not still:
        return {}
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    lengths = []
    for (a, b), same in zip(pairwise(greys), still, strict=True):
        if same or min(a.shape) < _SMALLEST_FOR_FLOW:
            lengths.append(0.0)
            continue
        flow = estimator.calc(a, b, np.zeros((*a.shape, 2), np.float32))
        lengths.append(float(np.linalg.norm(flow, axis=-1).mean()))
    per_second = float(np.mean(lengths)) / seconds_apart
    return {
        "motion": 100 * per_second / max(greys[0].shape),
        "frozen": sum(still) / len(still),
    }


def light_figures(greys: list[Grey]) -> dict[str, float]:
    """Measure brightness and black bars.

    Returns:
        ``brightness``: mean level, 0 to 255; ``bars``: share of the picture in rows and columns at
        its edges that are black in every copy.
    """
    brightest = np.maximum.reduce(greys)
    rows = np.percentile(brightest, 98, axis=1) > _BLACK
    columns = np.percentile(brightest, 98, axis=0) > _BLACK
    lit = _extent(rows) * _extent(columns)
    return {
        "brightness": float(np.mean([grey.mean() for grey in greys])),
        "bars": 1 - lit / brightest.size,
    }


def _extent(lit: NDArray[np.bool_]) -> int:
    found = np.flatnonzero(lit)
    return int(found[-1] - found[0] + 1) if len(found) else 0


def _grey(luma: Grey, longer: int) -> Grey:
    """Scale down and stretch video range to full range."""
    height, width = luma.shape
    factor = max(1.0, max(height, width) / longer)
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return cv2.LUT(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), _FULL_RANGE)


_FULL_RANGE: Final = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
_SMALLEST_FOR_FLOW: Final = 12  # OpenCV refuses smaller pictures
