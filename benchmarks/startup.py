"""How long ``fdream --help`` takes: ``python benchmarks/startup.py [--repeats N]``.

Writes JSON to stdout: the median and all times, in seconds of wall time, each in a new process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "fdream", "--help"]


def seconds() -> float:
    """Run the command once and return its wall time."""
    started = time.perf_counter()
    subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    seconds()  # fills the disk cache and writes byte code
    times = [seconds() for _ in range(repeats)]
    report = {
        "benchmark": "startup",
        "command": "fdream --help",
        "median_s": round(statistics.median(times), 4),
        "times_s": [round(t, 4) for t in times],
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
