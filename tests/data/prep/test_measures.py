"""Figures say what they are called."""

from __future__ import annotations

import time
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from fdream.core.prep_recipe import FilterTable, MeasureTable
from fdream.data.prep.hashes import BITS, HashIndex, clip_hash
from fdream.data.prep.lettering import text_area
from fdream.data.prep.measures import ClipMeasures
from fdream.data.prep.samples import Sample
from fdream.data.prep.verdicts import judge, why_filtered

HEIGHT, WIDTH = 96, 160


def texture(seed: int, width: int = WIDTH) -> np.ndarray:
    tiles = np.random.default_rng(seed).integers(30, 226, (8, width // 12)).astype(np.uint8)
    return cv2.resize(tiles, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)


def figures_of(pictures: list[np.ndarray], fps: int = 24) -> dict:
    measures = ClipMeasures(MeasureTable(), Fraction(fps))
    for number, grey in enumerate(pictures):
        picture = np.repeat(grey[..., None], 3, axis=-1)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        measures.look(number, frame)
    return measures.figures()


@pytest.mark.parametrize("fps", [8, 24, 48])
@pytest.mark.parametrize("percent", [10, 30])
def test_motion_is_per_cent_of_the_width_a_second_at_any_rate(fps: int, percent: int) -> None:
    wide = texture(0, 3 * WIDTH).astype(np.float32)
    seconds = 2
    pictures = []
    for frame in range(fps * seconds):
        shift = frame / fps * percent / 100 * WIDTH
        shown = cv2.warpAffine(wide, np.float32([[1, 0, -shift], [0, 1, 0]]), (WIDTH, HEIGHT))
        pictures.append(shown.clip(0, 255).astype(np.uint8))
    found = figures_of(pictures, fps)
    assert found["motion"] == pytest.approx(percent, rel=0.25)
    assert found["frozen"] == 0


def test_what_stands_still_is_frozen_and_moves_not() -> None:
    found = figures_of([texture(0)] * 48)
    assert (found["motion"], found["frozen"]) == (0, 1)
    half = figures_of([texture(0)] * 24 + [texture(n) for n in range(1, 25)])
    assert 0.3 < half["frozen"] < 0.6


def test_one_picture_has_no_motion_to_measure() -> None:
    found = figures_of([texture(0)])
    assert "motion" not in found
    assert "frozen" not in found
    assert found["brightness"] == pytest.approx(texture(0).mean(), abs=2)


@pytest.mark.parametrize("level", [0, 60, 200, 255])
def test_brightness_is_the_mean_level(level: int) -> None:
    found = figures_of([np.full((HEIGHT, WIDTH), level, np.uint8)])
    assert found["brightness"] == pytest.approx(level, abs=1.5)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (12, 0), (0, 20), (24, 40)])
def test_bars_are_the_share_that_is_black_at_the_edges(rows: int, columns: int) -> None:
    pictures = []
    for number in range(24):
        picture = np.zeros((HEIGHT, WIDTH), np.uint8)
        inside = (slice(rows, HEIGHT - rows), slice(columns, WIDTH - columns))
        picture[inside] = texture(number)[inside]
        pictures.append(picture)
    expected = 1 - (HEIGHT - 2 * rows) * (WIDTH - 2 * columns) / (HEIGHT * WIDTH)
    assert figures_of(pictures)["bars"] == pytest.approx(expected, abs=0.05)


def test_letters_have_area_and_landscapes_little() -> None:
    plain = cv2.resize(texture(3), (320, 192), interpolation=cv2.INTER_CUBIC)
    written = plain.copy()
    for line in range(3):
        place = (20, 60 + 40 * line)
        cv2.putText(written, "BREAKING NEWS 24", place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 2)
    assert text_area(plain) < 0.01
    assert text_area(written) > 0.08


def clip(seed: int) -> list[np.ndarray]:
    return [texture(100 * seed + number) for number in range(8)]


def test_a_clip_coded_and_scaled_again_hashes_nearly_the_same() -> None:
    small = [cv2.resize(grey, (80, 48), interpolation=cv2.INTER_AREA) for grey in clip(1)]
    coded = []
    for grey in small:
        _, packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 30])
        coded.append(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE))
    assert distance(clip_hash(clip(1)), clip_hash(coded)) <= 24
    others = [distance(clip_hash(clip(1)), clip_hash(clip(seed))) for seed in range(2, 12)]
    assert min(others) > 60


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def test_the_index_finds_the_first_of_another_source_within_reach() -> None:
    rng = np.random.default_rng(0)
    index = HashIndex()
    hashes = [rng.bytes(BITS // 8).hex() for _ in range(3000)]
    for source, phash in enumerate(hashes):
        index.add(phash, source)
    for source in (0, 1023, 1024, 2999):
        flipped = f"{int(hashes[source], 16) ^ 0b1011 << 70:064x}"
        assert index.nearest(flipped, 9999, 3) == source
        assert index.nearest(flipped, 9999, 2) is None
        assert index.nearest(flipped, source, 3) is None


def test_a_million_hashes_are_searched_in_milliseconds() -> None:
    index = HashIndex()
    rng = np.random.default_rng(0)
    index._words = rng.integers(0, 1 << 63, (BITS // 64, 1_000_000), np.uint64)
    index._sources = np.arange(1_000_000)
    index._count = 1_000_000
    started = time.process_time()
    for _ in range(20):
        index.nearest(rng.bytes(BITS // 8).hex(), -1, 12)
    assert (time.process_time() - started) / 20 < 0.02


@pytest.mark.parametrize(
    ("thresholds", "reason"),
    [
        ({"min_seconds": 2.0}, "min_seconds: 1.5 < 2"),
        ({"min_seconds": 1.5}, ""),
        ({"max_motion": 3.0}, "max_motion: 4 > 3"),
        ({"min_side": 200}, "min_side: 180 < 200"),
        ({"languages": ["de", "fr"]}, "languages: en is none of de, fr"),
        ({"languages": ["en"]}, ""),
        ({"min_words": 9, "min_seconds": 9.0}, "min_seconds: 1.5 < 9"),
        ({"max_text": 0.1}, ""),  # not measured
    ],
)
def test_reasons_name_the_threshold_and_both_numbers(thresholds: dict, reason: str) -> None:
    sample = Sample(
        seconds=1.5,
        num_frames=30,
        motion=4.0,
        source_height=180,
        source_width=320,
        language="en",
        words=4,
    )
    table = FilterTable.model_validate({"min_seconds": None, "min_frames": None, **thresholds})
    assert why_filtered(sample, table) == reason
    judge([sample], table)
    assert sample.status == ("filtered" if reason else "success")


def test_what_is_quarantined_stays_so() -> None:
    sample = Sample(status="failed_to_subsample", error_message="broken")
    judge([sample], FilterTable())
    assert (sample.status, sample.error_message) == ("failed_to_subsample", "broken")
