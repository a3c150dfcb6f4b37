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
    ReadBack,
    dump_record,
    hints,
    image_record,
    parse_record,
    read_record,
)
from fdream.data.writers import encode_image, encode_video, save_video

RECORD = {
    "prompt": "a \"corgi\" = surf;ing # \\ 'x' \u00e9 \u4e2d \U0001f600 <b>&amp; ]]> --",
    "captions": {"appearance": "a corgi", "motion": "it surfs"},
    "seed": 2**63 - 1,
    "index": 3,
}
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


TRICKY = {
    "quotes": "\"'`\"\"''",
    "ffmetadata": "a=b;c#d\\=\\;\\#\\\\ [chapter]\n;comment\n#x\n\\",
    "lines": "one\ntwo\r\nthree\ttab\u2028end\x00nul\x1b[2J",
    "xml": "</fdream:record><!-- &amp;lt; ]]> <?xml?> &#0;",
    "shell": "$(rm -rf ~) %d %s * ~ ! -o -metadata",
    "scripts": "\u05e2\u05d1 \u0627\u0644 \u4e2d e\u0301 \u200d\U0001f469\u200d\U0001f680 \uffff",
    "spaces": "  around  ",
}
RECORDS = {
    "tricky": TRICKY,
    "60 KB": {"prompt": '\u4e2d<&"\\=;#\n' * 4400},
    "60 KB of XML": {"prompt": "&" * 60_000},
}


@pytest.mark.parametrize("kind", [*VIDEO_FORMATS, "piped mp4", "piped webm"])
@pytest.mark.parametrize("name", RECORDS)
def test_any_text_comes_back_byte_for_byte(kind: str, name: str, tmp_path: Path) -> None:
    text = dump_record(RECORDS[name])
    assert ("60 KB" in name) == (len(text.encode()) > 60_000)
    path = tmp_path / "out"
    if kind.startswith("piped"):
        path.write_bytes(encode_video(FRAMES, 8, Encoding(kind.split()[1]), text))
    else:
        save_video(path, FRAMES, 8, Encoding(kind), text)
    found = read_record(path).record
    assert found == {"schema": 1, **RECORDS[name]}
    assert dump_record(found) == text  # the order of its keys, too


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
@pytest.mark.parametrize("name", RECORDS)
def test_any_text_comes_back_from_a_picture(kind: str, name: str) -> None:
    text = dump_record(RECORDS[name])
    found = image_record(encode_image(FRAMES[0], Encoding(kind), text)).record
    assert found == {"schema": 1, **RECORDS[name]}


def test_other_programs_find_the_record_where_it_should_be(tmp_path: Path) -> None:
    """Read without our reader: a place that only we know is none."""
    import av

    text = dump_record(RECORD)
    for kind in ("mp4", "webm", "gif", "webp", "apng", "png", "frames"):
        save_video(tmp_path / kind, FRAMES, 8, Encoding(kind), text)
    for kind, key in (("mp4", "fdream"), ("webm", "FDREAM")):
        with av.open(str(tmp_path / kind)) as container:
            assert container.metadata[key] == text
    with Image.open(tmp_path / "gif") as image:
        assert image.info["comment"] == text.encode()
    with Image.open(tmp_path / "webp") as image:
        assert image.info["xmp"].startswith(b"<?xpacket") or b"x:xmpmeta" in image.info["xmp"]
        assert b"<fdream:record>" in image.info["xmp"]
    for kind in ("apng", "png"):
        data = (tmp_path / kind).read_bytes()
        assert data.count(b"iTXt") == 1  # it is not compressed, and holds no such word itself
        with Image.open(io.BytesIO(data)) as image:
            assert image.text == {"fdream": text}
    assert (tmp_path / "frames" / "fdream.json").read_text("utf-8") == text + "\n"


def test_the_largest_record_fits_into_every_format(tmp_path: Path) -> None:
    room = MAX_RECORD_BYTES - len(dump_record({"prompt": ""}).encode())
    for kind in VIDEO_FORMATS:
        save_video(tmp_path / kind, FRAMES, 8, Encoding(kind), dump_record({"prompt": "x" * room}))
        found = read_record(tmp_path / kind).record
        assert found is not None
        assert len(found["prompt"]) == room


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_output_without_metadata_holds_nothing_of_ours(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    save_video(path, FRAMES, 8, Encoding(kind), None)
    assert read_record(path) == ReadBack()
    files = list(path.iterdir()) if path.is_dir() else [path]
    assert files
    assert not any(b"fdream" in file.read_bytes().lower() for file in files)
    assert not any("fdream" in file.name for file in files)


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
        '{"schema": ' + "9" * 4000 + "}",
        '{"schema": 1, "seed": NaN}',
        '{"schema": 1, "seed": 1e999}',
        '{"schema": 1, "seed": ' + "[" * 20 + "]" * 20 + "}",
        '{"schema": 1, "seed": ' + '{"a":' * 200 + "1" + "}" * 201,
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
    assert 0 < len(found.reason) < 200


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


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"\0" * 4096, b"RIFF\x00\x00\x00\x00AVI LIST", b"II*\x00" + bytes(64)],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_output_has_no_record_and_a_reason(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(data)
    found = read_record(path)
    assert found.record is None
    assert found.reason.startswith("it cannot be read as a video (")
    assert str(path) not in found.reason


def test_an_empty_folder_and_a_photo_have_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path) == ReadBack()
    Image.fromarray(FRAMES[0]).save(tmp_path / "photo.jpg")
    assert read_record(tmp_path / "photo.jpg") == ReadBack()


def test_reading_a_record_reads_no_picture(tmp_path: Path) -> None:
    data = encode_image(FRAMES[0], Encoding("png"))
    huge = tmp_path / "huge.png"
    with huge.open("wb") as stream:
        stream.write(data[:33] + struct.pack(">I4s", 2**31, b"IDAT"))
        stream.seek(2**31 + 4, 1)  # a hole: no disk, and no memory if it is skipped
        stream.write(chunk(b"iTXt", b"fdream\0\0\0\0\0" + dump_record(RECORD).encode()))
    assert read_record(huge).record == {"schema": 1, **RECORD}


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_record(tmp_path / "nowhere.mp4")


def test_record_is_json_on_one_line() -> None:
    text = dump_record({"prompt": "two\nlines"})
    assert "\n" not in text
    assert json.loads(text) == {"schema": 1, "prompt": "two\nlines"}
