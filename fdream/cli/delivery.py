"""Where results go: a file, a folder, names of their own, or the bytes on standard output.

The rules are those of a Unix filter and are decided before any work is done, so that a mistake in
the command costs no minutes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fdream.cli import render
from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import file_stem, slug
from fdream.data.encoding import FOLDER, IMAGE_FORMATS, VIDEO_FORMATS, Encoding, kind_by_name

Place = Literal["bytes", "file", "folder", "named"]

_NOT_A_TERMINAL: Final = "a terminal shows no pictures; give -o FILE, or pipe it into a program"


@dataclass(frozen=True, slots=True)
class Writer:
    """How to write one result: both functions take the encoding and the record's JSON, if any."""

    encode: Callable[[Encoding, str | None], bytes]
    save: Callable[[Path, Encoding, str | None], None]


@dataclass(frozen=True, slots=True)
class Name:
    """What a result may be called; the destination decides which of it is used.

    Attributes:
        title: what it shows, where nobody named it.
        seed: its own, which tells it from others of that title.
        position: its place among all results of the command, from 0.
        number: its place among those that share its title and seed.
        counted: whether there are several of those; None: if the command has several results.
        id: what its line called it.
    """

    title: str
    seed: int
    position: int
    number: int
    counted: bool | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A decided destination.

    Attributes:
        place: bytes to standard output, one file, a folder, or names of their own here.
        target: the file or folder.
        encoding: the format and what was asked of it.
        as_json: whether a line of JSON is printed, not the path.
        metadata: whether files carry their record.
        moving: whether results are videos.
    """

    place: Place
    target: Path
    encoding: Encoding
    as_json: bool
    metadata: bool
    moving: bool

    @classmethod
    def decide(
        cls,
        output: str | None,
        kind: str | None,
        *,
        moving: bool,
        quality: int | None = None,
        loop: int | None = None,
        codec: str | None = None,
        as_json: bool,
        metadata: bool,
    ) -> Delivery:
        """Decide by ``-o``, ``--format``, ``--json`` and whether stdout is a terminal.

        Args:
            output: ``-o`` as written; a folder ends with a slash or exists.
            kind: ``--format``.
            moving: videos, not pictures.
            quality: ``--quality``.
            loop: ``--loop``.
            codec: ``--codec``.
            as_json: ``--json``.
            metadata: not ``--no-metadata``.

        Raises:
            UsageError: the options contradict each other or name no format.
            OutputError: the place cannot be written.
        """
        path = Path(output) if output is not None else Path()
        with _written_to(f"-o {output}"):  # also a name that is too long
            place = _place(output, as_json, kind)
            chosen = kind or (kind_by_name(path, moving=moving) if place == "file" else None)
            encoding = Encoding.choose(
                chosen, moving=moving, quality=quality, loop=loop, codec=codec
            )
            if place == "bytes":
                _refuse_bytes(encoding, as_json)
            else:
                _refuse_unwritable(path, place, encoding)
        return cls(place, path, encoding, as_json, metadata, moving)

    @property
    def takes_one(self) -> bool:
        """Whether a second result has no place to go: only PNG images can follow each other."""
        return self.place == "bytes" and (self.moving or self.encoding.kind != "png")

    def refuse_several(self) -> None:
        """Say that standard output takes only one of these.

        Raises:
            UsageError: it is where they would go.
        """
        if self.takes_one:
            many = "videos" if self.moving else f"{self.encoding.kind} images"
            raise UsageError(
                f"several {many} do not fit into one stream; give -o out.{self.encoding.kind} "
                "(numbered files) or -o folder/."
            )

    def refuse_finding(self, who: str) -> None:
        """Refuse what cannot find earlier results again: by their names, and by their records.

        Args:
            who: wants to find them, such as ``--resume``.

        Raises:
            UsageError: results leave no file, or no record in it.
        """
        if self.place == "bytes":
            raise UsageError(
                f"{who}: results are found as files, and standard output keeps none; give -o."
            )
        if not self.metadata:
            raise UsageError(
                f"{who}: results are told by the records inside them, and --no-metadata leaves "
                "these out; drop one of the two."
            )

    @property
    def overwrites(self) -> bool:
        """Whether the user chose the name, and so meant to replace what has it."""
        return self.place == "file"

    def doubt(self) -> str | None:
        """Say what looks like a mistake: an ending of one format on a file of another."""
        said, kind = _ending(self.target), self.encoding.kind
        formats = VIDEO_FORMATS if self.moving else IMAGE_FORMATS
        if self.place != "file" or said not in formats or _suffix(kind) in ("", f".{said}"):
            return None
        return (
            f"{self.target}: is written as {kind}, as --format says, and its ending says {said}; "
            "rename it, or leave --format out."
        )

    def path(self, name: Name, several: Callable[[], bool]) -> Path:
        """Return the file or folder of a result; something may have that name already.

        Args:
            name: what it may be called.
            several: whether the command has several results; asked only where that matters, for
                the answer may have to wait for the next line of a pipe.
        """
        if self.place == "file":
            numbered = f"-{name.position:03d}" if several() else ""
            return self.target.with_name(f"{self.target.stem}{numbered}{self.target.suffix}")
        counted = several() if name.counted is None else name.counted
        numbered = f"-{name.number:03d}" if counted else ""
        stem = file_stem(name.id) if name.id else f"{slug(name.title)}-{name.seed}"
        return self.target / f"{stem}{numbered}{_suffix(self.encoding.kind)}"

    def stream_out(self, writer: Writer, record: dict[str, Any]) -> None:
        """Write a result to standard output.

        Raises:
            OutputError: it cannot be written.
        """
        data = writer.encode(self.encoding, self._text(record))
        with _written_to("standard output"):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()  # the next program in the pipe can begin

    def save(self, path: Path, writer: Writer, record: dict[str, Any]) -> None:
        """Write a result to its file.

        Raises:
            OutputError: it cannot be written; nothing is left behind.
        """
        writer.save(path, self.encoding, self._text(record))

    def tell(self, path: Path, record: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Print where a result is, as a path or a line of JSON.

        Args:
            path: its file or folder.
            record: how it was made.
            facts: what is no part of that, such as the line of its prompt.
        """
        with _written_to("standard output"):
            if self.as_json:
                sys.stdout.write(json.dumps({"path": str(path), **facts, **record}) + "\n")
            else:
                render.line(str(path))
            sys.stdout.flush()

    def complete(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Add to a record how the result is encoded."""
        return self.encoding.complete(record)

    def _text(self, record: dict[str, Any]) -> str | None:
        from fdream.data.metadata import dump_record

        return dump_record(record) if self.metadata else None


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
    import tempfile  # only a command that writes pays for it

    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot write {path}: nothing can be made in {existing} ({reason}); "
            "choose another place with -o."
        ) from error
