"""A newcomer's first minute: ``python benchmarks/cold_t2v.py [--repeats N]``.

Runs ``fdream t2v "a corgi surfing"`` in new processes and writes JSON to stdout: wall time, the
processor time behind it and the largest resident memory, each with its median. Bars: 20 s, 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "a corgi surfing"


def one_run(folder: Path) -> dict[str, float]:
    """Make one video in a new process and return what it took."""
    command = [sys.executable, "-m", "fdream", "-q", "t2v", PROMPT, "--seed", "0"]
    started = time.perf_counter()
    child = subprocess.Popen([*command, "-o", str(folder / "out.mp4")], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed with status {status}.")
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * unit / 1e9,
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        runs = [one_run(Path(name)) for _ in range(repeats)]
    report = {
        "benchmark": "cold_t2v",
        "command": f'fdream t2v "{PROMPT}"',
        "median": {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]},
        "runs": [{key: round(value, 3) for key, value in run.items()} for run in runs],
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
