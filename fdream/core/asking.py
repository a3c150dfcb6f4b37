"""A question changes nothing: whoever would fetch or convert weights looks here first.

A dry run, ``--explain``, ``fdream doctor`` and ``fdream models`` ask by the methods that a run
calls too. In a run these bring onto the machine what is missing; for an answer they must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_ASKING: Final = ContextVar("fdream_asking", default=False)


@contextmanager
def asking() -> Iterator[None]:
    """Within, nothing is fetched or converted: what would be is told by a ``WeightsError``.

    It holds for the calling thread alone.
    """
    before = _ASKING.set(True)
    try:
        yield
    finally:
        _ASKING.reset(before)


def is_asked() -> bool:
    """Whether this is for an answer alone."""
    return _ASKING.get()
