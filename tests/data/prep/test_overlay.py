"""An overlay that clips share is found, and where there is none, none is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fdream.data.prep.overlay import FEWEST, estimate_overlay
from fdream.data.spriteworld.degrade import degrade, watermark


def landscape(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    """A picture of smooth colours and shapes with edges, like no other."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, (int(rng.integers(3, 9)), int(rng.integers(4, 12)), 3))
    picture = cv2.resize(tiles.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        cv2.circle(picture, centre, int(rng.integers(4, 30)), colour, -1)
    return picture


def near(mask: np.ndarray) -> np.ndarray:
    """The mask and one pixel around it: strokes are a pixel wide, and blur widens them."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


@pytest.mark.parametrize(("number", "found_of_it"), [(24, 0.6), (64, 0.95)])
def test_a_watermark_is_found_where_it_is(number: int, found_of_it: float) -> None:
    clean = np.stack([landscape(seed) for seed in range(number)])
    alpha = watermark(96, 160)
    marked = (clean * (1 - alpha) + 255 * alpha).astype(np.uint8)
    found = estimate_overlay(marked)
    truth = alpha[..., 0] > 0.05
    assert near(truth)[found.mask].mean() > 0.75
    assert found.mask[truth].mean() > found_of_it
    thick = alpha[..., 0] > 0.4
    assert found.alpha[thick].mean() == pytest.approx(0.45, abs=0.15)
    assert found.colour[thick].mean() > 200


def test_a_watermark_is_found_through_blur_and_blocks() -> None:
    marked = np.stack([degrade(landscape(seed)[None], seed)[0] for seed in range(64)])
    found = estimate_overlay(marked)
    truth = watermark(96, 160)[..., 0] > 0.05
    assert near(truth)[found.mask].mean() > 0.7
    assert found.mask[truth].mean() > 0.8


@pytest.mark.parametrize("start", range(0, 320, 64))
def test_where_there_is_none_none_is_found(start: int) -> None:
    assert estimate_overlay(np.stack([landscape(start + seed) for seed in range(64)])) is None


def test_a_few_clips_prove_nothing() -> None:
    same = np.stack([landscape(0)] * (FEWEST - 1))
    assert estimate_overlay(same) is None


def test_an_opaque_logo_keeps_its_colour() -> None:
    pictures = np.stack([landscape(seed) for seed in range(40)])
    pictures[:, 8:20, 130:150] = (220, 30, 40)
    found = estimate_overlay(pictures)
    inside = np.zeros((96, 160), bool)
    inside[8:20, 130:150] = True
    assert found.mask[inside].mean() > 0.95
    assert near(inside)[found.mask].mean() > 0.9
    assert found.alpha[inside].mean() > 0.9
    assert np.abs(found.colour[inside].mean(0) - (220, 30, 40)).max() < 10
