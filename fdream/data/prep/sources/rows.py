"""One source of an input, as every kind of input names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from fdream.data.shards.reader import VIDEO_SUFFIXES

_CAPTION_KEYS: Final = ("caption", "text", "prompt", "description", "title")
LONGEST_CAPTION: Final = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """A clip that the input itself names.

    Attributes:
        start_s: seconds from the first frame.
        end_s: likewise; the frame shown then is no longer part of it.
        caption: its own; None takes the source's.
    """

    start_s: float
    end_s: float
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source.

    Attributes:
        id: its name in the input.
        url: what is recorded about where it came from; never an absolute path.
        caption: what the input says about it; may be empty.
        path: of the local file or archive, or an address.
        remote: whether ``path`` is an address to fetch.
        offset: of its first byte in an archive; None: the file is the video.
        size: in bytes, where it is at hand.
        suffix: of its name, lower case, such as ``mp4``.
        spans: clips that the input names; empty: it is cut at shots.
        fields: what else the input says, kept beside the clips.
        problem: why it cannot even be tried; empty when it can.
    """

    id: str
    url: str
    caption: str
    path: str = ""
    remote: bool = False
    offset: int | None = None
    size: int | None = None
    suffix: str = ""
    spans: tuple[Span, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def fingerprint(rows: Iterable[SourceRow]) -> str:
    """Return a hash of what the rows say; where their files lie on this machine does not count."""
    digest = hashlib.sha256()
    for row in rows:
        known = asdict(row)
        for local in ("path", "offset"):
            del known[local]
        digest.update(json.dumps(known, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def suffix_of(name: str) -> str:
    """Return the suffix of a file name, lower case and without its dot, if it has one."""
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


def is_video_name(name: str) -> bool:
    """Whether a file's name says that it is a video."""
    return suffix_of(name) in VIDEO_SUFFIXES


def is_address(text: str) -> bool:
    """Whether a text is an address, not a path."""
    return "://" in text


def public_address(address: str) -> str:
    """Return an address without user, password or the signature of a store."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def caption_in(fields: dict[str, Any]) -> str:
    """Find the caption in a side file's JSON."""
    return next((str(fields[key]) for key in _CAPTION_KEYS if fields.get(key)), "")
