"""Where results go: a file, a folder, names of their own, or the bytes on standard output.

The rules are those of a Unix filter and are decided before any work is done, so that a mistake in
the command costs no minutes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fdream.cli import render
from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import slug, unused

Place = Literal["bytes", "file", "folder", "named"]

_NOT_A_TERMINAL: Final = "a terminal shows no pictures; give -o FILE, or pipe it into a program"


@dataclass(frozen=True, slots=True)
class Writer:
    """How to write one result: both functions take the format and the record's JSON, if any."""

    encode: Callable[[str, str | None], bytes]
    save: Callable[[Path, str, str | None], None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A decided destination.

    Attributes:
        place: bytes to standard output, one file, a folder, or names of their own here.
        path: the file or folder.
        kind: the format.
        as_json: whether a line of JSON is printed, not the path.
        metadata: whether files carry their record.
        stream: whether several results may follow each other on standard output.
    """

    place: Place
    path: Path
    kind: str
    as_json: bool
    metadata: bool
    stream: bool

    @classmethod
    def decide(
        cls,
        output: str | None,
        kind: str | None,
        formats: Sequence[str],
        *,
        as_json: bool,
        metadata: bool,
        stream: bool,
    ) -> Delivery:
        """Decide by ``-o``, ``--format``, ``--json`` and whether stdout is a terminal.

        Args:
            output: ``-o`` as written; a folder ends with a slash or exists.
            kind: ``--format``.
            formats: what can be written, the default first.
            as_json: ``--json``.
            metadata: not ``--no-metadata``.
            stream: whether several results may follow each other on standard output.

        Raises:
            UsageError: the options contradict each other or name no format.
            OutputError: the place cannot be written.
        """
        place = _place(output, as_json)
        path = Path(output) if output is not None else Path()
        if place == "bytes" and as_json:
            raise UsageError("--json and the bytes both want standard output; give -o FILE.")
        if place == "bytes" and sys.stdout.isatty():
            raise UsageError(f"-o -: {_NOT_A_TERMINAL}.")
        if place != "bytes":
            _refuse_unwritable(path, folder=place != "file")
        chosen = kind or (_by_suffix(path, formats) if place == "file" else formats[0])
        if chosen not in formats:
            raise UsageError(f"--format {chosen}: unknown here; choose from {', '.join(formats)}.")
        return cls(place, path, chosen, as_json, metadata, stream)

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

        text = dump_record(record) if self.metadata else None
        if self.place == "bytes":
            if several:
                self.refuse_several()
            with _written_to("standard output"):
                sys.stdout.buffer.write(writer.encode(self.kind, text))
                sys.stdout.buffer.flush()  # the next program in the pipe can begin
            return
        path = self._path(record, title, number, several)
        writer.save(path, self.kind, text)
        with _written_to("standard output"):
            if self.as_json:
                line = json.dumps({"path": str(path), "format": self.kind, **record})
                sys.stdout.write(line + "\n")
            else:
                render.line(str(path))
            sys.stdout.flush()

    def _path(self, record: dict[str, Any], title: str, number: int, several: bool) -> Path:
        counted = f"-{number:03d}" if several else ""
        if self.place == "file":
            return self.path.with_name(f"{self.path.stem}{counted}{self.path.suffix}")
        # Never overwriting: nobody named this file, so nobody meant to replace it.
        name = f"{slug(title)}-{record['seed']}{counted}.{_suffix(self.kind)}"
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


def _place(output: str | None, as_json: bool) -> Place:
    if output is None:
        return "named" if as_json or sys.stdout.isatty() else "bytes"
    if output == "-":
        return "bytes"
    if not output.strip():
        raise UsageError("-o: empty; give a file, a folder/ or -.")
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return "folder"
    return "file"


def _by_suffix(path: Path, formats: Sequence[str]) -> str:
    ending = path.suffix.lower().removeprefix(".")
    if ending in formats:
        return ending
    known = ", ".join(f".{kind}" for kind in formats)
    raise UsageError(
        f"-o {path}: the format of {path.suffix or 'a name without an ending'} is not known here; "
        f"use {known}, or say it with --format."
    )


def _suffix(kind: str) -> str:
    # An animated PNG is a PNG to every program that does not know it.
    return "png" if kind == "apng" else kind


def _refuse_unwritable(path: Path, *, folder: bool) -> None:
    wanted = path if folder else path.parent
    existing = next(p for p in (wanted, *wanted.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise OutputError(
            f"cannot write {path}: {existing} is a file, not a folder; choose another."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write into {existing}.")
