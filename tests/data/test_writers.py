"""Videos are written whole, alike every time, and play as asked."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from fdream.core.errors import OutputError
from fdream.data.animations import gif_durations, gif_timing_note
from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.images import decode_image
from fdream.data.media import read_video
from fdream.data.readers import read_output
from fdream.data.writers import encode_image, encode_video, save_video

FILES = [kind for kind in VIDEO_FORMATS if kind != "frames"]
AV1 = Encoding("webm", codec="av1")


def moving_picture(frames: int = 6, height: int = 32, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack([rows * 4 + 20, columns * 3 + 4 * frame, np.full_like(rows, 90)], -1)
            for frame in range(frames)
        ]
    ).astype(np.uint8)


@pytest.mark.parametrize("encoding", [*map(Encoding, FILES), AV1], ids=str)
def test_same_frames_same_bytes(encoding: Encoding, tmp_path: Path) -> None:
    hashes = set()
    for name in ("first", "second"):
        path = tmp_path / name
        save_video(path, moving_picture(), 8, encoding, '{"schema": 1}')
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1
    piped = [encode_video(moving_picture(), 8, encoding, None) for _ in range(2)]
    assert piped[0] == piped[1]


@pytest.mark.parametrize("encoding", [Encoding("mp4"), Encoding("webm"), AV1], ids=str)
@pytest.mark.parametrize("piped", [False, True])
def test_colours_survive(encoding: Encoding, piped: bool, tmp_path: Path) -> None:
    path = tmp_path / f"out.{encoding.kind}"
    if piped:
        path.write_bytes(encode_video(moving_picture(), 8, encoding))
    else:
        save_video(path, moving_picture(), 8, encoding)
    seen = read_video(path)
    assert seen.fps == 8
    error = seen.frames.astype(float) - moving_picture()
    assert 10 * np.log10(255**2 / (error**2).mean()) > 36
    # A wrong matrix or range shows as a shift of whole channels.
    assert np.abs(error.mean((0, 1, 2))).max() < 2


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [(Encoding("mp4"), "h264"), (Encoding("webm"), "vp9"), (AV1, "av1")],
    ids=str,
)
def test_files_hold_the_codec_that_was_asked_for(encoding: Encoding, codec: str) -> None:
    with av.open(io.BytesIO(encode_video(moving_picture(2), 8, encoding))) as opened:
        assert opened.streams.video[0].codec.canonical_name == codec


def test_piped_mp4_can_be_played_before_its_end() -> None:
    data = encode_video(moving_picture(), 8, Encoding("mp4"))
    assert data[4:8] == b"ftyp"
    assert 0 < data.find(b"moov") < data.find(b"moof") < data.find(b"mdat")


def test_mp4_file_has_its_index_first(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4", moving_picture(), 8, Encoding("mp4"))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_ffmpeg_reads_raw_frames_and_no_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file is called, FFmpeg takes it for a name and reads nothing but its input."""
    commands = []
    run = subprocess.run

    def listened(command: list[str], **options: Any) -> Any:
        commands.append(command)
        assert bytes(options["input"]) == moving_picture(2).tobytes()
        return run(command, **options)

    monkeypatch.setattr("fdream.data.writers.subprocess.run", listened)
    monkeypatch.chdir(tmp_path)
    save_video(Path(f"-i http:x.{kind}"), moving_picture(2), 8, Encoding(kind), '{"schema": 1}')
    encode_video(moving_picture(2), 8, Encoding(kind))
    for command, target in zip(commands, ("file:/", "pipe:1"), strict=True):
        inputs = [command[place + 1] for place, word in enumerate(command) if word == "-i"]
        assert inputs == ["pipe:0"]
        assert command[command.index("-f") + 1] == "rawvideo"
        assert command[-1].startswith(target)
        assert {command[place + 1] for place, word in enumerate(command) if "thread" in word} == {
            "1"
        }
    assert [path.name for path in tmp_path.iterdir()] == [f"-i http:x.{kind}"]


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
def test_animations_loop_for_ever_with_all_frames(kind: str) -> None:
    data = encode_video(moving_picture(), 8, Encoding(kind))
    assert data == encode_video(moving_picture(), 8, Encoding(kind, loop=0))
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 6
        assert image.info.get("loop") == 0


@pytest.mark.parametrize("plays", [1, 2, 7, 65_535])
def test_loop_counts_plays_in_every_format(plays: int) -> None:
    """As browsers read them: WebP and APNG state plays, GIF repeats after the first."""
    stated = {}
    for kind in ("gif", "webp", "apng"):
        data = encode_video(moving_picture(), 8, Encoding(kind, loop=plays))
        with Image.open(io.BytesIO(data)) as image:
            stated[kind] = image.info.get("loop")
    assert stated == {"gif": plays - 1 or None, "webp": plays, "apng": plays}


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", None), ("webm", None), ("webm", "av1"), ("gif", None), ("webp", None)],
)
def test_quality_buys_likeness_with_bytes(kind: str, codec: str | None) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (6, 32, 48, 3))
    frames = np.clip(moving_picture().astype(int) + noise, 0, 255).astype(np.uint8)
    sizes, errors = [], []
    for quality in (1, 30, 60, 90):
        data = encode_video(frames, 8, Encoding(kind, quality, codec=codec))
        assert data == encode_video(frames, 8, Encoding(kind, quality, codec=codec))
        sizes.append(len(data))
        errors.append(mean_error(data, frames))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert len(set(sizes)) == 4
    assert data == encode_video(frames, 8, Encoding(kind, codec=codec))  # 90 is the default
    if kind != "gif":
        assert (
            mean_error(encode_video(frames, 8, Encoding(kind, 100, codec=codec)), frames)
            < errors[-1]
        )


def mean_error(data: bytes, frames: np.ndarray) -> float:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return float(np.abs(read_output(Path(file.name)).frames - frames.astype(float)).mean())


def test_quality_of_a_still_webp_is_asked_for() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    sizes = [len(encode_image(picture, Encoding("webp", quality))) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))
    assert not np.array_equal(
        decode_image(encode_image(picture, Encoding("webp", 100)), "x"), picture
    )


def test_gif_is_close_to_its_frames() -> None:
    wanted = moving_picture()
    with Image.open(io.BytesIO(encode_video(wanted, 8, Encoding("gif")))) as image:
        seen = []
        for number in range(image.n_frames):
            image.seek(number)
            seen.append(np.asarray(image.convert("RGB"), float))
    assert 10 * np.log10(255**2 / ((np.stack(seen) - wanted) ** 2).mean()) > 30


def test_gif_palette_is_chosen_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    quantize = Image.Image.quantize

    def counted(image: Image.Image, *args: Any, **options: Any) -> Image.Image:
        if options.get("kmeans"):
            seen.append(image.width * image.height)
        return quantize(image, *args, **options)

    monkeypatch.setattr(Image.Image, "quantize", counted)
    for size in (16, 256):
        encode_video(moving_picture(2, size, size), 8, Encoding("gif"))
    assert seen == [2 * 16 * 16, 1 << 15]


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


@pytest.mark.parametrize("kind", ["mp4", "gif", "frames"])
def test_failure_leaves_the_old_file_and_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"out.{kind}"
    if kind == "frames":
        save_video(path, moving_picture(2), 8, Encoding(kind), '{"schema": 1, "old": true}')
    else:
        path.write_bytes(b"old")
    old = contents(tmp_path)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/bin/false")
    monkeypatch.setattr("PIL.Image.Image.save", full_after(2 if kind == "frames" else 0))
    with pytest.raises(OutputError, match=r"No space|make room"):
        save_video(path, moving_picture(), 8, Encoding(kind), '{"schema": 1}')
    assert contents(tmp_path) == old


def full_after(pictures: int) -> Callable[..., None]:
    """A disk with room for so many pictures."""
    save, calls = Image.Image.save, count(1)

    def guarded(*args: Any, **options: Any) -> None:
        if next(calls) > pictures:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*args, **options)

    return guarded


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_of_frames_holds_every_pixel_and_the_record(tmp_path: Path) -> None:
    frames = moving_picture(3)
    save_video(tmp_path / "clip", frames, 8, Encoding("frames"), '{"schema": 1}')
    names = ["00000.png", "00001.png", "00002.png", "fdream.json"]
    assert sorted(p.name for p in (tmp_path / "clip").iterdir()) == names
    assert (tmp_path / "clip" / "fdream.json").read_bytes() == b'{"schema": 1}\n'
    for name, frame in zip(names, frames, strict=False):
        data = (tmp_path / "clip" / name).read_bytes()
        assert np.array_equal(decode_image(data, name), frame)
        assert b"fdream" not in data


def test_same_frames_same_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_video(tmp_path / name, moving_picture(), 8, Encoding("frames"), '{"schema": 1}')
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_folder_of_frames_is_replaced_as_a_whole(tmp_path: Path) -> None:
    save_video(tmp_path / "clip", moving_picture(5), 8, Encoding("frames"), '{"schema": 1}')
    save_video(tmp_path / "clip", moving_picture(2), 8, Encoding("frames"))
    assert sorted(contents(tmp_path)) == ["clip/00000.png", "clip/00001.png"]


@pytest.mark.parametrize("extra", ["notes.txt", "frame.png", "00000.jpg", ".hidden"])
def test_folder_with_anything_else_is_never_replaced(extra: str, tmp_path: Path) -> None:
    save_video(tmp_path / "clip", moving_picture(2), 8, Encoding("frames"), '{"schema": 1}')
    (tmp_path / "clip" / extra).write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        save_video(tmp_path / "clip", moving_picture(1), 8, Encoding("frames"), '{"schema": 1}')
    assert len(contents(tmp_path)) == 4


def test_folder_with_a_folder_is_never_replaced(tmp_path: Path) -> None:
    save_video(tmp_path / "clip", moving_picture(2), 8, Encoding("frames"), '{"schema": 1}')
    (tmp_path / "clip" / "00002.png").mkdir()
    (tmp_path / "clip" / "00002.png" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        save_video(tmp_path / "clip", moving_picture(1), 8, Encoding("frames"), '{"schema": 1}')


@pytest.mark.parametrize("record", [None, "", "{}", '{"schema": 99}', "not JSON"])
def test_folder_without_a_record_of_ours_is_never_replaced(
    record: str | None, tmp_path: Path
) -> None:
    save_video(tmp_path / "clip", moving_picture(2), 8, Encoding("frames"), None)
    if record is not None:
        (tmp_path / "clip" / "fdream.json").write_text(record)
    with pytest.raises(OutputError, match="not empty"):
        save_video(tmp_path / "clip", moving_picture(1), 8, Encoding("frames"))


def test_ffmpeg_that_cannot_be_started_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match="could not be started"):
        save_video(tmp_path / "a.mp4", moving_picture(1), 8, Encoding("mp4"))
    assert contents(tmp_path) == {}


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        save_video(tmp_path / "file" / "out.mp4", moving_picture(), 8, Encoding("mp4"))
