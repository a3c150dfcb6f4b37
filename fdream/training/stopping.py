"""Being asked to stop: the step in flight ends, everything is saved, and the exit code says why."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fdream.core.errors import FdreamError


class Stopped(FdreamError):
    """The run was asked to stop and has saved; running the same command again continues it."""

    def __init__(self, signum: int, step: int) -> None:
        # The one error whose code depends on what happened.
        self.exit_code = 130 if signum == signal.SIGINT else 143  # type: ignore[misc]
        super().__init__(
            f"stopped at step {step} and saved; run the same command again to continue."
        )


@contextmanager
def listening() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the step in flight ends and is saved; a second signal kills."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may listen; there the caller stops the run otherwise
        return

    def note(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)
        signal.signal(signum, before[signum])

    before: dict[int, Any] = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for signum in before:
        signal.signal(signum, note)
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
