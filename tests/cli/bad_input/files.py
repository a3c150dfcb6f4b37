"""The files that the table of bad input names."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from fdream.data.encoding import Encoding
from fdream.data.metadata import dump_record
from fdream.data.writers import encode_image

RECORD: Final[dict[str, Any]] = {
    "command": "t2i",
    "captions": {"appearance": "a corgi", "motion": ""},
    "seed": 1,
    "stages": {"prior": {"name": "pocket"}},
    "options": {"prior": {"size": "32x32", "steps": 1}},
    "frames_sha256": "cd" * 32,
}
_PIXELS: Final = np.zeros((32, 32, 3), np.uint8)
_MP4: Final = b"\x00\x00\x00\x20ftypisom"


def write_files(folder: Path) -> None:
    """Fill a folder with what people hand over by mistake, and with an older result."""
    for name, data in _files().items():
        (folder / name).write_bytes(data)
    for name in ("empty-folder", "bad-frames"):
        (folder / name).mkdir()
    (folder / "bad-frames/fdream.json").write_text("{")


def picture(**changes: Any) -> bytes:
    """A PNG of ours with some of its record changed."""
    return encode_image(_PIXELS, Encoding("png"), dump_record({**RECORD, **changes}))


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _files() -> dict[str, bytes]:
    ours = picture()
    plain = encode_image(_PIXELS, Encoding("png"))
    photo = _encoded(Image.fromarray(_PIXELS), "JPEG")
    return {
        # Text and lists.
        "notes.txt": b"just text\n",
        "comments.txt": b"# nothing\n\n",
        "utf16.txt": "a corgi\n".encode("utf-16"),
        "latin1.txt": b"a caf\xe9\n",
        "escapes.txt": b"a \x1b[2J corgi\n",
        "long.txt": b"x" * 3000 + b"\n",
        "longer.txt": b"x" * 200_000 + b"\n",
        "misspelt.jsonl": b'{"prompt": "a", "sed": 3}\n',
        "broken.jsonl": b'{"prompt": "a"\n',
        "unterminated.jsonl": b'{"prompt": "a\n',
        "twice.jsonl": b'{"prompt": "a", "prompt": "b"}\n',
        "both.jsonl": b'{"prompt": "a", "caption": "b"}\n',
        "nothing.jsonl": b'{"seed": 1}\n',
        "seed.jsonl": b'{"prompt": "a", "seed": -1}\n',
        "num.jsonl": b'{"prompt": "a", "num": 0}\n',
        "list.jsonl": b'{"prompt": ["a"]}\n',
        "array.jsonl": b'["a"]\n',
        "nested.jsonl": b'{"prompt": ' + b"[" * 50_000 + b"\n",
        # Images.
        "empty.png": b"",
        "signature.png": ours[:8],
        "header.png": ours[:20],
        "cut.png": plain[:-20],
        "cut-record.png": ours[:60],
        "damaged.png": plain[:50] + bytes(len(plain) - 62) + plain[-12:],
        "endless.png": ours[:8] + b"\xff\xff\xff\xffIDAT",
        "huge.png": _black_png(20_000, 20_000),
        "wide.png": _black_png(100_000_000, 1),
        "text-bomb.png": plain[:33] + chunk(b"zTXt", _bomb()) + plain[33:],
        "cut.jpg": photo[: len(photo) // 2],
        "two.jpg": photo * 2,
        "plain.png": plain,
        "newer.png": plain[:33] + chunk(b"iTXt", b'fdream\0\0\0\0\0{"schema": 2}') + plain[33:],
        "photo.tiff": _encoded(Image.fromarray(_PIXELS), "TIFF"),
        "photo.heic": b"\x00\x00\x00\x20ftypheic" + bytes(50),
        "page.pdf": b"%PDF-1.7 and so on, and so on, and so on",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "half.png": ours + ours[:100],
        # Videos.
        "made.mp4": b"an older result",
        "real.mp4": _MP4 + bytes(64),
        "clip.webm": b"\x1aE\xdf\xa3" + bytes(64),
        "random.webm": bytes(range(256)) * 64,
        "script.mp4": b"ffconcat version 1.0\nfile 'real.mp4'\n",
    }


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _black_png(width: int, height: int) -> bytes:
    """A whole and valid file of one bit a pixel: small here, and gigabytes as RGB."""
    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _bomb() -> bytes:
    """A compressed text of more than Pillow unfolds."""
    return b"Comment\0\0" + zlib.compress(bytes(4_000_000))
