"""Batches ahead of time: they are gathered in threads while the device computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """The values of a function of whole numbers, in order, some of them computed ahead.

    The function must depend on its number alone: how many threads there are, and which number comes
    first after a resume, then changes nothing.

    Args:
        function: from a number to its value; called from several threads at once.
        workers: how many threads; none computes each value when it is asked for.
    """

    def __init__(self, function: Callable[[int], T], workers: int) -> None:
        self._function = function
        self._depth = 2 * workers
        self._pool = ThreadPoolExecutor(workers, "fdream-batch") if workers else None
        self._pending: dict[int, Future[T]] = {}
        self.waited_s = 0.0
        """Seconds spent waiting for values so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, number: int) -> T:
        """Return a value; numbers are asked for in order."""
        started = time.perf_counter()
        try:
            if self._pool is None:
                return self._function(number)
            for ahead in range(number, number + self._depth):
                if ahead not in self._pending:
                    self._pending[ahead] = self._pool.submit(self._function, ahead)
            return self._pending.pop(number).result()
        finally:
            self.waited_s += time.perf_counter() - started
