"""The scripts under examples/ run as they stand."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIPS = ROOT.parent / "shared" / "data" / "clips"


def children_s() -> float:
    """Processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
def test_the_chain_goes_from_real_clips_to_figures(tmp_path: Path) -> None:
    before = children_s()
    ran = subprocess.run(
        ["sh", str(ROOT / "examples" / "chain.sh"), str(CLIPS), str(tmp_path / "work")],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FDREAM_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    # Five minutes on one core that does nothing else: a bound that other work cannot break.
    assert children_s() - before < 300
    work = tmp_path / "work"
    result = json.loads((work / "result.json").read_text())
    pairs = (work / "pairs.jsonl").read_text().splitlines()
    assert result["fake"]["count"] == len(pairs) > 15
    assert result["real"]["count"] > 50
    assert {"fvd_sprite", "kvd_sprite", "dynamic_degree", "psnr_first_frame"} <= set(
        result["figures"]
    )
    # A folder of clips without captions: the names of its files stand in.
    assert "flipping a pancake" in {json.loads(line)["caption"] for line in pairs}
    assert "<video" in (work / "report.html").read_text()
    made = next((work / "videos").glob("*.mp4"))
    shown = subprocess.run(
        [sys.executable, "-m", "fdream", "show", str(made), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "dreamer" in shown.stdout
