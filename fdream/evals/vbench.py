"""Videos laid out as VBench's own runner expects them.

VBench looks for ``PROMPT-INDEX.mp4``, five of each prompt, in the folder of a dimension. Prompts
that hold a slash cannot be file names; VBench has none.

Source: ``vbench/__init__.py`` of Vchitect/VBench (Apache-2.0), as of 2026-03.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fdream.core.errors import DataError, OutputError
from fdream.evals.sets import FileSource, find_sources

_REPEATS: Final = 5
_SUFFIXES: Final = (".mp4", ".gif")
_CUSTOM: Final = (
    "subject_consistency, background_consistency, motion_smoothness, dynamic_degree, "
    "aesthetic_quality, imaging_quality"
)


@dataclass(frozen=True, slots=True)
class Export:
    """What was laid out.

    Attributes:
        folder: where.
        videos: how many files lie there.
        missing: prompts and how many of their five videos are missing, by dimension.
        unused: videos whose caption is no prompt.
    """

    folder: Path
    videos: int
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        missing = {dimension: dict(prompts) for dimension, prompts in self.missing.items()}
        return {
            "folder": str(self.folder),
            "videos": self.videos,
            "missing": missing,
            "unused": list(self.unused),
        }

    def lines(self) -> Iterator[str]:
        """Say what to run, and what is missing."""
        if not self.missing:
            yield (
                f"vbench evaluate --videos_path {self.folder} --mode=custom_input "
                f"--dimension NAME (one of {_CUSTOM})"
            )
            return
        for dimension, prompts in self.missing.items():
            lacking = sum(prompts.values())
            told = f", {lacking} videos of {len(prompts)} prompts missing" if lacking else ""
            yield f"vbench evaluate --videos_path {self.folder / dimension} --dimension {dimension}"
            if told:
                yield f"  {dimension}{told}: VBench calls the result unfair"
        if self.unused:
            yield f"{len(self.unused)} videos have a caption that is no prompt of VBench"


def export(videos: str, folder: Path, prompts: Path | None) -> Export:
    """Lay out videos for VBench.

    Args:
        videos: as ``sets.find_sources`` takes it; files, since VBench reads files.
        folder: made if it is missing; must be empty.
        prompts: VBench_full_info.json; None lays out for mode ``custom_input``.

    Raises:
        DataError: a video has no caption, or is no file that VBench reads.
        OutputError: the folder holds something, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is a folder that is not empty; name another.")
    captioned = [(source, _caption(source)) for source in _files(videos)]
    if prompts is None:
        return _custom(captioned, folder)
    return _standard(captioned, folder, _dimensions(prompts))


def _files(videos: str) -> list[FileSource]:
    found = []
    for source in find_sources(videos):
        if not isinstance(source, FileSource) or source.path.suffix.lower() not in _SUFFIXES:
            raise DataError(
                f"{source.place}: VBench reads {' and '.join(_SUFFIXES)} files alone; write the "
                "videos so (`--format mp4`)."
            )
        found.append(source)
    return found


def _caption(source: FileSource) -> str:
    caption = source.caption().strip()
    if not caption:
        raise DataError(
            f"{source.place}: has no caption, and VBench goes by it. Captions come from fdream's "
            "own records, a .txt beside the video, or the column `caption` of a list."
        )
    return caption


def _custom(captioned: list[tuple[FileSource, str]], folder: Path) -> Export:
    named = {}
    for number, (source, caption) in enumerate(captioned):
        name = f"{number:05d}{source.path.suffix.lower()}"
        _copy(source.path, folder / name)
        named[name] = caption
    (folder / "prompts.json").write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    return Export(folder, len(named))


def _standard(
    captioned: list[tuple[FileSource, str]], folder: Path, dimensions: dict[str, list[str]]
) -> Export:
    by_caption: dict[str, list[FileSource]] = defaultdict(list)
    for source, caption in captioned:
        by_caption[_plain(caption)].append(source)
    missing: dict[str, dict[str, int]] = {}
    used: set[str] = set()
    count = 0
    for dimension, prompts in dimensions.items():
        lacking = {}
        chosen = {p: by_caption[_plain(p)][:_REPEATS] for p in prompts if _plain(p) in by_caption}
        if not chosen:
            continue
        for prompt in prompts:
            sources = chosen.get(prompt, [])
            for index, source in enumerate(sources):
                suffix = source.path.suffix.lower()
                _copy(source.path, folder / dimension / f"{prompt}-{index}{suffix}")
                used.add(source.key)
                count += 1
            if len(sources) < _REPEATS:
                lacking[prompt] = _REPEATS - len(sources)
        missing[dimension] = lacking
    if not missing:
        raise DataError(
            "vbench: no video has a prompt of VBench as its caption; make them from its prompts, "
            "or leave --prompts out for the mode custom_input."
        )
    unused = tuple(source.key for source, _ in captioned if source.key not in used)
    return Export(folder, count, missing, unused)


def _dimensions(path: Path) -> dict[str, list[str]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            for dimension in row["dimension"]:
                found[dimension].append(row["prompt_en"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no VBench_full_info.json ({error}).") from error
    for prompts in found.values():
        for prompt in prompts:
            if "/" in prompt or prompt.startswith("."):
                raise DataError(f"{path}: prompt {prompt!r} cannot be a file name.")
    return found


def _plain(text: str) -> str:
    """Compare prompts as people write them: without case, doubled spaces and a final stop."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".").lower()


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}.") from error
