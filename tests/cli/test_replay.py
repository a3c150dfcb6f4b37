"""``fdream replay``: the same frames again, or an honest answer why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fdream.core.errors import UsageError
from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.metadata import dump_record, read_record
from fdream.data.readers import read_output
from fdream.data.writers import save_image, save_video
from fdream.pipelines.provenance import frames_hash


@pytest.fixture
def here(tiny_bundle: Path, in_tmp: Path) -> Path:
    """A folder with the tiny bundle in it, which replays find there by its hash."""
    shutil.copytree(tiny_bundle, in_tmp / "tiny")
    return in_tmp


STAGES = {
    "t2i": ("--prior", "pocket:tiny"),
    "i2v": ("--generator", "dreamer:tiny"),
    "t2v": ("--prior", "pocket:tiny", "--generator", "dreamer:tiny"),
}


def make(fdream, command: str, *args: str, **kwargs: Any) -> None:
    ran = fdream(command, *args, *STAGES[command], "--seed", "3", **kwargs)
    assert ran.code == 0, ran.err


def record_of(name: str) -> dict[str, Any]:
    record = read_record(Path(name)).record
    assert record is not None
    return record


def rewrite(name: str, pixels: np.ndarray | None = None, **changes: Any) -> None:
    """Write an image again with another record, or other pixels, or both."""
    kept = read_output(Path(name)).frames[0] if pixels is None else pixels
    save_image(Path(name), kept, Encoding("png"), dump_record({**record_of(name), **changes}))


def answer(ran: Any) -> dict[str, Any]:
    assert ran.code in (0, 1), ran.err
    told: dict[str, Any] = json.loads(ran.out)
    assert (told["answer"] == "different") == (ran.code == 1)
    return told


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_every_format_of_a_video_replays(fdream, here: Path, kind: str) -> None:
    make(fdream, "t2v", "a corgi surfing", "-o", f"out.{kind}", "--format", kind)
    ran = fdream("replay", f"out.{kind}")
    assert (ran.code, ran.out) == (0, "bit-equal\n"), ran.err


@pytest.mark.parametrize("name", ["out.png", "out.webp"])
def test_stills_replay(fdream, here: Path, name: str) -> None:
    make(fdream, "t2i", "a corgi", "-o", name)
    told = answer(fdream("replay", name, "--json"))
    assert told["answer"] == "bit-equal"
    assert (told["path"], told["levels"], told["rms_of_encoding"]) == (name, 0, None)
    assert (told["differs"], told["output"]) == ([], None)


def test_every_option_of_a_sample_is_kept(fdream, here: Path) -> None:
    args = ("--num", "2", "--steps", "3", "--guidance", "1.5", "--negative", "the sea")
    video = ("--frames", "2", "--fps", "5", "--scheduler", "euler", "--motion", "zooming in")
    prior = ("--prior-steps", "2", "--prior-guidance", "3", "--prior-negative", "on")
    make(fdream, "t2v", "a corgi", *args, *video, *prior, "--size", "48x32", "-o", "x.apng")
    for name in ("x-000.apng", "x-001.apng"):
        assert answer(fdream("replay", name, "--json"))["answer"] == "bit-equal"
    make(fdream, "t2i", "a corgi", *args, "--scheduler", "ddim", "-o", "y.png")
    assert answer(fdream("replay", "y-001.png", "--json"))["answer"] == "bit-equal"


def test_a_video_of_an_image_replays_with_that_image(fdream, here: Path) -> None:
    make(fdream, "t2i", "a corgi", "-o", "a.png")
    make(fdream, "t2i", "the sea", "-o", "b.png")
    make(fdream, "i2v", "a.png", "--size", "48x32", "--resize", "pad", "-o", "x.gif")
    assert fdream("replay", "x.gif", "--image", "a.png").out == "bit-equal\n"
    for args, code, says in (
        ((), 2, "--image FILE"),
        (("--image", "b.png"), 4, "not the image that was animated"),
        (("--image", "nowhere.png"), 4, "cannot be read"),
        (("--image", "x.gif", "--force"), 4, "not the image"),
    ):
        ran = fdream("replay", "x.gif", *args)
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert says in ran.err
    refused = fdream("replay", "a.png", "--image", "a.png")
    assert refused.code == 2
    assert "leave it out" in refused.err


def test_standard_input_replays(fdream, here: Path) -> None:
    make(fdream, "t2i", "a corgi", "-o", "a.png")
    ran = fdream("replay", "-", "--json", stdin=Path("a.png").read_bytes())
    told = answer(ran)
    assert (told["answer"], told["path"]) == ("bit-equal", "standard input")
    broken = fdream("replay", "-", stdin=b"just text")
    assert broken.code == 4
    assert "standard input" in broken.err
    assert "/input" not in broken.err


@pytest.mark.parametrize("name", ["a.png", "b.mp4", "c.gif"])
def test_what_is_kept_is_the_very_file(fdream, here: Path, name: str) -> None:
    command = "t2i" if name == "a.png" else "t2v"
    quality = () if name == "a.png" else ("--quality", "40")
    make(fdream, command, "a corgi", *quality, "-o", name)
    ran = fdream("replay", name, "-o", f"again-{name}", "--json")
    assert answer(ran)["output"] == f"again-{name}"
    assert Path(f"again-{name}").read_bytes() == Path(name).read_bytes()


def test_what_is_kept_may_have_another_format_or_place(fdream, here: Path) -> None:
    make(fdream, "t2v", "a corgi", "-o", "a.mp4")
    assert fdream("replay", "a.mp4", "-o", "a.webm").code == 0
    assert record_of("a.webm")["frames_sha256"] == record_of("a.mp4")["frames_sha256"]
    assert fdream("replay", "a.mp4", "-o", "new/").code == 0
    assert [path.name for path in Path("new").iterdir()] == ["a-corgi-3.mp4"]


def test_pixels_one_level_off_are_within_and_more_are_different(fdream, here: Path) -> None:
    """As another processor would have computed them: the file holds what its record says."""
    make(fdream, "t2i", "a corgi", "-o", "x.png")
    pixels = read_output(Path("x.png")).frames[0]
    near = np.where(pixels > 0, pixels - 1, 1).astype(np.uint8)
    rewrite("x.png", near, frames_sha256=frames_hash(near))
    ran = fdream("replay", "x.png")
    assert (ran.code, ran.out.split(":")[0]) == (0, "within 1 level")
    assert "Nothing that is recorded differs here" in ran.err
    far = near.copy()
    far[:4] = 255 - far[:4]
    rewrite("x.png", far, frames_sha256=frames_hash(far))
    told = answer(fdream("replay", "x.png", "--json"))
    assert told["answer"] == "different"
    assert told["share_within_one"] < 0.9


def test_another_instruction_set_is_within(fdream, here: Path) -> None:
    """The promise across machines, as far as one machine can try it."""
    import torch

    names = ("x.apng", "x.mp4")
    for name in names:
        make(fdream, "t2v", "a corgi surfing", "-o", name)
    code = "from fdream.cli.app import run\n" + "".join(
        f"assert run(['replay', {name!r}, '--json']) == 0\n" for name in names
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    native = torch.backends.cpu.get_cpu_capability()
    for told in map(json.loads, ran.stdout.splitlines()):
        assert told["answer"] in ("bit-equal", "within")
        named = any(line.endswith("DEFAULT here") for line in told["differs"])
        assert named == (native != "DEFAULT")
    assert ran.stdout.count(b"\n") == len(names)


def test_a_file_that_was_changed_is_found_out(fdream, here: Path) -> None:
    make(fdream, "t2i", "a corgi", "-o", "x.png")
    rewrite("x.png", np.zeros((32, 32, 3), np.uint8))
    ran = fdream("replay", "x.png")
    assert ran.code == 1
    assert ran.out.startswith("different: ")
    assert "it was changed" in ran.err


def test_what_differs_here_is_told(fdream, here: Path) -> None:
    import torch

    make(fdream, "t2i", "a corgi", "-o", "x.png", "--threads", "1")
    record = record_of("x.png")
    stages = json.loads(json.dumps(record["stages"]))
    stages["prior"]["version"] = "0.0.1"
    versions = {**record["versions"], "torch": "1.0.0", "gone": "3"}
    rewrite("x.png", versions=versions, stages=stages, device_name="pdp11", device="cuda")
    before = torch.get_num_threads()
    try:
        told = answer(fdream("replay", "x.png", "--threads", "2", "--json"))
    finally:
        torch.set_num_threads(before)
    assert told["answer"] in ("bit-equal", "within")
    differs = {line.split(" there")[0]: line for line in told["differs"]}
    here_torch = record["versions"]["torch"]
    assert differs["torch 1.0.0"] == f"torch 1.0.0 there, {here_torch} here"
    assert differs["gone 3"] == "gone 3 there, none here"
    assert differs["threads 1"] == "threads 1 there, 2 here"
    assert {"device cuda", "device_name pdp11", "prior version 0.0.1"} <= set(differs)


def test_threads_are_the_recorded_ones_unless_told_otherwise(fdream, here: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        make(fdream, "t2i", "a corgi", "-o", "x.png", "--threads", "1")
        torch.set_num_threads(2)
        told = answer(fdream("replay", "x.png", "-o", "again.png", "--json"))
    finally:
        torch.set_num_threads(before)
    assert told["differs"] == []
    assert record_of("again.png")["threads"] == 1


def test_defaults_that_changed_since_are_asked_for(fdream, here: Path) -> None:
    """The index of a bundle is no part of its hash, and states what is done unasked."""
    make(fdream, "t2v", "a corgi", "-o", "x.apng")
    index = Path("tiny/model_index.json")
    facts = json.loads(index.read_text())
    facts["fdream"]["defaults"]["prior"] |= {"steps": 1, "guidance": 1.0}
    facts["fdream"]["defaults"]["generator"] |= {"steps": 4, "frames": 9, "fps": 30, "size": 64}
    index.write_text(json.dumps(facts))
    assert answer(fdream("replay", "x.apng", "--json"))["answer"] == "bit-equal"


def spoil(folder: str) -> None:
    """Change one weight."""
    weights = next(Path(folder, "unet").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-2] ^= 0x40
    weights.write_bytes(data)


def test_weights_are_found_by_their_hash_wherever_they_lie(
    fdream, here: Path, own_home: Path
) -> None:
    make(fdream, "t2i", "a corgi", "-o", "x.png")
    shutil.copytree("tiny", own_home / "cache" / "models" / "other-name")
    spoil("tiny")
    ran = fdream("replay", "x.png")
    assert (ran.code, ran.out) == (0, "bit-equal\n")
    assert "other-name" in ran.err


def test_other_weights_are_refused_unless_forced(fdream, here: Path) -> None:
    make(fdream, "t2i", "a corgi", "-o", "x.png")
    spoil("tiny")
    lost = fdream("replay", "x.png")
    assert (lost.code, lost.out) == (3, "")
    assert "--prior pocket:FOLDER" in lost.err
    other = fdream("replay", "x.png", "--prior", "pocket:tiny")
    assert (other.code, other.out) == (3, "")
    assert "--force" in other.err
    forced = fdream("replay", "x.png", "--prior", "pocket:tiny", "--force", "--json")
    assert answer(forced)["answer"] in ("within", "different")


def test_pockets_own_weights_of_another_release_are_refused(fdream, in_tmp: Path) -> None:
    record = {
        "command": "t2i",
        "captions": {"appearance": "a corgi", "motion": ""},
        "seed": 1,
        "stages": {"prior": {"name": "pocket", "bundle": "pocket", "sha256": "ab" * 32}},
        "options": {"prior": {"size": "32x32", "steps": 1}},
        "frames_sha256": "cd" * 32,
    }
    save_image(Path("x.png"), np.zeros((32, 32, 3), np.uint8), Encoding("png"), dump_record(record))
    ran = fdream("replay", "x.png")
    assert (ran.code, ran.out) == (3, "")
    assert "abababababab made it" in ran.err
    assert "--force" in ran.err


def test_a_file_that_lost_frames_is_refused(fdream, here: Path) -> None:
    make(fdream, "t2v", "a corgi", "-o", "x.apng")
    output = read_output(Path("x.apng"))
    text = dump_record(record_of("x.apng"))
    save_video(Path("x.apng"), output.frames[:2], 8, Encoding("apng"), text)
    ran = fdream("replay", "x.apng")
    assert ran.code == 4
    assert "3 x 32x32, and it holds 2 x 32x32" in ran.err


def terminal(monkeypatch: pytest.MonkeyPatch, says: bool) -> list[str]:
    """Sit at a terminal and answer the question; return what was asked."""
    asked: list[str] = []

    def confirm(text: str, err: bool) -> bool:
        assert err
        asked.append(text)
        return says

    tty = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("fdream.cli.replay.sys", SimpleNamespace(stdin=tty, stderr=tty))
    monkeypatch.setattr("fdream.cli.replay.typer.confirm", confirm)
    return asked


def test_somebody_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdream.cli.replay import _agree

    asked = terminal(monkeypatch, says=True)
    _agree([], agreed=False)
    assert asked == []
    _agree(["the prior 'x\x1b[2J' is code of x 1.0"], agreed=True)
    assert asked == []
    _agree(["the prior 'x\x1b[2J' is code of x 1.0"], agreed=False)
    assert asked == ["the prior 'x\\x1b[2J' is code of x 1.0. Use it?"]
    terminal(monkeypatch, says=False)
    with pytest.raises(UsageError, match="nothing was made"):
        _agree(["code of x"], agreed=False)
