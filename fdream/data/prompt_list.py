"""Lists of prompts, as plain lines or as JSON Lines, read one by one as they arrive.

A list may come from a program that never ends, so a line is read when it is asked for and forgotten
afterwards. A line that cannot be used is an answer too, with the reason: one bad line of a night's
work must not cost the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, BinaryIO, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fdream.core.errors import DataError, UsageError
from fdream.core.paths import reading
from fdream.data.images import PNG_SIGNATURE
from fdream.data.prompts import clean_prompt

PromptsFormat = Literal["auto", "lines", "jsonl"]

MAX_NUM: Final = 10_000
_LONGEST_LINE: Final = 128 * 1024  # two captions and a prompt at their limit, all of it escaped
_LONGEST_ID: Final = 200
_GIVE_UP_AFTER: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PromptLine:
    """What one line asks for; what it leaves out is for the command to say.

    Attributes:
        line: its number, from 1.
        prompt: to be split into captions; empty where ``appearance`` stands in for it.
        appearance: what is seen, if the line says so itself.
        motion: what happens, likewise; may be empty.
        seed: of its noise.
        num: how many results.
        id: names its results.
    """

    line: int
    prompt: str = ""
    appearance: str | None = None
    motion: str | None = None
    seed: int | None = None
    num: int | None = None
    id: str | None = None

    @property
    def text(self) -> str:
        """What it says it shows: never empty."""
        return self.prompt or self.appearance or ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used.

    Attributes:
        line: its number, from 1.
        reason: why not, and what to do.
    """

    line: int
    reason: str


class _Captions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    appearance: str | None = None
    motion: str | None = None


class _Row(BaseModel):
    """The keys of a JSON line; null is the same as leaving a key out.

    ``caption``, ``appearance`` and ``motion`` are what ``fdream caption-split`` writes.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | int | None = None
    prompt: str | None = None
    caption: str | None = None
    captions: _Captions | None = None
    appearance: str | None = None
    motion: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    num: Annotated[int, Field(ge=1, le=MAX_NUM)] | None = None


def read_prompts(
    stream: BinaryIO, place: str, form: PromptsFormat = "auto"
) -> Iterator[PromptLine | BadLine]:
    """Yield the prompts of a list, in order and as they arrive.

    Empty lines and lines that begin with ``#`` are passed over. The first other line decides what
    the list is: JSON Lines where it begins with ``{``, else plain lines, unless ``form`` says so.

    Args:
        stream: bytes, read forward only.
        place: what to call it in messages, such as ``"standard input"``.
        form: how to read it.

    Raises:
        DataError: no list of prompts at all, or a disk that fails.
    """
    seen, guessed = False, ""
    for number, raw in enumerate(_raw_lines(stream, place), start=1):
        if number == 1:
            raw = _first_line(raw, place)
        stripped = raw.strip() if isinstance(raw, bytes) else b""
        if isinstance(raw, bytes) and (not stripped or stripped.startswith(b"#")):
            continue
        if not seen:
            guessed = "jsonl" if stripped.startswith(b"{") else "lines"
            seen = True
        try:
            if form == "auto" and guessed == "lines" and stripped[:1] + stripped[-1:] == b"{}":
                raise _Unusable("JSON among plain lines; say --prompts-format lines or jsonl.")
            yield _read_line(raw, number, guessed if form == "auto" else form)
        except (UsageError, _Unusable) as error:
            yield BadLine(number, str(error))
    if not seen:
        raise DataError(f"{place}: holds no prompt; write one a line.")


class _Unusable(Exception):
    """A line cannot be used; the message says why."""


def _raw_lines(stream: BinaryIO, place: str) -> Iterator[bytes | None]:
    """Yield each line's bytes; None for one that is too long to be of use."""
    while raw := _read_up_to(_LONGEST_LINE, stream, place):
        if raw.endswith(b"\n") or len(raw) < _LONGEST_LINE:
            yield raw
            continue
        skipped = len(raw)
        while raw and not raw.endswith(b"\n"):
            raw = _read_up_to(_LONGEST_LINE, stream, place)
            skipped += len(raw)
            if skipped > _GIVE_UP_AFTER:
                raise DataError(
                    f"{place}: a line of more than {_GIVE_UP_AFTER >> 20} MiB; this is no list of "
                    "prompts."
                )
        yield None


def _read_up_to(count: int, stream: BinaryIO, place: str) -> bytes:
    with reading(place):
        return stream.readline(count)


def _first_line(raw: bytes | None, place: str) -> bytes | None:
    """Refuse what other programs put here by mistake, and drop the mark that Windows writes."""
    if raw is None:
        return None
    if raw.startswith(PNG_SIGNATURE[:4]):
        raise DataError(f"{place}: an image, but prompts are needed; `fdream i2v` takes images.")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{place}: UTF-16 text; save it as UTF-8.")
    return raw.removeprefix(b"\xef\xbb\xbf")


def _read_line(raw: bytes | None, number: int, form: str) -> PromptLine:
    if raw is None:
        raise _Unusable(f"longer than {_LONGEST_LINE >> 10} KiB; shorten it.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unusable(
            f"not UTF-8 (byte 0x{raw[error.start]:02x} at {error.start + 1}); save it as UTF-8."
        ) from error
    if form == "jsonl":
        return _from_json(text.strip(), number)
    return PromptLine(number, clean_prompt(text, "prompt"))


def _from_json(text: str, number: int) -> PromptLine:
    row = _row(text)
    captions = row.captions or _Captions()
    prompt = _one_of("prompt", row.prompt, row.caption)
    appearance = _one_of("appearance", row.appearance, captions.appearance)
    motion = _one_of("motion", row.motion, captions.motion)
    if prompt is None and appearance is None:
        raise _Unusable('says nothing to draw; give "prompt", or "appearance" and "motion".')
    return PromptLine(
        line=number,
        prompt="" if prompt is None else clean_prompt(prompt, "prompt"),
        appearance=None if appearance is None else clean_prompt(appearance, "appearance"),
        motion=None if motion is None else clean_prompt(motion, "motion", may_be_empty=True),
        seed=row.seed,
        num=row.num,
        id=None if row.id is None else _id(str(row.id)),
    )


def _one_of(name: str, *spelt: str | None) -> str | None:
    given = [text for text in spelt if text is not None]
    if len(given) > 1:
        raise _Unusable(f"{name} is given twice, in two ways; keep one.")
    return given[0] if given else None


def _row(text: str) -> _Row:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")  # "Unterminated string starting at"
        raise _Unusable(f"not valid JSON ({said} at column {error.colno}).") from error
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise _Unusable('no JSON object, such as {"prompt": "a corgi surfing"}.')
    try:
        return _Row.model_validate(value)
    except ValidationError as error:
        problems = (_problem(found) for found in error.errors(include_url=False))
        raise _Unusable("; ".join(dict.fromkeys(problems))) from error


def _problem(found: Any) -> str:
    # Of a union pydantic names the branch as well: that is no key of the user's.
    keys = [str(part) for part in found["loc"] if part not in ("str", "int")]
    key = ".".join(keys)
    if found["type"] == "extra_forbidden":
        known = list((_Captions if len(keys) > 1 else _Row).model_fields)
        near = get_close_matches(keys[-1], known, n=1)
        return f"unknown key {key!r}; " + (
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        )
    wanted = "should be a text or a whole number" if key == "id" else found["msg"]
    return f"{key} = {json.dumps(found['input'])[:60]} {wanted.removeprefix('Input ')}"


def _id(text: str) -> str:
    cleaned = clean_prompt(text, "id")
    if len(cleaned) > _LONGEST_ID:
        raise _Unusable(f"id: {len(cleaned)} characters, the limit is {_LONGEST_ID}; shorten it.")
    return cleaned


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is given twice: whichever was taken, the other was meant half the time."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found
