"""``fdream show``: the record of any output, and an answer to any file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.metadata import dump_record
from fdream.data.writers import encode_image, encode_video, save_image, save_video

RECORD: dict[str, Any] = {
    "command": "t2v",
    "prompt": "a corgi surfing",
    "captions": {"appearance": "a corgi", "motion": "it surfs"},
    "seed": 7,
    "index": 2,
    "fps": 8.0,
    "stages": {
        "prior": {
            "name": "pocket",
            "distribution": "fdream",
            "version": "0.1.0",
            "bundle": "pocket",
            "sha256": "d7" * 32,
            "defaults": {"steps": 20, "guidance": 2.5},
        }
    },
    "options": {
        "prior": {"size": "32x16", "steps": 4},
        "generator": {"size": "32x16", "resize": "crop", "frames": 3},
    },
    "versions": {"fdream": "0.1.0", "torch": "2.13.0"},
    "device": "cpu",
    "device_name": "x86_64",
    "dtype": "float32",
    "threads": 2,
    "frames_sha256": "ab" * 32,
}
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 32, 3)).astype(np.uint8)


def write(name: str, record: dict[str, Any] | None = RECORD, kind: str | None = None) -> None:
    text = None if record is None else dump_record(record)
    save_video(Path(name), FRAMES, 8, Encoding(kind or name.rpartition(".")[2]), text)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_every_format_shows_its_record(fdream, in_tmp: Path, kind: str) -> None:
    write("out", kind=kind)
    ran = fdream("show", "out", "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told == {"path": "out", "record": {"schema": 1, **RECORD}, "reason": None}


def test_people_are_told_in_aligned_lines(fdream, in_tmp: Path) -> None:
    write("out.mp4")
    lines = fdream("show", "out.mp4").out.splitlines()
    assert lines[0] == "out.mp4"
    facts = {line[2:15].strip(): line[15:] for line in lines[1:]}
    assert facts["made by"] == "t2v: video of 3 frames, 32x16, 8.0 fps"
    assert facts["prompt"] == "a corgi surfing"
    assert facts["appearance"] == "a corgi"
    assert facts["motion"] == "it surfs"
    assert facts["seed"] == "7, sample 2"
    assert facts["prior"] == (
        "pocket (fdream 0.1.0), bundle pocket d7d7d7d7d7d7, steps 4, guidance 2.5, size 32x16"
    )
    assert facts["versions"] == "fdream 0.1.0, torch 2.13.0"
    assert facts["computed on"] == "cpu, x86_64, float32, 2 threads"
    assert facts["frames"] == f"sha256 {'ab' * 32}"


def test_each_image_of_a_stream_is_shown(fdream, in_tmp: Path) -> None:
    stream = b"".join(
        encode_image(FRAMES[n], Encoding("png"), dump_record({**RECORD, "index": n}))
        for n in range(3)
    )
    for args in ((), ("-",)):
        ran = fdream("show", "--json", *args, stdin=stream)
        told = [json.loads(line) for line in ran.out.splitlines()]
        assert [t["record"]["index"] for t in told] == [0, 1, 2]
        assert told[1]["path"] == "standard input, image 2"


def test_a_video_on_standard_input_is_shown(fdream, in_tmp: Path) -> None:
    data = encode_video(FRAMES, 8, Encoding("mp4"), dump_record(RECORD))
    assert json.loads(fdream("show", "--json", stdin=data).out)["record"]["seed"] == 7
    assert not list(Path().iterdir())


def test_one_that_has_none_hides_none_that_has_one(fdream, in_tmp: Path) -> None:
    write("a.gif")
    write("foreign.mp4", None)
    write("b.gif")
    ran = fdream("show", "a.gif", "foreign.mp4", "b.gif", "--json")
    assert ran.code == 1
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [t["record"] is not None for t in told] == [True, False, True]
    assert "no fdream record" in told[1]["reason"]
    assert ran.err.count("\n") == 1
    Path("text.mp4").write_text("just text")
    assert fdream("show", "a.gif", "foreign.mp4", "text.mp4", "b.gif").code == 4


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind != "frames"])
def test_a_file_cut_off_anywhere_is_answered(fdream, in_tmp: Path, kind: str) -> None:
    data = encode_video(FRAMES, 8, Encoding(kind), dump_record(RECORD))
    for part in range(1, 20):
        Path("cut").write_bytes(data[: len(data) * part // 20])
        ran = fdream("show", "cut", "--json")
        assert ran.code in (0, 1, 4), ran.err
        assert ran.out.count("\n") == 1
        assert (ran.code == 0) == (json.loads(ran.out)["record"] == {"schema": 1, **RECORD})
        assert ran.err.count("\n") == (ran.code != 0)


def test_terminal_as_input_is_a_usage_error(fdream, in_tmp: Path, monkeypatch) -> None:
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("fdream.cli.standard_input.sys", terminal)
    ran = fdream("show")
    assert ran.code == 2
    assert 'fdream t2i "a corgi surfing" | fdream show' in ran.err


ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b31m\n\r\t"

HOSTILE: dict[str, dict[str, Any]] = {
    "escapes everywhere": {
        "command": ESCAPE,
        "prompt": ESCAPE,
        "captions": {"appearance": ESCAPE, "motion": ESCAPE},
        "seed": ESCAPE,
        "stages": {ESCAPE: {"name": ESCAPE, "bundle": ESCAPE, "defaults": {ESCAPE: ESCAPE}}},
        "versions": {ESCAPE: ESCAPE},
        "device": ESCAPE,
        ESCAPE: ESCAPE,
    },
    "wrong kinds": dict.fromkeys([*RECORD, "encoding"], 5),
    "lists": {key: [1, [2], {"a": None}] for key in [*RECORD, "encoding"]},
    "nulls": dict.fromkeys([*RECORD, "encoding"]),
    "stages of wrong kinds": {"stages": {"prior": 3, "generator": [1]}, "options": {"prior": 4}},
    "huge text": {"prompt": "x" * 60_000},
    "many entries": {f"k{n}": n for n in range(3000)},
    "long numbers": {"seed": 10**4000, "fps": -1e300},
    "empty": {},
    "markup": {"prompt": "[red]x[/red] [link=file:///etc/passwd]y[/link]"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records_are_shown_without_harm(fdream, in_tmp: Path, name: str) -> None:
    record = {"schema": 1, **HOSTILE[name]}
    save_image(Path("x.png"), FRAMES[0], Encoding("png"), json.dumps(record))
    shown = fdream("show", "x.png")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert len(lines) < 60
    assert all(len(line) < 3000 for line in lines)
    for character in "\x1b\x07\x9b\u202e\r":
        assert character not in shown.out
    told = fdream("show", "x.png", "--json")
    assert told.out.isascii()
    assert told.out.count("\n") == 1
    assert json.loads(told.out)["record"] == record


def test_markup_is_text(fdream, in_tmp: Path) -> None:
    record = json.dumps({"schema": 1, "prompt": "[red]x[/red]"})
    save_image(Path("x.png"), FRAMES[0], Encoding("png"), record)
    assert "[red]x[/red]" in fdream("show", "x.png").out


def test_names_of_files_cannot_command_the_terminal(fdream, in_tmp: Path) -> None:
    Image.fromarray(FRAMES[0]).save("a\x1b[2Jb.png")
    ran = fdream("show", "a\x1b[2Jb.png")
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err


def test_a_half_that_is_the_prompt_itself_is_told_as_such() -> None:
    from fdream.cli.show import _facts

    captions = {"appearance": "a pig", "motion": "it spins"}
    facts = dict(_facts({"prompt": "a pig", "captions": captions}))
    assert facts["appearance"] == "the whole prompt"
    assert facts["motion"] == "it spins"
