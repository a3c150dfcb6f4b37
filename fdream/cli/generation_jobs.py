"""What t2i, i2v and t2v make, one sample a job; ``prompt_jobs`` and ``image_jobs`` plan them.

A list may have no end, so a job is planned when it is asked for. What cannot be planned (a line
that is no prompt, an image that is none) takes its place in the order as a fault.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fdream.cli.delivery import Name, Writer
from fdream.cli.standard_input import PLACE, STDIN
from fdream.core.errors import DataError

if TYPE_CHECKING:
    from fdream.pipelines.generation import Clip, Still


@dataclass(frozen=True, slots=True)
class Product:
    """A finished sample on its way out.

    Attributes:
        writer: encodes it.
        record: how it was made.
        notes: what the chosen format does to it, by format.
    """

    writer: Writer
    record: dict[str, Any]
    notes: Callable[[str], str | None] = lambda kind: None


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to make.

    Attributes:
        name: what it may be called.
        make: makes it.
        recipe: tells what decides how it comes out, without making it.
        seeded: whether the user said which seed; a drawn one is never the same again.
        facts: what a line of JSON adds to its record: the line it came from, and its id.
    """

    name: Name
    make: Callable[[], Product]
    recipe: Callable[[], dict[str, Any]]
    seeded: bool
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry that cannot be used.

    Attributes:
        label: which one, among the others: ``"line 3"``.
        message: where it stands and why it cannot be used.
    """

    label: str
    message: str


def still_product(still: Still) -> Product:
    """Prepare a drawn image for delivery."""
    from fdream.data.writers import encode_image, save_image

    writer = Writer(
        encode=lambda encoding, record: encode_image(still.pixels, encoding, record),
        save=lambda path, encoding, record: save_image(path, still.pixels, encoding, record),
    )
    return Product(writer, still.record)


def clip_product(clip: Clip) -> Product:
    """Prepare a video for delivery."""
    from fdream.data.animations import gif_timing_note
    from fdream.data.writers import encode_video, save_video

    frames, fps = clip.frames, clip.fps

    def note(kind: str) -> str | None:
        height, width = frames.shape[1:3]
        if kind == "gif":
            return gif_timing_note(fps)
        if kind in ("mp4", "webm") and (height % 2 or width % 2):
            return f"{kind}: holds even sizes only; {width}x{height} gets one more row or column."
        return None

    writer = Writer(
        encode=lambda encoding, record: encode_video(frames, fps, encoding, record),
        save=lambda path, encoding, record: save_video(path, frames, fps, encoding, record),
    )
    return Product(writer, clip.record, note)


def open_bytes(named: str | None) -> BinaryIO:
    """Open a file, or standard input for ``-`` or None.

    Raises:
        DataError: it cannot be read.
    """
    if named in (None, STDIN):
        if sys.stdin is None:
            raise DataError(f"{PLACE}: closed; name a file, or pipe something in.")
        return sys.stdin.buffer
    try:
        return Path(str(named)).open("rb")
    except IsADirectoryError as error:
        raise DataError(f"{named}: it is a folder; name the files in it.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{named}: cannot be read ({reason}).") from error
