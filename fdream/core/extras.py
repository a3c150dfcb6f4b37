"""Parts of fdream that need more than the core brings."""

from __future__ import annotations

from importlib.util import find_spec

from fdream.core.errors import UsageError


def require(extra: str, *modules: str) -> None:
    """Make sure that an extra is installed, before any of it is imported.

    Args:
        extra: its name in fdream's own metadata.
        modules: what it brings, by the names under which they are imported.

    Raises:
        UsageError: one is missing; says how to install them all.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this needs {', '.join(missing)}, not installed here: pip install 'fdream[{extra}]'"
        )
