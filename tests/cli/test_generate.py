"""The generation commands are filters: bytes, files, names and exit codes as a shell expects."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from fdream.data.images import decode_image, split_images
from fdream.data.media import read_video
from fdream.data.metadata import image_record, read_record
from fdream.data.readers import read_output
from tests.cli.conftest import Fdream


@pytest.fixture
def fdream(tiny_fdream: Fdream) -> Fdream:
    return tiny_fdream


def test_the_pipe_gives_the_frames_of_t2v(fdream: Fdream) -> None:
    image = fdream("t2i", "a corgi surfing", "--seed", "1")
    assert image.code == 0
    assert fdream("i2v", "-o", "piped.mp4", stdin=image.out).code == 0
    assert fdream("t2v", "a corgi surfing", "--seed", "1", "-o", "whole.mp4").code == 0
    piped, whole = (read_record(Path(n)).record for n in ("piped.mp4", "whole.mp4"))
    assert piped is not None
    assert whole is not None
    assert piped["frames_sha256"] == whole["frames_sha256"]
    assert piped["seed"] == whole["seed"] == 1
    assert np.array_equal(
        read_video(Path("piped.mp4")).frames, read_video(Path("whole.mp4")).frames
    )


def test_a_caption_without_motion_is_told(fdream: Fdream) -> None:
    still = fdream("t2v", "a corgi", "--seed", "1", "-o", "still.mp4")
    assert still.code == 0
    assert still.err.count("names no motion") == 1
    told = fdream("t2v", "a corgi", "--motion", "surfing", "--seed", "1", "-o", "moving.mp4")
    asked = fdream("t2v", "a corgi surfing", "--seed", "1", "-o", "asked.mp4")
    assert "names no motion" not in told.err + asked.err


def test_the_pipe_holds_for_every_sample(fdream: Fdream) -> None:
    images = fdream("t2i", "a corgi", "--seed", "9", "--num", "2")
    assert len(list(split_images(io.BytesIO(images.out), "x"))) == 2
    piped = fdream("i2v", "-o", "p.gif", "--json", stdin=images.out)
    whole = fdream("t2v", "a corgi", "--seed", "9", "--num", "2", "-o", "w.gif", "--json")
    hashes = [
        [json.loads(line)["frames_sha256"] for line in result.lines] for result in (piped, whole)
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 2
    assert sorted(p.name for p in Path().glob("p*")) == ["p-000.gif", "p-001.gif"]


def test_file_is_overwritten_and_its_path_printed(fdream: Fdream) -> None:
    Path("out.png").write_bytes(b"old")
    result = fdream("t2i", "a corgi", "-o", "out.png")
    assert (result.code, result.lines) == (0, ["out.png"])
    assert decode_image(Path("out.png").read_bytes(), "x").shape == (32, 32, 3)


def test_terminal_gets_a_name_that_overwrites_nothing(fdream: Fdream) -> None:
    for name in ("a-corgi-surfing-3.png", "a-corgi-surfing-3-2.png"):
        result = fdream("t2i", "A Corgi, surfing!", "--seed", "3", terminal=True)
        assert (result.code, result.lines) == (0, [name])
        assert Path(name).is_file()


def test_json_without_a_name_makes_one(fdream: Fdream) -> None:
    result = fdream("t2i", "a corgi", "--seed", "3", "--json")
    (line,) = result.lines
    told = json.loads(line)
    assert told["path"] == "a-corgi-3.png"
    assert told["seed"] == 3
    assert Path(told["path"]).is_file()


def test_folder_collects_results(fdream: Fdream) -> None:
    result = fdream("t2i", "a corgi", "--seed", "3", "--num", "2", "-o", "made/")
    assert result.lines == ["made/a-corgi-3-000.png", "made/a-corgi-3-001.png"]
    assert all(Path(line).is_file() for line in result.lines)


def test_video_bytes_are_a_fragmented_mp4(fdream: Fdream) -> None:
    result = fdream("t2v", "a corgi", "--seed", "3")
    assert result.out[4:8] == b"ftyp"
    assert b"moof" in result.out
    Path("out.mp4").write_bytes(result.out)
    assert read_video(Path("out.mp4")).frames.shape == (3, 32, 32, 3)


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif", "webp", "apng", "png"])
def test_every_format_carries_the_record(fdream: Fdream, kind: str) -> None:
    assert fdream("t2v", "a corgi", "--seed", "3", "-o", f"out.{kind}").code == 0
    record = read_record(Path(f"out.{kind}")).record
    assert record is not None
    assert record["prompt"] == "a corgi"


STARTS = {
    "mp4": (4, b"ftyp"),
    "webm": (0, b"\x1aE\xdf\xa3"),
    "gif": (0, b"GIF89a"),
    "webp": (8, b"WEBPVP8X"),
    "apng": (0, b"\x89PNG"),
    "png": (0, b"\x89PNG"),
}


@pytest.mark.parametrize("kind", STARTS)
def test_the_format_chooses_what_is_streamed(fdream: Fdream, kind: str) -> None:
    result = fdream("t2v", "a corgi", "--seed", "3", "-f", kind, "-o", "-")
    place, start = STARTS[kind]
    assert result.out[place : place + len(start)] == start
    assert (b"acTL" in result.out) == (kind == "apng")
    told = json.loads(fdream("show", "--json", stdin=result.out).lines[0])
    assert told["record"]["encoding"]["format"] == kind


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif", "webp", "apng", "png", "frames"])
def test_every_output_tells_how_it_was_made(fdream: Fdream, kind: str) -> None:
    options = ("--seed", "3", "--threads", "1", "--motion", "zooming in", "-f", kind)
    assert fdream("t2v", "a corgi", *options, "-o", "out").code == 0
    record = read_record(Path("out")).record
    assert record is not None
    assert (record["prompt"], record["seed"], record["index"]) == ("a corgi", 3, 0)
    assert record["captions"] == {"appearance": "a corgi", "motion": "zooming in"}
    assert record["threads"] == 1
    assert {"fdream", "torch", "diffusers", "transformers", "numpy"} <= set(record["versions"])
    for stage in ("prior", "generator"):
        assert len(record["stages"][stage]["sha256"]) == 64
    if kind in ("apng", "png", "frames"):  # the others lose something
        frames = read_output(Path("out")).frames
        assert hashlib.sha256(frames.tobytes()).hexdigest() == record["frames_sha256"]


def test_no_path_and_no_host_is_recorded(
    fdream: Fdream, tiny_bundle: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the command names its files: by whole paths, by ``~``, or through an address."""
    here = Path.cwd()
    monkeypatch.setenv("FDREAM_ENDPOINT", "https://secret-host.example/v1")
    (own_home / "bundles").mkdir()
    shutil.copytree(tiny_bundle, own_home / "bundles" / "tiny")
    prior, generator = f"pocket:{own_home}/bundles/tiny", "dreamer:~/bundles/tiny"
    image = str(here / "first.png")
    made = [
        fdream("t2i", "a corgi", "--prior", prior, "-o", image, "--json"),
        fdream("i2v", image, "--generator", generator, "-o", str(here / "x.mp4"), "--json"),
        fdream("t2v", "a corgi", "--prior", prior, "--generator", generator, "-o", "made/"),
    ]
    assert [result.code for result in made] == [0, 0, 0], made[2].err
    for path in (Path(image), Path("x.mp4"), next(Path("made").iterdir())):
        text = json.dumps(read_record(path).record)
        for private in (str(here), str(own_home), "bundles", "secret-host", socket.gethostname()):
            assert private not in text


def test_bars_go_to_a_terminal_and_results_do_not(
    fdream: Fdream, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = fdream("t2i", "a corgi", "--seed", "1")
    assert silent.err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    told = fdream("t2i", "a corgi", "--seed", "1")
    assert told.out == silent.out
    assert "image" in told.err


def test_metadata_can_be_left_out(fdream: Fdream) -> None:
    for command, name in (("t2i", "out.png"), ("t2v", "out.mp4")):
        assert fdream(command, "a corgi", "-o", name, "--no-metadata").code == 0
        assert read_record(Path(name)).record is None


def test_drawn_seed_is_recorded_and_repeats_the_result(fdream: Fdream) -> None:
    first = fdream("t2i", "a corgi")
    record = image_record(first.out).record
    assert record is not None
    again = fdream("t2i", "a corgi", "--seed", str(record["seed"]))
    assert again.out == first.out
    assert fdream("t2i", "a corgi").out != first.out


def test_options_stand_above_what_the_image_says(fdream: Fdream) -> None:
    image = fdream("t2i", "a corgi", "--seed", "1").out
    args = ("--seed", "5", "--motion", "zooming in", "--fps", "4", "--json", "-o", "x.mp4")
    told = json.loads(fdream("i2v", *args, stdin=image).lines[0])
    assert told["seed"] == 5
    assert told["fps"] == 4
    assert told["captions"] == {"appearance": "a corgi", "motion": "zooming in"}


def test_a_photo_is_animated_with_a_warning_or_a_motion(fdream: Fdream) -> None:
    from PIL import Image

    Image.new("RGB", (50, 20), "red").save("photo.jpg")
    silent = fdream("i2v", "photo.jpg", "-o", "a.gif")
    assert silent.code == 0
    assert "--motion" in silent.err
    assert silent.err.count("is a small model, and knows pictures like its own alone") == 1
    told = fdream("i2v", "photo.jpg", "--motion", "zooming in", "-o", "b.gif", "--json")
    assert "--motion" not in told.err
    line = json.loads(told.lines[0])
    assert line["captions"] == {"appearance": "zooming in", "motion": "zooming in"}
    assert line["options"]["generator"]["guidance"] == 1
    asked = fdream("i2v", "photo.jpg", "--motion", "zooming in", "--guidance", "3", "--json")
    assert json.loads(asked.lines[0])["options"]["generator"]["guidance"] == 3


def test_unknown_words_are_warned_of_and_drawn_anyway(fdream: Fdream) -> None:
    result = fdream("t2v", "a zorblax", "--motion", "surfing", "-o", "x.gif")
    assert result.code == 0
    assert result.err.count("zorblax") == 1
    assert "--prior" in result.err


def test_gif_says_that_it_rounds_its_timing(fdream: Fdream) -> None:
    assert "10 ms" in fdream("t2v", "a corgi", "-o", "x.gif").err
    assert "10 ms" not in fdream("t2v", "a corgi", "-o", "x.gif", "--fps", "10").err


def test_explain_says_what_would_be_done_and_makes_nothing(fdream: Fdream) -> None:
    result = fdream("t2v", "a corgi", "-o", "x.mp4", "--steps", "4", "--explain")
    assert result.code == 0
    assert not Path("x.mp4").exists()
    rows = dict(line.split("\t") for line in result.lines)
    assert rows["output.to"] == "x.mp4"
    assert rows["device.device"] == "cpu"
    # The numbers of the bundle, not a word for them.
    assert rows["prior.steps"] == "3 (default)"
    assert rows["generator.steps"] == "4"
    assert rows["generator.frames"] == "3 (default)"
    assert rows["generator.size"] == "32x32 (default)"


def test_explain_answers_in_json_too(fdream: Fdream) -> None:
    told = json.loads(fdream("t2v", "a corgi", "a cat", "--explain", "--json").out)
    assert told["prompt"] == ["a corgi", "a cat"]
    assert told["prior"]["guidance"] == 2.0
    assert told["generator"]["fps"] == 8
    assert len(told["generator"]["sha256"]) == 64
    assert told["output"]["format"] == "mp4"


def test_explain_loads_no_network(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    from fdream.models.bundle import Bundle

    monkeypatch.setattr(Bundle, "load", lambda self, name: pytest.fail(f"loads {name}"))
    assert fdream("t2v", "a corgi", "--explain").code == 0
    assert fdream("i2v", "photo.jpg", "--explain").code == 0


def test_broken_second_image_keeps_the_first_video(fdream: Fdream) -> None:
    image = fdream("t2i", "a corgi", "--seed", "1").out
    result = fdream("i2v", "-o", "x.mp4", stdin=image + image[:100])
    assert result.code == 4
    assert "image 2" in result.err


def test_terminal_is_never_sent_bytes(fdream: Fdream) -> None:
    result = fdream("t2i", "a corgi", "-o", "-", terminal=True)
    assert result.code == 2
    assert result.out == b""
