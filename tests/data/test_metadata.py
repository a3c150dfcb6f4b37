"""The record survives every format, and no file can do harm through it."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdream.core.errors import DataError
from fdream.data.encoding import IMAGE_FORMATS, VIDEO_FORMATS, Encoding
from fdream.data.metadata import (
    MAX_RECORD_BYTES,
    Hints,
    dump_record,
    hints,
    image_record,
    parse_record,
    read_record,
)
from fdream.data.writers import encode_image, save_image, save_video

RECORD = {
    "prompt": "a \"corgi\" = surf;ing # \\ 'x' \u00e9 \u4e2d \U0001f600 <b>&amp; ]]> --",
    "captions": {"appearance": "a corgi", "motion": "it surfs"},
    "seed": 2**63 - 1,
    "index": 3,
}
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_video_record_comes_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    save_video(path, FRAMES, 8, Encoding(kind), dump_record(RECORD))
    assert read_record(path).record == {"schema": 1, **RECORD}


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_image_record_comes_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    save_image(path, FRAMES[0], Encoding(kind), dump_record(RECORD))
    assert read_record(path).record == {"schema": 1, **RECORD}
    assert image_record(path.read_bytes()).record == {"schema": 1, **RECORD}


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_output_without_metadata_has_none_and_gives_no_reason(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    save_video(path, FRAMES, 8, Encoding(kind), None)
    assert read_record(path).record is None
    assert read_record(path).reason == ""


def test_record_above_64_kb_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="--no-metadata"):
        dump_record({"prompt": "x" * MAX_RECORD_BYTES})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '"text"',
        '{"schema": true}',
        '{"schema": "1"}',
        '{"schema": 0}',
        '{"schema": 2}',
        '{"schema": 1, "seed": NaN}',
        '{"schema": 1, "prompt": "\\ud800"}',
        '{"seed": 1}',
        "[" * 60_000,
        '{"a":' * 10_000,
        "1" * 60_000,
        '{"schema": 1, "prompt": "' + "x" * MAX_RECORD_BYTES + '"}',
        b"\xff\xfe{}",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_hostile_json_is_no_record_and_has_a_reason(text: str | bytes) -> None:
    found = parse_record(text)
    assert found.record is None
    assert found.reason


def test_only_captions_seed_index_and_fps_are_believed() -> None:
    believed = hints({**RECORD, "fps": 12, "stages": {"generator": "evil"}, "output": "/etc/x"})
    assert believed == Hints("a corgi", "it surfs", 2**63 - 1, 3, 12.0)


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"captions": "text"},
        {"captions": {"motion": 7, "appearance": ["x"]}},
        {"captions": {"motion": "\x1b]0;owned\x07", "appearance": "a\x00b"}},
        {"captions": {"motion": "  ", "appearance": "x" * 5000}},
        {"seed": -1, "index": 1.5, "fps": "8"},
        {"seed": 2**63, "index": True, "fps": 0},
        {"fps": 10**9},
    ],
)
def test_a_hint_of_the_wrong_kind_is_not_believed(record: dict[str, object] | None) -> None:
    assert hints(record) == Hints()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(body: bytes) -> bytes:
    data = encode_image(FRAMES[0], Encoding("png"))
    return data[:33] + chunk(b"iTXt", body) + data[33:]


def test_compressed_chunk_is_read() -> None:
    text = zlib.compress(dump_record(RECORD).encode())
    assert image_record(png_with(b"fdream\0\1\0\0\0" + text)).record == {"schema": 1, **RECORD}


@pytest.mark.parametrize(
    "body",
    [
        b"fdream\0",
        b"fdream\0\0\0",
        b"fdream\0\0\0en\0",
        b"fdream\0\1\0\0\0not deflated",
        b"fdream\0\1\0\0\0" + zlib.compress(bytes(50_000_000)),
        b"fdream\0\0\0\0\0" + b"x" * 200_000,
    ],
    ids=["empty", "no-text", "half", "damaged", "bomb", "huge"],
)
def test_hostile_chunk_gives_a_reason(body: bytes) -> None:
    found = image_record(png_with(body))
    assert found.record is None
    assert found.reason


def test_files_of_other_programs_have_no_record(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(FRAMES[0]).save(buffer, "GIF", comment=b"Created with GIMP")
    for name, data in {
        "other.gif": buffer.getvalue(),
        "other.png": encode_image(FRAMES[0], Encoding("png")),
        "other.webp": encode_image(FRAMES[0], Encoding("webp")),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert read_record(tmp_path / name).record is None
        assert read_record(tmp_path / name).reason == ""


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_FORMATS if kind != "frames"])
def test_no_damage_makes_reading_raise(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    save_video(path, FRAMES, 8, Encoding(kind), dump_record(RECORD))
    whole = path.read_bytes()
    chance = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole)
        for place in chance.integers(0, len(data), 6):
            data[place] = chance.integers(256)
        path.write_bytes(bytes(data[: chance.integers(1, len(data) + 1)]))
        found = read_record(path)
        assert found.record is None or found.record["schema"] == 1


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_record(tmp_path / "nowhere.mp4")


def test_record_is_json_on_one_line() -> None:
    text = dump_record({"prompt": "two\nlines"})
    assert "\n" not in text
    assert json.loads(text) == {"schema": 1, "prompt": "two\nlines"}
