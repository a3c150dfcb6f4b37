"""A result that grows beside its place, and can be gone on with after a crash.

``out.csv`` is written as ``out.csv.part``; ``out.csv.part.json`` says which line of the input the
whole rows in it reach. Both vanish when the result takes its place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import atomic_write

_EVERY_S: Final = 2.0
"""How often the mark is moved on: what a crash costs."""


class PartialFile:
    """The part file of a result.

    Args:
        final: the result's place.
        job: what the rows depend on; a part of another job is not gone on with.
    """

    def __init__(self, final: Path, job: Mapping[str, Any]) -> None:
        self.final = final
        self.part = final.with_name(f"{final.name}.part")
        self._mark = final.with_name(f"{final.name}.part.json")
        self._job = dict(job)
        self._marked = time.monotonic()
        self._counts: dict[str, int] = {}
        self._file: IO[bytes] | None = None

    def reached(self) -> dict[str, int]:
        """Return the counts at the mark of an earlier run, such as its ``line``; empty: none.

        Raises:
            UsageError: the part was made by another job.
            OutputError: the mark cannot be read.
        """
        try:
            mark = json.loads(self._mark.read_text(encoding="utf-8"))
            job, counts = mark["job"], {str(k): int(v) for k, v in mark["counts"].items()}
            size = self.part.stat().st_size
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{self._mark} cannot be read ({error}); remove it and run without --resume."
            ) from error
        changed = sorted(name for name in self._job if job.get(name) != self._job[name])
        if changed or size < counts.get("bytes", 0):
            reason = f"another {' and '.join(changed)}" if changed else "a shorter file"
            raise UsageError(
                f"--resume: {self.part} was made with {reason}; run as before, or without --resume."
            )
        return counts

    @contextmanager
    def open(self, counts: Mapping[str, int]) -> Iterator[IO[bytes]]:
        """Open the part, cut off at the mark, and let it take its place at the end.

        Args:
            counts: from ``reached``; empty begins anew.

        Raises:
            OutputError: the place cannot be written.
        """
        self._counts = dict(counts)
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            with self.part.open("r+b" if counts else "wb") as file:
                file.truncate(counts.get("bytes", 0))
                file.seek(0, os.SEEK_END)
                self._file = file
                yield file
            self.part.replace(self.final)
            self._mark.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.final}: {error.strerror or error}. Choose another place with "
                "-o, or make room and go on with --resume."
            ) from error
        finally:
            self._file = None

    def reach(self, counts: Mapping[str, int], *, now: bool = False) -> None:
        """Say how far whole rows reach; the mark is moved on every few seconds.

        Args:
            counts: of the whole job, ``line`` among them.
            now: move the mark at once.
        """
        if not now and time.monotonic() - self._marked < _EVERY_S:
            return
        assert self._file is not None, "the part is open while rows are written"
        # First the rows, then the mark that vouches for them.
        self._file.flush()
        os.fsync(self._file.fileno())
        mark = {"job": self._job, "counts": {**counts, "bytes": self._file.tell()}}
        with atomic_write(self._mark) as aside:
            aside.write_text(json.dumps(mark), encoding="utf-8")
        self._marked = time.monotonic()
