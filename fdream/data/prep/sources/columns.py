"""Which column of a table means what: WebVid's, Panda-70M's and common names are known."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fdream.core.errors import DataError
from fdream.core.prep_recipe import ReadTable
from fdream.data.prep.sources.rows import Span

_VIDEO: Final = (
    "contentUrl",
    "url",
    "video",
    "video_path",
    "path",
    "file",
    "file_name",
    "filename",
)
_CAPTION: Final = ("caption", "text", "prompt", "description", "sentence", "title", "name")
_ID: Final = ("videoid", "videoID", "video_id", "id", "key")
_SPANS: Final = ("clips", "timestamp", "spans")
_LONGEST_CELL: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that matter, by their names in the table; None where there is none."""

    video: str | None
    id: str | None
    caption: str | None
    spans: str | None

    @classmethod
    def choose(cls, names: Sequence[str], read: ReadTable, place: str) -> Columns:
        """Take those that the recipe names, and recognise the others.

        Args:
            names: of the table, in order.
            read: the recipe's ``[read]``.
            place: of the table, for messages.

        Raises:
            DataError: a named column is not there, or none says where videos are.
        """
        for wanted in (read.video, read.id, read.caption, read.spans):
            if wanted is not None and wanted not in names:
                raise DataError(f"{place}: no column {wanted!r}; it has: {', '.join(names)}.")
        video = read.video or _first(_VIDEO, names)
        named = read.id or _first(_ID, names)
        if video is None and named is None:
            raise DataError(
                f"{place}: no column says where the videos are; it has: {', '.join(names)}. Name "
                "one with -s read.video=COLUMN."
            )
        taken = {video, named}
        caption = read.caption or _first(_CAPTION, [name for name in names if name not in taken])
        return cls(video, named, caption, read.spans or _first(_SPANS, names))


def spans_in(cell: Any, captions: Any) -> tuple[tuple[Span, ...], str]:
    """Read the spans of a row, and the caption of each where there are as many.

    Args:
        cell: pairs [start, end], in seconds or as ``H:MM:SS.mmm``; a list, or its JSON or Python
            spelling, as Panda-70M has it.
        captions: the row's caption: one text, or a list of them in one of these spellings.

    Returns:
        The spans, and the row's caption, empty where each span has its own.

    Raises:
        ValueError: no such list, or a span that ends before it starts.
    """
    pairs = _listed(cell)
    texts = _listed(captions) if _looks_like_a_list(captions) else None
    if texts is not None and len(texts) != len(pairs):
        raise ValueError(f"{len(pairs)} spans but {len(texts)} captions")
    spans = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f"span {pair!r} is no [start, end]")
        start, end = (_seconds(value) for value in pair)
        if not 0 <= start < end:
            raise ValueError(f"span {pair!r} ends before it starts")
        spans.append(Span(start, end, None if texts is None else str(texts[index])))
    whole = "" if texts is not None else str(captions or "")
    return tuple(spans), whole


def _first(known: Iterable[str], names: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name.lower()] for name in known if name.lower() in by_lower), None)


def _looks_like_a_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (
        isinstance(value, str) and value.lstrip().startswith("[")
    )


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    text = str(value).strip()
    if len(text) > _LONGEST_CELL:
        raise ValueError("a list of more than 1 MiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(f"{text[:60]!r} is no list") from error
    if not isinstance(found, (list, tuple)):
        raise ValueError(f"{text[:60]!r} is no list")
    return list(found)


def _seconds(value: Any) -> float:
    """Read ``12.5``, ``"12.5"`` or ``"0:00:12.500"``."""
    total = 0.0
    for part in str(value).split(":"):
        total = total * 60 + float(part)
    if not math.isfinite(total):
        raise ValueError(f"{value!r} is no time")
    return total
