"""Worker processes that hostile files may kill: time and memory are limited, one sample is lost.

Decoders are a million lines of C that read what strangers wrote. Each source is therefore decoded
in a worker; one that crashes, hangs or eats memory ends its worker, is quarantined with the reason,
and the next source gets a new one. The processes and their deaths are pebble's business.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from pebble import ProcessExpired, ProcessPool

from fdream.core.errors import FdreamError
from fdream.core.prep_recipe import LimitsTable, PrepRecipe
from fdream.data.prep.clipping import SourceResult, Step, clip_source
from fdream.data.prep.sources.rows import SourceRow

if TYPE_CHECKING:
    from pebble import ProcessFuture

# Of the wall clock: a hang takes no processor time. Machines that are shared are slow.
_WALL_FACTOR: Final = 10
# Sources under way or done before their turn; while one long film is read, others go on.
_LOOKAHEAD: Final = 32
# A new process now and then, whatever a library may leak.
_SOURCES_A_WORKER: Final = 500


@dataclass(frozen=True, slots=True)
class Job:
    """One source to be clipped.

    Attributes:
        row: the source.
        recipe: what to do with it.
        spool: folder for its clips.
        until: the last step wanted.
    """

    row: SourceRow
    recipe: PrepRecipe
    spool: Path
    until: Step = "clip"


class IsolatedWorkers:
    """Worker processes, alive while the ``with`` block is."""

    def __init__(self, workers: int, limits: LimitsTable) -> None:
        """Prepare; processes start with the first job.

        Args:
            workers: how many.
            limits: the recipe's ``[limits]``.
        """
        self._workers, self._limits = workers, limits
        self._pool = ProcessPool(
            max_workers=workers,
            max_tasks=_SOURCES_A_WORKER,
            initializer=_prepare_worker,
            initargs=(limits.memory_mb,),
            context=_context(),
        )

    def __enter__(self) -> IsolatedWorkers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()

    def results(self, jobs: Iterable[Job]) -> Iterator[SourceResult]:
        """Yield what becomes of each job, in the order of the jobs.

        Raises:
            OutputError: clips cannot be written.
        """
        waiting: deque[ProcessFuture] = deque()
        for job in jobs:
            waiting.append(self._start(job))
            if len(waiting) >= _LOOKAHEAD * self._workers:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _start(self, job: Job) -> ProcessFuture:
        seconds = self._limits.seconds
        return self._pool.schedule(
            _clip_within, args=(job, seconds), timeout=seconds * _WALL_FACTOR
        )

    def _result(self, future: ProcessFuture) -> SourceResult:
        limits = self._limits
        try:
            found = future.result()
            assert isinstance(found, SourceResult), "the worker returns what clip_source does"
            return found
        except TookTooLong:
            problem = f"hung: no end after {limits.seconds * _WALL_FACTOR} s"
        except ProcessExpired as death:
            problem = _cause_of(death.exitcode, limits)
        except FdreamError:
            raise
        except MemoryError:
            problem = f"needs more than {limits.memory_mb} MB (limits.memory_mb)"
        except Exception as error:
            # A bug that one file brings out, ours or a library's, must not cost the others.
            problem = f"failed inside fdream ({type(error).__name__}: {error}); please report it"
        return SourceResult(problem=problem)


def _cause_of(exit_code: int | None, limits: LimitsTable) -> str:
    if exit_code == -getattr(signal, "SIGXCPU", 24):
        return f"needs more than {limits.seconds} s of processor time (limits.seconds)"
    if exit_code is not None and exit_code < 0:
        return f"the decoder crashed ({signal.Signals(-exit_code).name})"
    return f"the decoder crashed (exit {exit_code})"


def _clip_within(job: Job, seconds: int) -> SourceResult:
    _limit_processor_time(seconds)
    return clip_source(job.row, job.recipe, job.spool, job.until)


def _limit_processor_time(seconds: int) -> None:
    """Let this process use so much more; the system ends it after that."""
    if sys.platform != "win32":
        import resource

        used = int(time.process_time()) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, hard))


def _prepare_worker(memory_mb: int) -> None:
    """Limit this process, and see to it that it does not outlive the one it works for."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to handle
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if (taken := _address_space()) is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (taken + (memory_mb << 20), hard))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _address_space() -> int | None:
    """Bytes of address space that this process has mapped; None where the system does not say."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None


def _context() -> multiprocessing.context.BaseContext:
    """Fork from a clean process that has imported what workers need; spawn where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
