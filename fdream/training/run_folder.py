"""The folder of a run: what lies where, and that one process at a time writes there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fdream.core.errors import OutputError
from fdream.core.paths import atomic_write


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what it makes."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def sheets(self) -> Path:
        return self.root / "sheets"

    @property
    def samples(self) -> Path:
        """Drawn videos, a folder a step."""
        return self.root / "samples"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine.jsonl"

    def make(self) -> None:
        """Make the folders inside."""
        for place in (self.checkpoints, self.cache, self.sheets):
            place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder; the lock dies with its process.

        Raises:
            OutputError: another process is training here, or the folder cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # The system lets go of it when the process ends, even by kill -9.
            with FileLock(self.root / ".lock", timeout=0):
                yield
        except Timeout:
            raise OutputError(
                f"{self.root}: another fdream train is using this run folder; wait for it, or "
                "choose another with -s run.output=FOLDER."
            ) from None
        except OSError as error:
            if error.filename is None or not Path(str(error.filename)).is_relative_to(self.root):
                raise
            raise OutputError(
                f"{self.root}: the run folder cannot be written ({error.strerror}); choose another "
                "with -s run.output=FOLDER."
            ) from error

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Append a row to the log."""
        _append(self.log, row)

    def quarantine_clip(self, name: str, reason: str, step: int) -> None:
        """Note a clip that could not be read."""
        _append(self.quarantine, {"step": step, "clip": name, "reason": reason})

    def quarantined(self) -> set[str]:
        """Return the names of the clips that were noted."""
        return {row["clip"] for row in self.quarantine_rows()}

    def quarantine_rows(self) -> list[dict[str, Any]]:
        """Return what was noted of clips that could not be read."""
        if not self.quarantine.is_file():
            return []
        lines = self.quarantine.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line]

    def write_samples(self, step: int, clips: Sequence[tuple[str, bytes]]) -> None:
        """Keep the videos of a step, MP4, with their captions."""
        place = self.samples / f"step-{step:08d}"
        place.mkdir(parents=True, exist_ok=True)
        names = {f"{number:02d}.mp4": clip for number, clip in enumerate(clips)}
        for name, (_, video) in names.items():
            with atomic_write(place / name) as aside:
                aside.write_bytes(video)
        captions = {name: caption for name, (caption, _) in names.items()}
        with atomic_write(place / "captions.json") as aside:
            aside.write_text(json.dumps(captions, indent=1), encoding="utf-8")

    @property
    def bytes_on_disk(self) -> int:
        """Size of all that the run has written, its cache included."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
