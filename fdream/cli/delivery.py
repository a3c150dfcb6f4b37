"""Where results go: a file, a folder, names of their own, or the bytes on standard output.

The rules are those of a Unix filter and are decided before any work is done, so that a mistake in
the command costs no minutes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fdream.cli import render
from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import slug, unused
from fdream.data.encoding import FOLDER, IMAGE_FORMATS, VIDEO_FORMATS, Encoding

Place = Literal["bytes", "file", "folder", "named"]

_NOT_A_TERMINAL: Final = "a terminal shows no pictures; give -o FILE, or pipe it into a program"


@dataclass(frozen=True, slots=True)
class Writer:
    """How to write one result: both functions take the encoding and the record's JSON, if any."""

    encode: Callable[[Encoding, str | None], bytes]
    save: Callable[[Path, Encoding, str | None], None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A decided destination.

    Attributes:
        place: bytes to standard output, one file, a folder, or names of their own here.
        path: the file or folder.
        encoding: the format and what was asked of it.
        as_json: whether a line of JSON is printed, not the path.
        metadata: whether files carry their record.
        stream: whether several results may follow each other on standard output.
    """

    place: Place
    path: Path
    encoding: Encoding
    as_json: bool
    metadata: bool
    stream: bool

    @classmethod
    def decide(
        cls,
        output: str | None,
        kind: str | None,
        *,
        moving: bool,
        quality: int | None = None,
        loop: int | None = None,
        as_json: bool,
        metadata: bool,
    ) -> Delivery:
        """Decide by ``-o``, ``--format``, ``--json`` and whether stdout is a terminal.

        Args:
            output: ``-o`` as written; a folder ends with a slash or exists.
            kind: ``--format``.
            moving: videos, not pictures; only pictures may follow each other on standard output.
            quality: ``--quality``.
            loop: ``--loop``.
            as_json: ``--json``.
            metadata: not ``--no-metadata``.

        Raises:
            UsageError: the options contradict each other or name no format.
            OutputError: the place cannot be written.
        """
        path = Path(output) if output is not None else Path()
        with _written_to(f"-o {output}"):  # also a name that is too long
            place = _place(output, as_json, kind)
            chosen = kind or (_by_suffix(path, moving) if place == "file" else None)
            encoding = Encoding.choose(chosen, moving=moving, quality=quality, loop=loop)
            if place == "bytes":
                _refuse_bytes(encoding, as_json)
            else:
                _refuse_unwritable(path, place, encoding)
        return cls(place, path, encoding, as_json, metadata, stream=not moving)

    def refuse_several(self) -> None:
        """Say that standard output takes only one of these.

        Raises:
            UsageError: it is where they would go.
        """
        if self.place == "bytes" and not self.stream:
            raise UsageError(
                "several videos do not fit into one stream; give -o out.mp4 (numbered files) or "
                "-o folder/."
            )

    def send(
        self, writer: Writer, record: dict[str, Any], *, title: str, number: int, several: bool
    ) -> None:
        """Write one result and print where it is.

        Args:
            writer: knows how to encode it.
            record: how it was made.
            title: names it where it gets a name of its own.
            number: its place among the results, from 0.
            several: whether there is more than one.

        Raises:
            OutputError: it cannot be written.
        """
        from fdream.data.metadata import dump_record

        record = {**record, "encoding": self.encoding.record()}
        text = dump_record(record) if self.metadata else None
        if self.place == "bytes":
            if several:
                self.refuse_several()
            with _written_to("standard output"):
                sys.stdout.buffer.write(writer.encode(self.encoding, text))
                sys.stdout.buffer.flush()  # the next program in the pipe can begin
            return
        path = self._path(record, title, number, several)
        writer.save(path, self.encoding, text)
        with _written_to("standard output"):
            if self.as_json:
                sys.stdout.write(json.dumps({"path": str(path), **record}) + "\n")
            else:
                render.line(str(path))
            sys.stdout.flush()

    def _path(self, record: dict[str, Any], title: str, number: int, several: bool) -> Path:
        counted = f"-{number:03d}" if several else ""
        if self.place == "file":
            return self.path.with_name(f"{self.path.stem}{counted}{self.path.suffix}")
        # Never overwriting: nobody named this file, so nobody meant to replace it.
        name = f"{slug(title)}-{record['seed']}{counted}{_suffix(self.encoding.kind)}"
        return unused(self.path / name)


@contextmanager
def _written_to(place: str) -> Iterator[None]:
    """Turn a full disk into an error about the output; a reader that has gone is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to {place}: {error.strerror or error}.") from error


def _place(output: str | None, as_json: bool, kind: str | None) -> Place:
    if output is None:
        return "named" if as_json or sys.stdout.isatty() else "bytes"
    if output == "-":
        return "bytes"
    if not output.strip():
        raise UsageError("-o: empty; give a file, a folder/ or -.")
    if output.endswith(("/", os.sep)):
        return "folder"
    path = Path(output)
    if not path.is_dir():
        return "file"
    # A folder of frames is one result, as a file is: written again, it is replaced.
    return "file" if (kind or _ending(path)) == FOLDER and _is_result(path) else "folder"


def _is_result(path: Path) -> bool:
    from fdream.data.still_frames import is_frame_folder

    return is_frame_folder(path)


def _ending(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _by_suffix(path: Path, moving: bool) -> str:
    formats = VIDEO_FORMATS if moving else IMAGE_FORMATS
    if _ending(path) in formats:
        return _ending(path)
    known = ", ".join(f".{kind}" for kind in formats)
    raise UsageError(
        f"-o {path}: the format of {path.suffix or 'a name without an ending'} is not known here; "
        f"use {known}, or say it with --format."
    )


def _suffix(kind: str) -> str:
    """The ending of a name that we choose; a folder has none."""
    # An animated PNG is a PNG to every program that does not know it.
    return {"apng": ".png", FOLDER: ""}.get(kind, f".{kind}")


def _refuse_bytes(encoding: Encoding, as_json: bool) -> None:
    if as_json:
        raise UsageError("--json and the bytes both want standard output; give -o FILE.")
    if encoding.kind == FOLDER:
        raise UsageError(
            f"--format {FOLDER}: a folder cannot go to standard output; give -o NAME, or choose "
            "--format apng for frames without loss in one stream."
        )
    if sys.stdout.isatty():
        raise UsageError(f"-o -: {_NOT_A_TERMINAL}.")


def _refuse_unwritable(path: Path, place: Place, encoding: Encoding) -> None:
    """Refuse what would fail only after minutes of work.

    ``-o folder/`` is made with its parents: the slash says that a folder is meant. The folder of
    ``-o folder/name.mp4`` has to be there, as for cp, ffmpeg and a redirection: where it is not,
    the path is more often mistyped than new, and the result would be lost in a place of that name.
    """
    wanted = path if place == "folder" else path.parent
    existing = next(p for p in (wanted, *wanted.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise OutputError(
            f"cannot write {path}: {existing} is a file, not a folder; choose another."
        )
    if place == "file" and existing != wanted:
        raise OutputError(
            f"cannot write {path}: there is no folder {wanted}; make it with mkdir -p, or give "
            f"-o {wanted}{os.sep} for a name of its own in a new folder."
        )
    if place == "file" and encoding.kind == FOLDER and path.exists() and not path.is_dir():
        raise OutputError(
            f"cannot write {path}: it is a file, and {FOLDER} are a folder; name another."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write into {existing}.")
