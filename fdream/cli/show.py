"""``fdream show``: how an output was made, as the record inside it tells."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fdream.cli import render
from fdream.cli.standard_input import PLACE, STDIN, spooled_input
from fdream.core.errors import CheckFailed, DataError

if TYPE_CHECKING:
    from fdream.data.metadata import ReadBack

_LONGEST_VALUE: Final = 400
_LONGEST_NAME: Final = 24
_MOST_OTHERS: Final = 20
_KNOWN: Final = frozenset(
    {
        *("schema", "command", "prompt", "captions", "seed", "index", "fps", "stages", "options"),
        *("versions", "device", "device_name", "dtype", "threads", "encoding"),
        *("frames_sha256", "first_frame_sha256"),
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One output that was looked at.

    Attributes:
        place: what to call it.
        found: its record, or why there is none.
        fault: why it could not be read at all; empty where it could.
    """

    place: str
    found: ReadBack
    fault: str = ""

    @property
    def problem(self) -> str:
        """Say what stands in the way of showing it; empty when nothing does."""
        if self.fault or self.found.reason:
            return self.fault or f"{self.place}: {self.found.reason}."
        if self.found.record is None:
            why = "another program wrote it, or --no-metadata"
            if Path(self.place).is_dir():
                why = "this folder holds no fdream.json; name the files in it"
            return f"{self.place}: no fdream record; {why}."
        return ""


def show(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...",
            help="Outputs of fdream: any format, a folder of frames; - or nothing reads standard "
            "input.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each: path and record.")
    ] = False,
) -> None:
    """Show how outputs were made: captions, seed, stages, sizes, versions.

    Exits with 1 if a file carries no record, and with 4 if one cannot be read or its record is
    damaged; all the others are shown all the same.

    \b
    Examples:
      fdream show out.mp4
      fdream t2i "a cat" | fdream show
      fdream show clips/*.mp4 --json | jq -r .record.seed
    """
    code = 0
    for number, seen in enumerate(_look(files or [STDIN])):
        if as_json:
            line = {"path": seen.place, "record": seen.found.record, "reason": seen.problem or None}
            sys.stdout.write(json.dumps(line) + "\n")
        elif seen.found.record is not None:
            if number:
                render.line("")
            render.facts(seen.place, list(_facts(seen.found.record)))
        if seen.problem:
            render.error(seen.problem)
            damaged = seen.fault or seen.found.reason
            code = max(code, DataError.exit_code if damaged else CheckFailed.exit_code)
        sys.stdout.flush()
    if code:
        raise typer.Exit(code)


def _look(files: list[str]) -> Iterator[Seen]:
    from fdream.data.metadata import ReadBack, read_record

    for file in files:
        try:
            if file == STDIN:
                yield from _look_at_input()
            else:
                yield Seen(file, read_record(Path(file)))
        except DataError as error:
            yield Seen(PLACE if file == STDIN else file, ReadBack(), str(error))


def _look_at_input() -> Iterator[Seen]:
    """Look at each PNG of a stream, or at the one file that standard input is."""
    from fdream.data.images import PNG_SIGNATURE, split_images
    from fdream.data.metadata import image_record, read_record

    with spooled_input("show") as path:
        with path.open("rb") as stream:
            several = stream.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE
            stream.seek(0)
            if several:
                for number, data in enumerate(split_images(stream, PLACE), 1):
                    yield Seen(f"{PLACE}, image {number}", image_record(data))
                return
        found = read_record(path)
        yield Seen(PLACE, found)


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell a record to a person; whatever it holds, for anybody may have written it."""
    yield "made by", _made_by(record)
    appearance, motion = _at(record, "captions", "appearance"), _at(record, "captions", "motion")
    told = record.get("prompt")
    if told is not None:
        yield "prompt", _text(told)
    for name, half in (("appearance", appearance), ("motion", motion)):
        if half not in (None, ""):
            yield name, "the whole prompt" if half == told else _text(half)
    yield "seed", f"{_text(record.get('seed'))}, sample {_text(record.get('index', 0))}"
    stages = record.get("stages")
    for role in stages if isinstance(stages, Mapping) else ():
        yield _name(role), _stage(record, role)
    encoding = record.get("encoding")
    if isinstance(encoding, Mapping):
        yield "encoding", _listed(encoding)
    versions = record.get("versions")
    if isinstance(versions, Mapping):
        yield "versions", ", ".join(f"{_text(k)} {_text(v)}" for k, v in versions.items())
    computed = [_text(record.get(key)) for key in ("device", "device_name", "dtype")]
    threads = record.get("threads")
    several = "" if threads == 1 else "s"
    yield "computed on", f"{', '.join(computed)}, {_text(threads)} thread{several}"
    for key, name in (("frames_sha256", "frames"), ("first_frame_sha256", "first frame")):
        if key in record:
            yield name, f"sha256 {_text(record[key])}"
    yield from _others(record)


def _made_by(record: Mapping[str, Any]) -> str:
    video, image = (_at(record, "options", role) for role in ("generator", "prior"))
    made = ""
    if isinstance(video, Mapping):
        frames, size, rate = video.get("frames"), video.get("size"), record.get("fps")
        made = f": video of {_text(frames)} frames, {_text(size)}, {_text(rate)} fps"
    elif isinstance(image, Mapping):
        made = f": image, {_text(image.get('size'))}"
    return f"{_text(record.get('command'))}{made}"


def _stage(record: Mapping[str, Any], role: str) -> str:
    """Name a stage, its weights, and the options it was given or had by itself."""
    stage = _at(record, "stages", role)
    if not isinstance(stage, Mapping):
        return _text(stage)
    said = f"{_text(stage.get('name'))} ({_text(stage.get('distribution'))} "
    said += f"{_text(stage.get('version'))})"
    if "bundle" in stage:
        said += f", bundle {_text(stage['bundle'])} {_text(stage.get('sha256'))[:12]}"
    asked, defaults = _at(record, "options", role), stage.get("defaults")
    options = {**defaults} if isinstance(defaults, Mapping) else {}
    options |= asked if isinstance(asked, Mapping) else {}
    last = "prior" if _at(record, "options", "generator") is None else "generator"
    if role == last:  # told in the first line
        options = {k: v for k, v in options.items() if k not in ("size", "frames")}
    return f"{said}, {_listed(options)}" if options else said


def _others(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    others = [key for key in record if key not in _KNOWN]
    for key in others[:_MOST_OTHERS]:
        yield _name(key), _text(record[key])
    if len(others) > _MOST_OTHERS:
        yield "more", f"{len(others) - _MOST_OTHERS} further entries; --json shows them"


def _at(record: Mapping[str, Any], *keys: str) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{_text(key)} {_text(value)}" for key, value in options.items())


def _name(key: str) -> str:
    return key[:_LONGEST_NAME]


def _text(value: object) -> str:
    """Show a value of any kind, cut where it is very long."""
    if value is None:
        return "not told"
    shown = value if isinstance(value, str) else json.dumps(value)
    if len(shown) <= _LONGEST_VALUE:
        return shown
    return f"{shown[:_LONGEST_VALUE]}... ({len(shown)} characters; --json shows all)"
