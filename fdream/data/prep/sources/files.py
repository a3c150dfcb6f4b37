"""Folders of videos, and single videos; captions come from side files of the same name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fdream.data.prep.sources.rows import (
    LONGEST_CAPTION,
    SourceRow,
    caption_in,
    is_video_name,
    suffix_of,
)

LARGEST_SIDE_FILE: Final = 1 << 20


def folder_rows(root: Path) -> Iterator[SourceRow]:
    """Yield every video under a folder, in the order of their names."""
    for path in video_files(root):
        yield file_row(path, path.relative_to(root).as_posix())


def video_files(root: Path) -> list[Path]:
    """Return the files under a folder that are videos by name, sorted, hidden ones left out."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [
            Path(folder, name) for name in files if is_video_name(name) and not name.startswith(".")
        ]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def file_row(path: Path, url: str) -> SourceRow:
    """Return the row of one video file.

    Args:
        path: the file.
        url: what is recorded about where it lies.
    """
    problem = ""
    size = None
    try:
        # Opening a named pipe would wait for ever, and a device has no end.
        problem = "" if path.is_file() else "no plain file"
        size = path.stat().st_size if not problem else None
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    caption, fields, side_problem = side_files(path)
    return SourceRow(
        id=url.rpartition(".")[0] or url,
        url=url,
        caption=caption,
        path=str(path),
        size=size,
        suffix=suffix_of(path.name),
        fields=fields,
        problem=problem or side_problem,
    )


def side_files(video: Path) -> tuple[str, dict[str, Any], str]:
    """Read what stands beside a video: ``NAME.txt`` with its caption, ``NAME.json`` with more.

    Returns:
        The caption, the fields of the JSON, and what is wrong with either.
    """
    fields: dict[str, Any] = {}
    caption = ""
    try:
        found = _small(video.with_suffix(".json"))
        if found is not None:
            fields = json.loads(found)
            if not isinstance(fields, dict):
                return "", {}, f"{video.stem}.json is no JSON object"
            caption = caption_in(fields)
        text = _small(video.with_suffix(".txt"))
        if text is not None:
            caption = text.strip()
    except (OSError, ValueError, RecursionError) as error:
        return "", {}, f"the file beside it cannot be read ({error})"
    if len(caption) > LONGEST_CAPTION:
        return "", {}, f"a caption of {len(caption)} characters; the limit is {LONGEST_CAPTION}"
    return caption, {key: value for key, value in fields.items() if key != "caption"}, ""


def _small(path: Path) -> str | None:
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_SIDE_FILE:
        raise ValueError(f"{path.name} is larger than 1 MiB")
    return path.read_text(encoding="utf-8-sig")
