"""What was written comes back as frames, rate and record; what was not does no harm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdream.core.errors import DataError
from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.metadata import dump_record
from fdream.data.readers import Output, read_output
from fdream.data.writers import save_image, save_video

EXACT = ("apng", "png", "frames")


def clip(num_frames: int = 7, height: int = 24, width: int = 40) -> np.ndarray:
    """Coloured stripes that wander; no two frames are alike."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack([rows * 6 + 40, (columns * 4 + 9 * n) % 200, np.full_like(rows, 90)], -1)
            for n in range(num_frames)
        ]
    ).astype(np.uint8)


def record_of(frames: np.ndarray, fps: float = 8) -> str:
    count, height, width = frames.shape[:3]
    chosen = {"frames": count, "size": f"{width}x{height}"}
    return dump_record({"fps": fps, "options": {"generator": chosen}})


def written(path: Path, kind: str, frames: np.ndarray, record: str | None, fps: float = 8) -> Path:
    save_video(path, frames, fps, Encoding(kind), record)
    return path


def closeness(seen: np.ndarray, wanted: np.ndarray) -> float:
    """Signal to noise, dB."""
    return float(10 * np.log10(255**2 / max(1e-9, ((seen - wanted.astype(float)) ** 2).mean())))


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
@pytest.mark.parametrize("fps", [8, 29.97])
def test_every_format_comes_back(kind: str, fps: float, tmp_path: Path) -> None:
    frames = clip()
    # No ending: what a file is says its content.
    seen = read_output(written(tmp_path / "out", kind, frames, record_of(frames, fps), fps))
    assert seen.kind == kind
    assert seen.frames.shape == frames.shape
    assert seen.frames.dtype == np.uint8
    assert seen.fps == fps
    assert seen.found.record == json.loads(record_of(frames, fps))
    if kind in EXACT:
        assert np.array_equal(seen.frames, frames)
    assert closeness(seen.frames, frames) > 28


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind not in ("png", "frames")])
def test_without_a_record_the_file_tells_its_rate(kind: str, tmp_path: Path) -> None:
    seen = read_output(written(tmp_path / "out", kind, clip(), None))
    assert seen.frames.shape == clip().shape
    assert seen.fps == pytest.approx(8, rel=0.01)
    assert (seen.found.record, seen.found.reason) == (None, "")


def test_without_a_record_pictures_tell_no_rate(tmp_path: Path) -> None:
    frames = read_output(written(tmp_path / "folder", "frames", clip(), None))
    assert (frames.kind, frames.fps) == ("frames", None)
    assert np.array_equal(frames.frames, clip())
    sheet = read_output(written(tmp_path / "sheet", "png", clip(), None))
    assert (sheet.kind, sheet.fps) == ("png", None)
    assert sheet.frames.shape == (1, 3 * 24, 3 * 40, 3)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
@pytest.mark.parametrize("fps", [8, 60])
def test_frames_that_are_alike_come_back_each(kind: str, fps: float, tmp_path: Path) -> None:
    order = [0, 0, 0, 1, 2, 2, 3, 3]  # Pillow and libwebp store such pictures once
    frames = clip(4)[order]
    seen = read_output(written(tmp_path / "out", kind, frames, record_of(frames, fps), fps))
    assert seen.frames.shape == frames.shape
    assert closeness(seen.frames, frames) > 28


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_a_video_that_stands_still_comes_back(kind: str, tmp_path: Path) -> None:
    frames = clip(1)[[0] * 6]
    seen = read_output(written(tmp_path / "out", kind, frames, record_of(frames)))
    assert seen.frames.shape == frames.shape
    assert seen.fps == 8


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
@pytest.mark.parametrize("size", [(23, 39), (23, 40), (1, 1)])
def test_odd_sizes_come_back_without_the_padding(
    kind: str, size: tuple[int, int], tmp_path: Path
) -> None:
    frames = clip(3, *size)
    assert (
        read_output(written(tmp_path / "o", kind, frames, record_of(frames))).frames.shape
        == frames.shape
    )


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
@pytest.mark.parametrize("count", [1, 2, 17])
def test_any_number_of_frames_comes_back(kind: str, count: int, tmp_path: Path) -> None:
    frames = clip(count, 8, 8)
    seen = read_output(written(tmp_path / "out", kind, frames, record_of(frames)))
    assert seen.frames.shape == frames.shape


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_still_image_is_one_frame(kind: str, tmp_path: Path) -> None:
    save_image(tmp_path / "a", clip(1)[0], Encoding(kind), dump_record({"seed": 3}))
    seen = read_output(tmp_path / "a")
    assert np.array_equal(seen.frames, clip(1))
    assert (seen.kind, seen.fps, seen.found.record) == (kind, None, {"schema": 1, "seed": 3})


def test_a_photo_has_no_record_and_no_rate(tmp_path: Path) -> None:
    for name, kind in {"a.jpg": "jpeg", "b.bmp": "bmp", "c.gif": "gif"}.items():
        Image.fromarray(clip(1)[0]).save(tmp_path / name)
        seen = read_output(tmp_path / name)
        assert (seen.kind, seen.fps, seen.found.reason) == (kind, None, "")
        assert seen.frames.shape == (1, 24, 40, 3)


def generator(**options: object) -> dict[str, object]:
    return {"options": {"generator": options}}


HOSTILE = [
    generator(frames=10**30, size="99999x99999"),
    generator(frames=10**9, size="1x1"),
    generator(frames=-1, size=-1),
    generator(frames=True, size=True),
    generator(frames=None, size="\x1b[2J"),
    generator(frames=5.5, size=[]),
    {"options": []},
    {"options": {"generator": "all"}},
    {"fps": 1e-300, **generator(frames=7)},
    {"fps": 1000, **generator(frames=100_000)},
    {"fps": "8", **generator(frames="7")},
]


@pytest.mark.parametrize("kind", ["mp4", "gif", "apng", "png"])
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_records_change_no_frame(kind: str, number: int, tmp_path: Path) -> None:
    frames = clip(7, 8, 8)
    seen = read_output(written(tmp_path / "o", kind, frames, dump_record(HOSTILE[number])))
    if seen.frames.shape != frames.shape:  # a sheet that its record cannot explain
        assert (kind, seen.frames.shape) == ("png", (1, 24, 24, 3))
    assert seen.fps is None or 0 < seen.fps <= 1000


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind != "frames"])
def test_no_damage_does_more_than_a_data_error(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "out", kind, clip(), record_of(clip()))
    whole = path.read_bytes()
    chance = np.random.default_rng(2)
    told = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in chance.integers(0, len(data), 5):
            data[place] = chance.integers(256)
        path.write_bytes(bytes(data[: chance.integers(1, len(data) + 1)]))
        try:
            seen = read_output(path)
        except DataError:
            told += 1
        else:
            assert isinstance(seen, Output)
            assert seen.frames.ndim == 4
    assert told > 0


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind != "frames"])
@pytest.mark.parametrize("left", [0, 1, 12, 60])
def test_a_file_that_was_cut_off_early_is_a_data_error(
    kind: str, left: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "out", kind, clip(), record_of(clip()))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match="out"):
        read_output(path)


def test_folders_that_are_no_frames_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable frame"):
        read_output(tmp_path)
    folder = written(tmp_path / "clip", "frames", clip(3), None)
    (folder / "00001.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"00001\.png"):
        read_output(folder)
    Image.new("RGB", (5, 5)).save(folder / "00001.png")
    with pytest.raises(DataError, match="size"):
        read_output(folder)


def test_frames_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = written(tmp_path / "clip", "frames", clip(3), None)
    (folder / "00000.png").rename(folder / "100000.png")
    assert np.array_equal(read_output(folder).frames, clip(3)[[1, 2, 0]])


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"schema": 2}', b"[" * 50_000, b"x" * 200_000], ids=len
)
def test_a_foreign_json_beside_frames_is_no_record(body: bytes, tmp_path: Path) -> None:
    folder = written(tmp_path / "clip", "frames", clip(2), None)
    (folder / "fdream.json").write_bytes(body)
    seen = read_output(folder)
    assert seen.found.record is None
    assert seen.found.reason
    assert len(seen.frames) == 2


def test_too_much_for_memory_is_refused_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdream.data.media.MAX_DECODED_BYTES", clip(3).nbytes)
    for kind in ("mp4", "gif", "apng", "frames"):
        path = written(tmp_path / kind, kind, clip(), None)
        with pytest.raises(DataError, match="cut it"):
            read_output(path)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_output(tmp_path / "nowhere")
