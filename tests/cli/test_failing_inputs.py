"""A disk that fails, and files that were cut off or made elsewhere, are faults of the input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.images import split_images
from fdream.data.metadata import dump_record, image_record, read_record
from fdream.data.readers import read_output
from fdream.data.writers import encode_video, save_video
from tests.cli.bad_input.faults import FailingDisk
from tests.cli.bad_input.files import picture
from tests.cli.conftest import Fdream


def failing(held: bytes) -> io.BufferedReader:
    return io.BufferedReader(FailingDisk(held), buffer_size=16)


@pytest.mark.parametrize("command", ["t2i -o x.png", "t2v -o x.mp4", "i2v -o x.mp4"])
@pytest.mark.parametrize("held", [b"", b"a corgi", b"\x89PNG\r\n\x1a\n\0\0"], ids=repr)
def test_a_disk_that_fails_is_a_fault_of_the_input(
    tiny_fdream: Fdream, command: str, held: bytes
) -> None:
    result = tiny_fdream(*command.split(), stdin=failing(held))
    assert (result.code, result.out) == (4, b"")
    assert result.err.count("\n") == 1
    assert "standard input" in result.err
    assert "bug" not in result.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("command", ["show", "replay -"])
def test_what_looks_into_files_says_so_too(tiny_fdream: Fdream, command: str) -> None:
    result = tiny_fdream(*command.split(), stdin=failing(picture()[:50]))
    assert (result.code, result.out) == (4, b"")
    assert "standard input: cannot be read (Input/output error)" in result.err


def test_what_came_before_the_fault_is_kept(tiny_fdream: Fdream) -> None:
    drawn = tiny_fdream("t2i", "--seed", "1", stdin=failing(b"a corgi\nthe sea\n"))
    assert drawn.code == 4
    assert "standard input: cannot be read (Input/output error)" in drawn.err
    told = [image_record(data).record for data in split_images(io.BytesIO(drawn.out), "x")]
    assert [record["prompt"] for record in told if record] == ["a corgi", "the sea"]
    moved = tiny_fdream("i2v", "-o", "made/", stdin=failing(drawn.out))
    assert moved.code == 4
    assert moved.lines == ["made/a-corgi-1-000.mp4", "made/the-sea-1-001.mp4"]
    assert "1 of 3 left out: image 3" in moved.err


# --- replay of what cannot be whole, or is not ours

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def record(tiny_fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The record of a video, which is made again without any work."""
    from fdream.pipelines import generation, replay

    assert tiny_fdream("t2v", "a corgi", "--seed", "3", "-o", "whole.apng").code == 0
    told = read_record(Path("whole.apng")).record
    assert told is not None
    frames = read_output(Path("whole.apng")).frames

    def remade(recorded: Any, *_: Any) -> generation.Clip:
        return generation.Clip(frames, 8, recorded.captions, recorded.sample, told)

    monkeypatch.setattr(replay, "remake", remade)
    monkeypatch.setattr(replay, "other_weights", lambda *_: [])
    return told


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind != "frames"])
def test_a_file_cut_off_anywhere_is_answered(
    tiny_fdream: Fdream, record: dict[str, Any], tiny_bundle: Path, kind: str
) -> None:
    whole = read_output(Path("whole.apng")).frames
    data = encode_video(whole, 8, Encoding(kind), dump_record(record))
    stages = ("--prior", f"pocket:{tiny_bundle}", "--generator", f"dreamer:{tiny_bundle}")
    codes = set()
    for part in range(1, 21):
        Path("cut").write_bytes(data[: len(data) * part // 20])
        result = tiny_fdream("-q", "replay", "cut", *stages)
        codes.add(result.code)
        assert result.code in (0, 1, 4), result.err
        assert "Traceback" not in result.err
        assert len(result.err.splitlines()) <= 1
        if result.code == 0:  # only of all its frames can it be said that they are the same
            assert len(read_output(Path("cut")).frames) == len(whole)
            assert result.out == b"bit-equal\n"
    assert {0, 4} <= codes  # the whole file, and its first bytes alone


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "a.apng", "a.jpg", "a.avi"])
def test_a_file_of_another_program_has_nothing_to_replay(tiny_fdream: Fdream, name: str) -> None:
    from PIL import Image

    if name == "a.jpg":
        Image.fromarray(FRAMES[0]).save(name)
    elif name == "a.avi":
        import av

        with av.open(name, "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
            container.mux(stream.encode(None))
    else:
        save_video(Path(name), FRAMES, 8, Encoding(name.rpartition(".")[2]))
    for command, code in (("show", 1), ("replay", 4)):
        result = tiny_fdream(command, name)
        assert (result.code, result.out) == (code, b"")
        assert f"{name}: no fdream record" in result.err
        assert result.err.count("\n") == 1
