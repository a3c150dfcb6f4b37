"""A folder of shards in which whole shards are replaced, one at a time, whatever happens.

The files of a shard are written aside, and when all are there their folder is renamed: from then on
the change is decided. Moving the files to their places may be interrupted at any point; ``recover``
finishes it. What was not decided is deleted. So a ``kill -9`` leaves each shard as it was before or
as it is after, and costs no more than the shard in flight.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from fdream.core.errors import OutputError

STATE: Final = "_prep"
"""Our own files beside the shards, where no reader of the layout looks."""
RECIPE: Final = "recipe.resolved.toml"
"""In ``STATE``: what the shards were made with."""
FILTERED: Final = "filtered"
"""Shards of the clips that did not pass, of the same layout."""
_READY: Final = ".ready"
_UNFINISHED: Final = ".writing"
_REMOVALS: Final = "remove.json"


def shard_name(number: int) -> str:
    """Return the stem that the files of a shard share."""
    return f"{number:05d}"


class ShardFolder:
    """A folder of shards, held by one process at a time."""

    def __init__(self, root: Path) -> None:
        """Name the folder; nothing is made or read yet."""
        self.root = root
        self.state = root / STATE
        self._staging = self.state / "staging"

    def tar(self, number: int) -> Path:
        """The archive of kept clips."""
        return self.root / f"{shard_name(number)}.tar"

    def filtered_tar(self, number: int) -> Path:
        """The archive of filtered clips; it may not exist."""
        return self.root / FILTERED / f"{shard_name(number)}.tar"

    def table(self, number: int) -> Path:
        """The table of all samples, kept or not."""
        return self.root / f"{shard_name(number)}.parquet"

    def stats(self, number: int) -> Path:
        """The counts; a shard is done when it has them."""
        return self.root / f"{shard_name(number)}_stats.json"

    def done(self) -> list[int]:
        """Return the numbers of the shards that are whole."""
        names = (path.name.removesuffix("_stats.json") for path in self.root.glob("*_stats.json"))
        return sorted(int(name) for name in names if name.isdigit())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, and finish or undo what a crash has left.

        Raises:
            OutputError: another process holds it, or it cannot be written.
        """
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            with (self.state / "lock").open("w") as lock:
                if not _lock(lock.fileno()):
                    raise OutputError(
                        f"{self.root}: another fdream is working on it; wait for that one, or name "
                        "another folder."
                    )
                self.recover()
                yield
        except OSError as error:
            raise OutputError(
                f"{self.root}: cannot be written ({error.strerror or error}); make room, check its "
                "permissions, or name another folder."
            ) from error

    def recover(self) -> None:
        """Finish what was decided and delete what was not."""
        for entry in sorted(self._staging.iterdir()):
            if entry.name.endswith(_READY):
                self._move_in(entry)
            else:
                shutil.rmtree(entry, ignore_errors=True)

    @contextmanager
    def replacing(self, number: int, remove: tuple[Path, ...] = ()) -> Iterator[Path]:
        """Yield a folder for the new files of a shard, which take their places on leaving.

        Args:
            number: of the shard.
            remove: files of the shard that go, unless they are among the new ones.
        """
        aside = self._staging / f"{shard_name(number)}{_UNFINISHED}"
        shutil.rmtree(aside, ignore_errors=True)
        (aside / FILTERED).mkdir(parents=True)
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        # A move may be repeated: what is removed must not be what was just moved in.
        names = [path.relative_to(self.root).as_posix() for path in remove]
        gone = [name for name in names if not (aside / name).exists()]
        (aside / _REMOVALS).write_text(json.dumps(gone), encoding="utf-8")
        decided = aside.with_suffix(_READY)
        aside.rename(decided)
        self._move_in(decided)

    def _move_in(self, decided: Path) -> None:
        """Move the files of a decided change to their places; may be repeated after a crash.

        Counts come last, because they say that the shard is whole.
        """
        removals = decided / _REMOVALS
        if removals.exists():  # the last to go, see below
            for name in json.loads(removals.read_text(encoding="utf-8")):
                (self.root / PurePosixPath(name)).unlink(missing_ok=True)
        files = [path for path in decided.rglob("*") if path.is_file() and path != removals]
        for path in sorted(files, key=lambda file: (file.name.endswith("_stats.json"), file.name)):
            place = self.root / path.relative_to(decided)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
        removals.unlink(missing_ok=True)
        shutil.rmtree(decided)


def _lock(descriptor: int) -> bool:
    """Take the lock; it goes with the process, so a crash leaves none behind."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: two runs on one folder are the user's to avoid
        return True
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
