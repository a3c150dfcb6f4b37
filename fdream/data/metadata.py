"""The ``fdream`` record: how an output was made, carried inside the file itself.

One JSON object (``schema`` 1, at most 64 KB): an iTXt chunk in PNG and APNG, a tag in MP4 and
WebM, the comment of a GIF, XMP in WebP. Reading it back never trusts it: whatever a file holds, the
answer is a record of the right shape or the reason why there is none. Of a piped image only what
``Hints`` lists is ever acted upon.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn
from xml.sax.saxutils import escape, unescape

from PIL import Image, PngImagePlugin

from fdream.core.errors import DataError
from fdream.core.limits import FPS
from fdream.data.images import PNG_SIGNATURE, is_image
from fdream.data.prompts import MAX_CHARACTERS, control_character
from fdream.data.rgb import BROKEN

KEY: Final = "fdream"
SCHEMA: Final = 1
MAX_RECORD_BYTES: Final = 64 * 1024
RECORD_FILE: Final = "fdream.json"

# Ours have four levels. Whoever walks a record may recurse.
_MAX_NESTING: Final = 16

_XMP_NAMESPACE: Final = "https://fdream.invalid/schema/1/"
_XMP_OPEN: Final = "<fdream:record>"
_XMP_CLOSE: Final = "</fdream:record>"


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a file says about itself: a record, or the reason why there is none.

    Attributes:
        record: the JSON object, of a schema we know; None when there is none that can be used.
        reason: why not; empty when the file simply carries no record.
    """

    record: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hints:
    """What is believed of a record that came in through a pipe; all of it optional."""

    appearance: str | None = None
    motion: str | None = None
    seed: int | None = None
    index: int | None = None
    fps: float | None = None


def dump_record(record: Mapping[str, Any]) -> str:
    """Write a record as one line of JSON.

    Raises:
        DataError: above 64 KB.
    """
    text = json.dumps({"schema": SCHEMA, **record}, ensure_ascii=False, allow_nan=False)
    size = len(text.encode())
    if size > MAX_RECORD_BYTES:
        raise DataError(
            f"metadata: {size} bytes of captions and options, the limit is {MAX_RECORD_BYTES}; "
            "shorten the prompt or pass --no-metadata."
        )
    return text


def parse_record(text: str | bytes) -> ReadBack:
    """Read a record from JSON that anybody may have written."""
    if len(text) > MAX_RECORD_BYTES:
        return ReadBack(reason=f"its fdream record is larger than {MAX_RECORD_BYTES} bytes")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
        # Lone surrogates and 1e999 pass JSON but cannot be written anywhere again.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return ReadBack(reason="its fdream record is not valid JSON")
    if _is_nested_deeper(value, _MAX_NESTING):
        return ReadBack(reason="its fdream record is nested too deeply")
    if not isinstance(value, dict):
        return ReadBack(reason="its fdream record is not a JSON object")
    schema = value.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        return ReadBack(reason="its fdream record names no schema")
    if schema > SCHEMA:
        newer = str(schema)[:12]  # it may have thousands of digits
        return ReadBack(
            reason=f"its fdream record has schema {newer}, and this fdream reads up to {SCHEMA}; "
            "update with pip install -U fdream"
        )
    return ReadBack(record=value)


def _is_nested_deeper(value: object, levels: int) -> bool:
    """Say whether lists and objects stand in each other deeper than that, level by level."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, (dict, list)) for inner in layer)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def hints(record: Mapping[str, Any] | None) -> Hints:
    """Pick the few things that are believed of a foreign record, each checked by itself."""
    record = record or {}
    captions = record.get("captions")
    captions = captions if isinstance(captions, Mapping) else {}
    return Hints(
        appearance=_plain_text(captions.get("appearance")),
        motion=_plain_text(captions.get("motion")),
        seed=_whole_number(record.get("seed")),
        index=_whole_number(record.get("index")),
        fps=_frame_rate(record.get("fps")),
    )


def _plain_text(value: object) -> str | None:
    """A caption, or None for what is no text or could act on a terminal."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_CHARACTERS:
        return None
    return value if control_character(value) is None else None


def _whole_number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**63 else None


def _frame_rate(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if FPS.low <= value <= FPS.high else None


def _png_record(stream: BinaryIO) -> ReadBack:
    """Read the record of an encoded PNG without decoding, or even reading, the picture."""
    stream.seek(len(PNG_SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return ReadBack()
        body = stream.read(min(length, 2 * MAX_RECORD_BYTES)) if kind == b"iTXt" else b""
        if body.startswith(KEY.encode() + b"\0"):
            return _itxt_record(body[len(KEY) + 1 :])
        stream.seek(length - len(body) + 4, os.SEEK_CUR)
    return ReadBack(reason="it is cut off before its end")


def _itxt_record(body: bytes) -> ReadBack:
    """Read what follows the keyword: flag, method, language\\0, translated keyword\\0, text."""
    compressed = body[:1] == b"\1"
    parts = body[2:].split(b"\0", 2)
    if len(parts) != 3:
        return ReadBack(reason="its fdream record is cut off")
    text = parts[2]
    if compressed:
        try:
            # Bounded, so that a chunk of zeros cannot unfold to gigabytes.
            text = zlib.decompressobj().decompress(text, MAX_RECORD_BYTES + 1)
        except zlib.error:
            return ReadBack(reason="its fdream record is damaged")
    return parse_record(text)


def image_record(data: bytes) -> ReadBack:
    """Read the record of one encoded image of any kind we read; a foreign one has none."""
    return _image_record(io.BytesIO(data), data[:16])


def _image_record(stream: BinaryIO, head: bytes) -> ReadBack:
    if head.startswith(PNG_SIGNATURE):
        return _png_record(stream)
    if not head.startswith(b"GIF8") and head[8:12] != b"WEBP":
        return ReadBack()
    try:
        with Image.open(stream, formats=("GIF", "WEBP")) as image:
            found = image.info.get("xmp" if image.format == "WEBP" else "comment")
    except BROKEN:
        return ReadBack(reason="it cannot be read: it is cut off or damaged")
    if not isinstance(found, bytes):
        return ReadBack()
    if found.lstrip().startswith(b"<"):
        return _xmp_record(found)
    # A comment of another program is no record and no fault.
    return parse_record(found) if found.startswith(b'{"schema"') else ReadBack()


def _xmp_record(packet: bytes) -> ReadBack:
    """Cut our element out by its exact spelling; no XML parser meets foreign bytes."""
    text = packet[: 8 * MAX_RECORD_BYTES].decode("utf-8", errors="replace")
    _, opened, rest = text.partition(_XMP_OPEN)
    inner, closed, _ = rest.partition(_XMP_CLOSE)
    return parse_record(unescape(inner)) if opened and closed else ReadBack()


def png_text(text: str | None) -> PngImagePlugin.PngInfo:
    """Return the text chunks of a PNG: the record alone, or nothing."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_itxt(KEY, text)
    return info


def xmp_packet(text: str) -> bytes:
    """Wrap a record for WebP, whose only place for text is XMP."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:fdream="{_XMP_NAMESPACE}">'
        f"{_XMP_OPEN}{escape(text)}{_XMP_CLOSE}"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def read_record(path: Path) -> ReadBack:
    """Read the record of a file or a folder of any kind we write.

    Raises:
        DataError: it cannot be opened at all; what it holds never raises.
    """
    try:
        if path.is_dir():
            return _folder_record(path)
        with path.open("rb") as stream:
            head = stream.read(16)
            if is_image(head):
                return _image_record(stream, head)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    from fdream.data.media import read_tags

    try:
        tags = read_tags(path)
    except DataError as error:
        return ReadBack(reason=f"it {str(error).removeprefix(f'{path}: ')}".rstrip("."))
    found = tags.get(KEY) or tags.get(KEY.upper())
    return parse_record(found) if found else ReadBack()


def _folder_record(folder: Path) -> ReadBack:
    beside = folder / RECORD_FILE
    if not beside.is_file():
        return ReadBack()
    with beside.open("rb") as stream:
        return parse_record(stream.read(MAX_RECORD_BYTES + 2).rstrip(b"\n"))
