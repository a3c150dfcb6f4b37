"""Estimates the fixed overlay, such as a watermark, that the clips of a run share.

Behind an overlay pictures change from clip to clip, the overlay does not. So its edges are where
many clips agree on a gradient, and inside it both the mean and the spread of the levels are pulled
away from those of its surroundings, by its colour and by its opacity.

Source: Dekel et al., "On the Effectiveness of Visible Watermarks" (CVPR 2017), for the agreement of
gradients. Ours: opacity and colour from mean and spread, which needs no alternating optimisation.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from fdream.data.media import read_video
from fdream.data.prep.settling import read_samples, stored_videos
from fdream.data.shards.overlay import Overlay, write_overlay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.data.prep.samples import Sample
    from fdream.data.shards.folder import ShardFolder

FEWEST: Final = 16
"""Sources below which agreement may be chance."""

_LOOKED_AT: Final = (
    12  # the frame of a clip: later than a fade at its start, early enough to be cheap
)
_CERTAIN: Final = 6.0  # standard errors by which the gradients agree
_VISIBLE: Final = 1.0  # levels a pixel
_SMALLEST_SHARE: Final = 2e-4  # of the picture; less is noise
_BLUR: Final = 0.7
_OPAQUE: Final = 0.35  # of the usual spread; with 16 clips a spread is known to 18 %


def estimate_overlay(pictures: NDArray[np.uint8]) -> Overlay | None:
    """Find what is the same in pictures that are otherwise different.

    Args:
        pictures: uint8 (N, H, W, 3), RGB, one of each source.

    Returns:
        None where there are fewer than ``FEWEST`` pictures, or they share nothing.
    """
    if len(pictures) < FEWEST:
        return None
    mask = _closed(_agreeing_edges(pictures) | _still_places(pictures))
    if mask.mean() < _SMALLEST_SHARE:
        return None
    levels = pictures.astype(np.float32)
    mean, spread = levels.mean(axis=0), levels.std(axis=0)
    around_mean, around_spread = _inpainted(mean, mask), _inpainted(spread, mask)
    seen_through = (spread.mean(axis=-1) + 1) / (around_spread.mean(axis=-1) + 1)
    opacity = np.where(mask, np.clip(1 - seen_through, 0.05, 1), 0)
    alpha: NDArray[np.float32] = opacity.astype(np.float32)
    added = mean - (1 - alpha[..., None]) * around_mean
    colour = np.clip(added / np.maximum(alpha[..., None], 0.05), 0, 255)
    shown = np.where(mask[..., None], colour, 0).astype(np.uint8)
    return Overlay(mask, alpha, shown, len(pictures))


def find_overlay(folder: ShardFolder, clips: int) -> Overlay | None:
    """Look for an overlay in the clips of a run, kept or filtered, and write it beside the shards.

    Clips of the most common size are looked at, one of each source.

    Args:
        folder: of the shards.
        clips: how many to look at, at most.
    """
    chosen = _choose(folder, clips)
    pictures = []
    for number in sorted(chosen):
        videos = stored_videos(folder, number)
        for key in sorted(chosen[number]):
            video = io.BytesIO(videos[key].read())
            pictures.append(read_video(video, _LOOKED_AT + 1, place=key).frames[-1])
    found = estimate_overlay(np.stack(pictures)) if pictures else None
    write_overlay(folder.root, found)
    return found


def _choose(folder: ShardFolder, clips: int) -> dict[int, set[str]]:
    """Choose clips: the first of each source, of the most common size, spread over the run."""
    firsts: list[tuple[int, Sample]] = []
    for number in folder.done():
        seen = set()
        for sample in read_samples(folder, number):
            source = sample.key.partition("_")[0]
            if sample.bytes and source not in seen:
                seen.add(source)
                firsts.append((number, sample))
    if not firsts:
        return {}
    sizes = Counter((sample.height, sample.width) for _, sample in firsts)
    size = max(sizes, key=lambda one: (sizes[one], one))
    alike = [(number, s.key) for number, s in firsts if (s.height, s.width) == size]
    chosen: dict[int, set[str]] = {}
    for index in np.linspace(0, len(alike) - 1, min(clips, len(alike))).round().astype(int):
        chosen.setdefault(alike[index][0], set()).add(alike[index][1])
    return chosen


def _agreeing_edges(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find where the gradients of most pictures agree, beyond what chance explains."""
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])
    agreed = np.zeros(grey.shape[1:], bool)
    for across, down in ((1, 0), (0, 1)):
        gradients = np.stack(
            [
                cv2.Sobel(
                    cv2.GaussianBlur(one, (0, 0), _BLUR), cv2.CV_32F, across, down, scale=1 / 8
                )
                for one in grey
            ]
        )
        median = np.median(gradients, axis=0)
        # The standard error of a median, from the median deviation of the same numbers.
        deviation = 1.4826 * np.median(np.abs(gradients - median), axis=0)
        error = 1.2533 * deviation / np.sqrt(len(grey))
        agreed |= (np.abs(median) > _CERTAIN * np.maximum(error, 1e-3)) & (
            np.abs(median) > _VISIBLE
        )
    return agreed


def _still_places(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find where levels hardly change from clip to clip: under what is opaque.

    Its edges need not agree, because what is beside them differs.
    """
    spread = pictures.astype(np.float32).std(axis=0).mean(axis=-1)
    return spread < _OPAQUE * np.median(spread)


def _closed(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill between the two edges of a stroke, and drop specks."""
    side = max(3, round(min(edges.shape) / 48) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    kept = [label for label in range(1, count) if boxes[label][cv2.CC_STAT_AREA] >= side * side]
    return np.isin(labels, kept)


def _inpainted(figure: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Continue a figure of the surroundings into the mask, by blurring what is outside."""
    weight = (~mask).astype(np.float32)
    sigma = max(2.0, min(mask.shape) / 12)
    spread = cv2.GaussianBlur(figure * weight[..., None], (0, 0), sigma)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    return np.where(mask[..., None], spread / np.maximum(total, 1e-3), figure).astype(np.float32)
