"""What a result is written as: its format, and the choices that the format leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fdream.core.errors import UsageError

IMAGE_FORMATS: Final = ("png", "webp")
VIDEO_FORMATS: Final = ("mp4", "webm", "gif", "webp", "apng", "png", "frames")

FOLDER: Final = "frames"
"""The one format that is a folder, and so cannot be sent through a pipe."""

DEFAULT_QUALITY: Final = 90
"""Of what is encoded with loss: no difference is seen side by side at normal size."""

_LOSSY_IMAGES: Final = ("webp",)
_LOSSY_VIDEOS: Final = ("mp4", "webm", "gif", "webp")
_LOOPING: Final = ("gif", "webp", "apng")
CODECS: Final[Mapping[str, tuple[str, ...]]] = {"mp4": ("h264",), "webm": ("vp9", "av1")}
"""Of the containers, the default first."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one result is encoded.

    Attributes:
        kind: one of ``VIDEO_FORMATS``, or of ``IMAGE_FORMATS`` for a picture.
        quality: 1 (smallest) to 100 (best); None is ``DEFAULT_QUALITY`` for a video, and without
            loss for a picture.
        loop: how often an animation is played; 0 or None: for ever.
        codec: one of ``CODECS``; None is the container's first.
    """

    kind: str
    quality: int | None = None
    loop: int | None = None
    codec: str | None = None

    @classmethod
    def choose(
        cls,
        kind: str | None,
        *,
        moving: bool,
        quality: int | None = None,
        loop: int | None = None,
        codec: str | None = None,
    ) -> Encoding:
        """Decide how to encode, or say which option the format has no use for.

        Args:
            kind: the format; None: mp4 or png.
            moving: a video, not a picture.
            quality: ``--quality``.
            loop: ``--loop``.
            codec: ``--codec``.

        Raises:
            UsageError: an unknown format, an option that it would ignore, or a codec that it does
                not hold.
        """
        formats = VIDEO_FORMATS if moving else IMAGE_FORMATS
        kind = kind or formats[0]
        if kind not in formats:
            raise UsageError(f"--format {kind}: unknown here; choose from {', '.join(formats)}.")
        lossy = _LOSSY_VIDEOS if moving else _LOSSY_IMAGES
        if quality is not None and kind not in lossy:
            raise UsageError(
                f"--quality {quality}: {kind} keeps every pixel; leave it out, or choose "
                f"--format {' or '.join(lossy)}."
            )
        if loop is not None and kind not in _LOOPING:
            raise UsageError(
                f"--loop {loop}: {kind} leaves looping to its player; choose "
                f"--format {' or '.join(_LOOPING)}."
            )
        if codec is not None and (not moving or codec not in CODECS.get(kind, ())):
            holders = [f"{name} holds {' or '.join(held)}" for name, held in CODECS.items()]
            raise UsageError(
                f"--codec {codec}: not for {kind}; leave it out, or choose a --codec and a "
                f"--format that belong together ({', '.join(holders)})."
            )
        return cls(kind, quality, loop, codec)

    def keeps_pixels(self, *, moving: bool) -> bool:
        """Whether what is read back is what was written.

        Args:
            moving: a video, not a picture.
        """
        if moving:
            return self.kind not in _LOSSY_VIDEOS
        return self.quality is None or self.kind not in _LOSSY_IMAGES

    def record(self) -> dict[str, Any]:
        """What was asked for, for the record of the output."""
        asked = {
            "format": self.kind,
            "quality": self.quality,
            "loop": self.loop,
            "codec": self.codec,
        }
        return {key: value for key, value in asked.items() if value is not None}

    def complete(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Add to the record of a result how it is encoded."""
        return {**record, "encoding": self.record()}


def kind_by_name(path: Path, *, moving: bool) -> str:
    """Return the format that a file's ending says.

    Raises:
        UsageError: it says none that is written here.
    """
    formats = VIDEO_FORMATS if moving else IMAGE_FORMATS
    ending = path.suffix.lower().removeprefix(".")
    if ending in formats:
        return ending
    known = ", ".join(f".{kind}" for kind in formats)
    or_folder = "" if path.suffix else f"; a folder ends with a slash: {path}/"
    raise UsageError(
        f"{path}: the format of {path.suffix or 'a name without an ending'} is not known here; "
        f"use {known}, or say it with --format{or_folder}."
    )
