"""What a replay answers follows from the frames, and from what a format keeps of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.metadata import dump_record
from fdream.data.readers import Output, read_output
from fdream.data.writers import save_image, save_video
from fdream.pipelines.provenance import frames_hash
from fdream.pipelines.recorded import Recorded, believe
from fdream.pipelines.verdict import judge

LOSSLESS = ("apng", "png", "frames")
LOSSY = ("mp4", "webm", "gif", "webp")


def smooth(seed: int = 0) -> np.ndarray:
    """Frames that a codec handles as it handles pictures: (3, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (3, 4, 4, 3))
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2).astype(np.uint8)


def record(frames: np.ndarray, **changes: Any) -> dict[str, Any]:
    video = len(frames) > 1
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    options: dict[str, Any] = {"prior": {"size": size}}
    stages = {"prior": {"name": "pocket"}}
    if video:
        options["generator"] = {"size": size, "resize": "crop", "frames": len(frames)}
        stages["generator"] = {"name": "pocket"}
    return {
        "schema": 1,
        "command": "t2v" if video else "t2i",
        "captions": {"appearance": "a", "motion": "b"},
        "seed": 1,
        **({"fps": 8.0, "first_frame_sha256": "ab" * 32} if video else {}),
        "stages": stages,
        "options": options,
        "frames_sha256": frames_hash(frames),
        **changes,
    }


def written(
    folder: Path, frames: np.ndarray, encoding: Encoding, **changes: Any
) -> tuple[Recorded, Output]:
    """Write frames with a record, read them back, and believe it."""
    path = folder / f"out.{encoding.kind}"
    text = dump_record(record(frames, encoding=encoding.record(), **changes))
    if len(frames) == 1:
        save_image(path, frames[0], encoding, text)
    else:
        save_video(path, frames, 8, encoding, text)
    output = read_output(path)
    assert output.found.record is not None
    return believe(output.found.record, output.kind, "out"), output


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_equal_frames_are_bit_equal_in_every_format(tmp_path: Path, kind: str) -> None:
    frames = smooth()
    recorded, output = written(tmp_path, frames, Encoding(kind))
    verdict = judge(recorded, output, frames)
    assert str(verdict) == "bit-equal"
    assert verdict.gap is not None
    assert (verdict.gap.levels == 0) == (verdict.loss is None)
    assert verdict.note == ""


@pytest.mark.parametrize("quality", [1, 30, 100])
@pytest.mark.parametrize("kind", LOSSY)
def test_any_quality_is_bit_equal_by_the_frames(tmp_path: Path, kind: str, quality: int) -> None:
    frames = smooth()
    verdict = judge(*written(tmp_path, frames, Encoding(kind, quality)), frames)
    assert verdict.answer == "bit-equal"


@pytest.mark.parametrize("encoding", [Encoding("png"), Encoding("webp"), Encoding("webp", 50)])
def test_stills_are_answered_too(tmp_path: Path, encoding: Encoding) -> None:
    frames = smooth()[:1]
    verdict = judge(*written(tmp_path, frames, encoding), frames)
    assert verdict.answer == "bit-equal"
    assert (verdict.loss is not None) == (encoding.quality is not None)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize(
    ("share", "levels", "answer"),
    [
        (0.5, 1, "within 1 level: 100.000 % of all values are within one level"),
        (0.0008, 9, "within 9 levels: 99.9"),
        (0.002, 2, "different: 99.8"),
        (1.0, 40, "different: 0.000 % of all values are within one level; the largest"),
    ],
)
def test_the_tolerance_is_one_level_on_999_of_1000_values(
    tmp_path: Path, kind: str, share: float, levels: int, answer: str
) -> None:
    frames = smooth()
    made = frames.reshape(-1).copy()
    made[: round(share * made.size)] += levels
    verdict = judge(*written(tmp_path, frames, Encoding(kind)), made.reshape(frames.shape))
    assert str(verdict).startswith(answer)
    assert verdict.gap is not None
    assert verdict.gap.levels == levels


def pictures(seed: int = 0) -> np.ndarray:
    """Frames with more colours and edges than any lossy format keeps: (3, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    return np.clip(smooth(seed) + rng.normal(0, 12, (3, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [None, 30])
@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_file_may_be_as_far_off_as_its_encoding_explains(
    tmp_path: Path, kind: str, quality: int | None
) -> None:
    """The frames made are not the recorded ones, and what can be seen of that is told."""
    frames = pictures()
    output = written(tmp_path, frames, Encoding(kind, quality), frames_sha256="00" * 32)
    made = frames.copy()
    made[:, ::9, ::7] ^= 1  # what another processor computes: a level here and there
    alike = judge(*output, made)
    assert alike.answer == "within", str(alike)
    assert "its encoding explains" in str(alike)
    brighter = judge(*output, np.clip(frames.astype(int) + 16, 0, 255).astype(np.uint8))
    assert brighter.answer == "different", str(brighter)
    assert judge(*output, pictures(seed=1)).answer == "different"


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_a_record_that_was_put_on_another_file_is_found_out(tmp_path: Path, kind: str) -> None:
    """The recipe repeats the recorded frames, and the file shows others."""
    frames = smooth()
    output = written(tmp_path, smooth(seed=1), Encoding(kind), frames_sha256=frames_hash(frames))
    verdict = judge(*output, frames)
    assert verdict.answer == "different"
    assert "changed" in verdict.note


def test_frames_of_another_shape_are_different(tmp_path: Path) -> None:
    frames = smooth()
    verdict = judge(*written(tmp_path, frames, Encoding("apng")), frames[:2, :16])
    assert str(verdict) == "different: 2 frames of 32x16 came out, not 3 frames of 32x32."


def test_a_format_that_is_not_ours_is_told(tmp_path: Path) -> None:
    frames = smooth()
    recorded, output = written(tmp_path, frames, Encoding("mp4"))
    foreign = Output("avi", output.frames, output.fps, output.found)
    verdict = judge(recorded, foreign, frames)
    assert verdict.answer == "different"
    assert "avi" in verdict.note
