"""Videos are written whole, alike every time, and play as asked."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdream.core.errors import OutputError
from fdream.data.animations import gif_durations, gif_timing_note
from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.images import decode_image
from fdream.data.media import read_video
from fdream.data.writers import encode_image, encode_video, save_video

FILES = [kind for kind in VIDEO_FORMATS if kind != "frames"]


def moving_picture(frames: int = 6, height: int = 32, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack([rows * 4 + 20, columns * 3 + 4 * frame, np.full_like(rows, 90)], -1)
            for frame in range(frames)
        ]
    ).astype(np.uint8)


@pytest.mark.parametrize("kind", FILES)
def test_same_frames_same_bytes(kind: str, tmp_path: Path) -> None:
    hashes = set()
    for name in ("first", "second"):
        path = tmp_path / name
        save_video(path, moving_picture(), 8, Encoding(kind), '{"schema": 1}')
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1
    piped = [encode_video(moving_picture(), 8, Encoding(kind), None) for _ in range(2)]
    assert piped[0] == piped[1]


@pytest.mark.parametrize("kind", ["mp4", "webm"])
@pytest.mark.parametrize("piped", [False, True])
def test_colours_survive(kind: str, piped: bool, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    if piped:
        path.write_bytes(encode_video(moving_picture(), 8, Encoding(kind)))
    else:
        save_video(path, moving_picture(), 8, Encoding(kind))
    seen = read_video(path)
    assert seen.fps == 8
    error = seen.frames.astype(float) - moving_picture()
    assert 10 * np.log10(255**2 / (error**2).mean()) > 36
    # A wrong matrix or range shows as a shift of whole channels.
    assert np.abs(error.mean((0, 1, 2))).max() < 2


def test_piped_mp4_can_be_played_before_its_end() -> None:
    data = encode_video(moving_picture(), 8, Encoding("mp4"))
    assert data[4:8] == b"ftyp"
    assert 0 < data.find(b"moov") < data.find(b"moof") < data.find(b"mdat")


def test_mp4_file_has_its_index_first(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4", moving_picture(), 8, Encoding("mp4"))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


@pytest.mark.parametrize("size", [(31, 47), (31, 48), (1, 1)])
@pytest.mark.parametrize("kind", FILES)
def test_odd_sizes_are_written(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "odd"
    save_video(path, moving_picture(3, *size), 8, Encoding(kind))
    assert path.stat().st_size > 0
    if kind == "mp4":
        assert read_video(path).frames.shape == (3, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)


def test_odd_size_repeats_its_edge(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4", np.full((2, 33, 33, 3), 200, np.uint8), 8, Encoding("mp4"))
    assert np.abs(read_video(tmp_path / "a.mp4").frames.astype(int) - 200).max() <= 3


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    for kind in VIDEO_FORMATS:
        save_video(tmp_path / kind, moving_picture(1), 8, Encoding(kind))
    assert len(read_video(tmp_path / "mp4").frames) == 1


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_pictures_are_stored_without_loss(kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    assert np.array_equal(decode_image(encode_image(picture, Encoding(kind)), "x"), picture)


@pytest.mark.parametrize("kind", ["gif", "webp", "apng"])
def test_animations_loop_with_all_frames(kind: str) -> None:
    data = encode_video(moving_picture(), 8, Encoding(kind))
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 6
        assert image.info.get("loop") == 0


def test_gif_is_close_to_its_frames() -> None:
    wanted = moving_picture()
    with Image.open(io.BytesIO(encode_video(wanted, 8, Encoding("gif")))) as image:
        seen = []
        for number in range(image.n_frames):
            image.seek(number)
            seen.append(np.asarray(image.convert("RGB"), float))
    assert 10 * np.log10(255**2 / ((np.stack(seen) - wanted) ** 2).mean()) > 30


@pytest.mark.parametrize("fps", [1, 7.5, 8, 24, 29.97, 30, 50])
def test_gif_timing_errors_do_not_add_up(fps: float) -> None:
    durations = gif_durations(48, fps)
    assert all(duration % 10 == 0 for duration in durations)
    assert sum(durations) == pytest.approx(48 * 1000 / fps, abs=5.1)


def test_gif_says_when_it_rounds() -> None:
    assert gif_timing_note(10) is None
    assert "10 ms" in (gif_timing_note(8) or "")
    assert "fastest" in (gif_timing_note(60) or "")


def test_sheet_shows_every_frame() -> None:
    frames = moving_picture(5)
    sheet = decode_image(encode_video(frames, 8, Encoding("png")), "x")
    assert sheet.shape == (2 * 32, 3 * 48, 3)
    assert np.array_equal(sheet[32:, 48:96], frames[4])


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_failure_leaves_the_old_file_and_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"old")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/bin/false")
    broken = np.zeros((0, 8, 8, 3), np.uint8) if kind == "gif" else moving_picture()
    with pytest.raises((OutputError, ValueError, IndexError)):
        save_video(path, broken, 8, Encoding(kind))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        save_video(tmp_path / "file" / "out.mp4", moving_picture(), 8, Encoding("mp4"))
