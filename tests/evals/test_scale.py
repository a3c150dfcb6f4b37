"""Many videos, long ones, kills, and several processes: memory stays flat and figures the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fdream.core.device import DeviceManager
from fdream.core.report import SilentReporter
from fdream.core.sizes import Size
from fdream.data.encoding import Encoding
from fdream.data.writers import save_video
from fdream.evals.clips import ClipRule
from fdream.evals.measuring import Pass, SetMeasurer
from fdream.evals.sets import FileSource, Source
from fdream.stages import registry

pytestmark = pytest.mark.slow


def noisy_clip(seed: int, frames: int, side: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)
    return coarse.repeat(side // 16, axis=1).repeat(side // 16, axis=2)


def many(tmp_path: Path, base: Path, count: int) -> list[Source]:
    """Files of the same frames and other bytes: what follows the last box is not decoded."""
    data, sources = base.read_bytes(), []
    for number in range(count):
        path = tmp_path / f"{base.stem}{number:05d}.mp4"
        path.write_bytes(data + number.to_bytes(8))
        sources.append(FileSource(path.stem, path))
    return sources


def megabytes_after(job: Pass, sources: Sequence[Source], checks: Sequence[int]) -> list[float]:
    """Resident memory after so many of the sources."""
    measurer, process, found, done = SetMeasurer(job, SilentReporter()), psutil.Process(), [], 0
    for upto in checks:
        measurer.measure(sources[done:upto], None, "videos")
        found.append(process.memory_info().rss / 1e6)
        done = upto
    return found


def test_memory_is_flat_in_the_number_of_videos(tmp_path: Path) -> None:
    base = tmp_path / "base.mp4"
    save_video(base, noisy_clip(0, 16, 256), 8, Encoding("mp4"))
    sources = many(tmp_path, base, 420)
    metric = registry.build("metric", "fvd-sprite", {}, device=DeviceManager.choose("cpu"))
    rule = ClipRule(frames=16, size=Size(256, 256))
    job = Pass(rule, {"fvd-sprite": metric}, tmp_path / "cache", frozen=frozenset({"fvd-sprite"}))
    early, late = megabytes_after(job, sources, [100, 420])
    slope = (late - early) / 320
    # 2,048 clips of this size are 6.4 GB of pixels.
    assert slope < 0.15, f"{slope:.3f} MB a clip"
    assert late + slope * (2048 - 420) < 3000


def test_memory_is_flat_in_the_length_of_a_video(tmp_path: Path) -> None:
    base = tmp_path / "long.mp4"
    save_video(base, noisy_clip(0, 1200, 256), 8, Encoding("mp4"))  # 236 MB of pixels
    metric = registry.build("metric", "fvd-sprite", {}, device=DeviceManager.choose("cpu"))
    rule = ClipRule(frames=16, size=Size(256, 256), start="random")
    job = Pass(rule, {"fvd-sprite": metric}, tmp_path / "cache")
    early, late = megabytes_after(job, many(tmp_path, base, 24), [12, 24])
    assert late - early < 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(24):
        clip = noisy_clip(number, 8, 64)
        save_video(tmp_path / "videos" / f"{number:02d}.mp4", clip, 8, Encoding("mp4"))
    return tmp_path / "videos"


def command(folder: Path, *more: str) -> list[str]:
    return ["eval", "-m", "fvd-sprite", "-s", "clips.frames=8", "-s", "clips.size=64", "--real",
            str(folder), "--fake", str(folder), "--json", *more]  # fmt: skip


def run(arguments: list[str], cache: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FDREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, **more
    )


def figures(text: str) -> dict[str, float]:
    return {name: figure["value"] for name, figure in json.loads(text)["figures"].items()}


def test_a_killed_run_goes_on_and_finds_the_same(folder: Path, tmp_path: Path) -> None:
    whole = run(["-m", "fdream", *command(folder)], tmp_path / "fresh")
    assert whole.returncode == 0, whole.stderr
    cache = tmp_path / "killed"
    environment = {**os.environ, "FDREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    # Rows are written every twenty seconds; here at once, so that a kill finds some.
    started = subprocess.Popen(
        [sys.executable, "-c", "import fdream.evals.row_store as s, sys; s._SECONDS = 0\n"
         "from fdream.cli.app import run; sys.exit(run(sys.argv[1:]))",
         *command(folder, "-s", "measure.batch_size=1")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(cache.rglob("*.safetensors"))) < 4:
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.wait()
    parts = {part: part.stat().st_mtime_ns for part in cache.rglob("*.safetensors")}
    assert parts
    resumed = run(["-m", "fdream", *command(folder)], cache)
    assert resumed.returncode == 0, resumed.stderr
    for name, value in figures(whole.stdout).items():
        assert figures(resumed.stdout)[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
    assert all(part.stat().st_mtime_ns == changed for part, changed in parts.items())


def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path) -> None:
    alone = run(["-m", "fdream", *command(folder)], tmp_path / "one")
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
              "-m", "fdream"]  # fmt: skip
    both = run([*launch, *command(folder)], tmp_path / "two")
    assert both.returncode == 0, both.stderr
    for name, value in figures(alone.stdout).items():
        assert figures(both.stdout)[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_ray_finds_what_one_process_finds(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    alone = run(["-m", "fdream", *command(folder)], tmp_path / "one")
    spread = run(["-m", "fdream", *command(folder, "--engine", "ray")], tmp_path / "ray")
    assert spread.returncode == 0, spread.stderr
    assert figures(alone.stdout).keys() == figures(spread.stdout).keys()
    for name, value in figures(alone.stdout).items():
        assert figures(spread.stdout)[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
