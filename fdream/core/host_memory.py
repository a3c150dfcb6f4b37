"""How much memory this machine, or the container it runs in, has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED: Final = Path("/sys/fs/cgroup/memory.current")
_MEMINFO: Final = Path("/proc/meminfo")


def total_bytes() -> int | None:
    """Return what may be used in all, or None where the system does not say."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
    limit = _number(_CGROUP_LIMIT)
    return physical if limit is None else min(physical, limit)


def free_bytes() -> int | None:
    """Return what may still be used, or None where the system does not say."""
    available = _available()
    limit, used = _number(_CGROUP_LIMIT), _number(_CGROUP_USED)
    if available is None or limit is None or used is None:
        return available
    return min(available, max(limit - used, 0))


def peak_bytes() -> int | None:
    """Return the largest resident size of this process so far, or None where unknown."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    """Read a control-group file; ``max`` and a missing file both mean no limit."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def gpu_bytes() -> int | None:
    """Return the memory of the smallest NVIDIA GPU as its driver tells it, or None without one.

    The driver's own tool is asked, so that this process takes no memory there.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(int(line) for line in told.split()) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # a tool without a driver, or without a GPU
