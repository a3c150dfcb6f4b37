"""Sets of videos: folders, patterns, lists and shards become sources that can be read in any order.

A source has a key that names it in its set. Keys decide everything that is drawn (which videos,
where a window starts), so neither the order of files nor the number of workers changes a figure.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from glob import has_magic
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.core.errors import DataError
from fdream.data.media import open_video
from fdream.data.metadata import hints, read_record
from fdream.data.readers import read_output
from fdream.data.shards.members import Member, read_member, scan_members
from fdream.data.shards.reader import VIDEO_SUFFIXES, find_shards, open_archive
from fdream.evals.clips import Clip, ClipRule, read_clip, window_of

if TYPE_CHECKING:
    from av.container import InputContainer

    from fdream.data.spriteworld.world import SpriteWorld

_ANIMATIONS: Final = (".apng", ".gif", ".webp")
_SUFFIXES: Final = (*VIDEO_SUFFIXES, "webp")
_LISTS: Final = (".txt", ".jsonl", ".csv")
_COLUMNS: Final = ("video", "path", "file")
_LARGEST_CAPTION: Final = 64 * 1024


class Source(ABC):
    """One video of a set.

    Attributes:
        key: its name in the set, the same wherever the set lies.
        place: where it lies, for messages.
        knows_flow: whether its clips come with their true flow.
    """

    key: str
    place: str
    knows_flow: bool = False

    @abstractmethod
    def content(self) -> str:
        """Return what identifies what it shows, such as the hash of its bytes."""

    @abstractmethod
    def read(self, rule: ClipRule) -> Clip:
        """Decode its window.

        Raises:
            DataError: it cannot be read, or is too short.
        """

    @abstractmethod
    def caption(self) -> str:
        """Return its caption; empty where there is none."""


@dataclass(frozen=True, slots=True)
class FileSource(Source):
    """A video file; its caption is the list's, its own record's, or a text file's beside it."""

    key: str
    path: Path
    given: str = ""

    @property
    def place(self) -> str:  # type: ignore[override]
        """The path."""
        return str(self.path)

    def content(self) -> str:
        """Return the sha256 of the file."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}).") from error

    def read(self, rule: ClipRule) -> Clip:
        """Decode its window."""
        if self.path.suffix.lower() not in _ANIMATIONS:
            return read_clip(lambda: open_video(self.path), rule, self.key, self.place)
        # Animations join equal frames, and so hold fewer than they show.
        found = read_output(self.path)
        clip = window_of(found.frames, found.fps or 1.0, rule, self.key, self.place)
        return replace(clip, codec=found.kind)

    def caption(self) -> str:
        """Return its caption."""
        if self.given:
            return self.given
        beside = self.path.with_suffix(".txt")
        if beside.is_file() and beside.stat().st_size <= _LARGEST_CAPTION:
            return " ".join(beside.read_text(encoding="utf-8", errors="replace").split())
        return _recorded_caption(read_record(self.path).record)


@dataclass(frozen=True, slots=True)
class ShardSource(Source):
    """A sample of a shard, read by its place in the archive."""

    key: str
    shard: str
    video: Member
    text: Member | None

    @property
    def place(self) -> str:  # type: ignore[override]
        """The archive and the member."""
        return f"{self.shard}, sample {self.video.key}"

    def content(self) -> str:
        """Return the sha256 of the video's bytes."""
        return hashlib.sha256(self._bytes(self.video)).hexdigest()

    def read(self, rule: ClipRule) -> Clip:
        """Decode its window."""
        data = self._bytes(self.video)

        def opener() -> AbstractContextManager[InputContainer]:
            return open_video(io.BytesIO(data), self.place)

        return read_clip(opener, rule, self.key, self.place)

    def caption(self) -> str:
        """Return the sample's text."""
        if self.text is None or self.text.size > _LARGEST_CAPTION:
            return ""
        return " ".join(self._bytes(self.text).decode("utf-8", "replace").split())

    def _bytes(self, member: Member) -> bytes:
        with open_archive(self.shard) as archive:
            return read_member(archive, member, self.shard)


@dataclass(frozen=True, slots=True)
class SpriteSource(Source):
    """A clip of SpriteWorld, rendered when it is read, with its exact flow."""

    key: str
    world: SpriteWorld
    seed: int
    fps: float

    @property
    def knows_flow(self) -> bool:  # type: ignore[override]
        """Renderings have exact flow."""
        return True

    @property
    def place(self) -> str:  # type: ignore[override]
        """The seed."""
        return f"SpriteWorld, seed {self.seed}"

    def content(self) -> str:
        """Return what the rendering follows from."""
        return f"{self.world!r}/{self.seed}"

    def read(self, rule: ClipRule) -> Clip:
        """Render it; a window of its flow is known where the rule changes nothing."""
        clip = self.world.clip(self.seed)
        whole = window_of(clip.frames, self.fps, rule, self.key, self.place)
        if whole.frames.shape != clip.frames.shape or rule.stride != 1 or rule.fps is not None:
            return whole
        return Clip(whole.frames, whole.fps, "raw", clip.flow, clip.visible)

    def caption(self) -> str:
        """Return its full caption."""
        return self.world.describe(self.seed).caption


def find_sources(text: str) -> list[Source]:
    """Find the videos that a user means, ordered by key.

    Args:
        text: a folder of videos or of shards, a video, a tar, a pattern, or a list: ``.txt`` (a
            path a line), ``.csv`` or ``.jsonl`` (column ``video`` and, where there are captions,
            ``caption``); paths in a list are relative to it.

    Raises:
        DataError: nothing there, or a video named twice.
    """
    path = Path(text)
    found: list[Source]
    if path.is_dir():
        videos = [file for file in path.rglob("*") if _is_video(file)]
        found = [FileSource(_key(file, path), file) for file in videos]
        if not found and any(path.glob("*.tar")):
            found = list(_shard_sources(text))
    elif text.endswith(".tar") or "{" in text:
        found = list(_shard_sources(text))
    elif has_magic(text):
        fixed = Path(*path.parts[: _magic_part(path)])
        files = fixed.glob(path.relative_to(fixed).as_posix())
        found = [FileSource(_key(file, fixed), file) for file in files if _is_video(file)]
    elif path.is_file() and path.suffix.lower() in _LISTS:
        found = list(_listed_sources(path))
    elif path.is_file():
        found = [FileSource(path.stem, path)]
    else:
        raise DataError(f"{text}: no such file, folder or pattern.")
    if not found:
        raise DataError(
            f"{text}: no video there; looked for {', '.join(VIDEO_SUFFIXES[:6])} and others, and "
            "for shards (*.tar)."
        )
    found.sort(key=lambda source: source.key)
    for first, second in pairwise(found):
        if first.key == second.key:
            raise DataError(
                f"{text}: {first.place} and {second.place} share the name {first.key!r}; a set "
                "holds a video once, since counting it twice would change every figure."
            )
    return found


def drawn_order(sources: Sequence[Source], seed: int) -> list[Source]:
    """Return the sources in an order that depends on their keys and the seed alone."""

    def rank(source: Source) -> bytes:
        return hashlib.sha256(f"{seed}/order/{source.key}".encode()).digest()

    return sorted(sources, key=rank)


def sprite_sources(world: SpriteWorld, first_seed: int, count: int, fps: float) -> list[Source]:
    """Return clips of SpriteWorld by seed."""
    return [
        SpriteSource(f"{seed:012d}", world, seed, fps)
        for seed in range(first_seed, first_seed + count)
    ]


def _shard_sources(text: str) -> Iterator[Source]:
    for shard in find_shards(text):
        stem = Path(shard).stem
        videos: dict[str, Member] = {}
        texts: dict[str, Member] = {}
        with open_archive(shard) as archive:
            for member in scan_members(archive, shard):
                if member.problem:
                    raise DataError(f"{shard}: {member.problem}; refused.")
                if member.suffix in VIDEO_SUFFIXES:
                    videos.setdefault(member.key, member)
                elif member.suffix == "txt":
                    texts[member.key] = member
        for key, video in videos.items():
            yield ShardSource(f"{stem}/{key}", shard, video, texts.get(key))


def _listed_sources(path: Path) -> Iterator[Source]:
    for number, (name, caption) in enumerate(_rows(path), 1):
        video = path.parent / name
        if not video.is_file():
            raise DataError(f"{path}, entry {number}: {name}: no such file.")
        yield FileSource(Path(name).with_suffix("").as_posix(), video, caption)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list ({error}).") from error
    if path.suffix == ".txt":
        yield from ((line.strip(), "") for line in text.splitlines() if line.strip())
        return
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
    else:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f"{path}: not JSON Lines ({error}).") from error
    for number, row in enumerate(rows, 1):
        name = next((row[c] for c in _COLUMNS if isinstance(row, dict) and row.get(c)), None)
        if not isinstance(name, str):
            raise DataError(f"{path}, entry {number}: no {' or '.join(_COLUMNS)}.")
        caption = row.get("caption") or row.get("prompt") or ""
        yield name, " ".join(str(caption).split())


def _recorded_caption(record: Mapping[str, Any] | None) -> str:
    prompt = record.get("prompt") if record else None
    if isinstance(prompt, str) and prompt.strip():
        return " ".join(prompt.split())
    return hints(record).appearance or ""


def _is_video(path: Path) -> bool:
    named = path.suffix.lower().lstrip(".") in _SUFFIXES and not path.name.startswith(".")
    return named and path.is_file()


def _key(file: Path, root: Path) -> str:
    return file.relative_to(root).with_suffix("").as_posix()


def _magic_part(path: Path) -> int:
    return next(index for index, part in enumerate(path.parts) if has_magic(part))
