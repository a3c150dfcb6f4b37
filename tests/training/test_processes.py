"""Several processes on shards: they learn what one learns, and one that is lost is told of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fdream.models.bundle import Bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="forks as POSIX has them"),
]

# What a launcher does, but torch is imported once for all: each job is a number of processes, what
# they find in their environment, and the words of their command. Their exit codes are printed.
TOGETHER = """
import faulthandler, json, os, socket, sys
import accelerate, diffusers, transformers
import fdream.pipelines.training
from fdream.cli.app import run
from fdream.core.errors import DataError
from fdream.training.clips.index import ClipRecord

def lose_the_third_clip():
    read, count = ClipRecord.read, 0
    def counted(self):
        nonlocal count
        count += 1
        if count == 3:
            raise DataError("the shard is gone")
        return read(self)
    ClipRecord.read = counted

def train(count, environment, words):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = {"WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    children = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            faulthandler.dump_traceback_later(300, exit=True)  # a hang is told, with its place
            if count > 1:
                where |= {"RANK": rank, "LOCAL_RANK": rank}
                os.environ.update({k: str(v) for k, v in where.items()} | environment)
            if rank == 1 and environment.get("LOSE"):
                lose_the_third_clip()
            os.dup2(2, 1)
            os._exit(run(words))
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

print(json.dumps([train(*job) for job in json.loads(sys.argv[1])]))
"""

Job = tuple[int, dict[str, str], list[str]]


def together(jobs: list[Job]) -> tuple[list[list[int]], str]:
    """Run jobs one after the other; their processes' exit codes, and all they said."""
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, json.dumps(jobs)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def short_of_a_clip(tmp_path: Path, write_shard, clip_file, sprite_frames) -> Path:
    """Shards of three whole clips and one that ends before its time."""
    whole = [clip_file(f"c{k}", sprite_frames(k)) for k in range(3)]
    short = clip_file("short", sprite_frames(9, frames=3), promised=6)
    return write_shard(tmp_path / "shards" / "0.tar", [*whole, short]).parent


@pytest.fixture
def words(tmp_path: Path, sets: Callable[..., list[str]], short_of_a_clip: Path) -> Any:
    """The command of a small run on those shards, by the name of its folder."""

    def make(name: str, **more: str) -> list[str]:
        changes = {"data.options.shards": json.dumps(str(short_of_a_clip))}
        changes |= {"run.output": json.dumps(str(tmp_path / name)), "run.threads": "1"}
        changes |= {"train.steps": "4", "train.probe_every": "0"} | more
        return ["train", "webvid", *sets("webvid", **changes)]

    return make


def rows(folder: Path) -> list[dict[str, Any]]:
    """What the steps of a run logged."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def newest(folder: Path) -> Path:
    """The last checkpoint of a run."""
    return max((folder / "checkpoints").glob("step-*"))


def same_learning(one: Path, two: Path) -> None:
    """Hold the losses of two runs together."""
    assert [row["step"] for row in rows(two)] == [1, 2, 3, 4]
    for ours, theirs in zip(rows(one), rows(two), strict=True):
        for key in ("loss", "denoising", "flow", "grad_norm"):
            close = pytest.approx(ours[key], rel=1e-5, abs=1e-7)
            assert theirs[key] == close, (two.name, ours["step"], key)


def test_two_processes_on_shards_learn_what_one_learns(tmp_path: Path, words: Any) -> None:
    jobs: list[Job] = []
    for cache in ("true", "false"):
        for count, workers in ((1, "0"), (2, "2")):
            keys = {"data.options.cache": cache, "data.workers": workers}
            jobs.append((count, {}, words(f"{cache}{count}", **keys)))
    codes, told = together(jobs)
    assert codes == [[0], [0, 0]] * 2, told[-3000:]
    for cache in ("true", "false"):
        one, two = (tmp_path / f"{cache}{count}" for count in (1, 2))
        same_learning(one, two)
        # Both leave out the same clip, whichever of them had to read it.
        for folder in (one, two):
            lines = (folder / "quarantine.jsonl").read_text().splitlines()
            assert [json.loads(line)["clip"] for line in lines] == ["0.tar/short"], folder


SPREAD = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def test_weights_may_be_spread_over_processes_for_a_while(tmp_path: Path, words: Any) -> None:
    keys = {
        "objective.spatial": "full",
        "train.gradient_checkpointing": "true",
        "train.probe_every": "2",
        "train.schedule": "constant",
    }
    short = {**keys, "train.steps": "2"}
    jobs: list[Job] = [
        (1, {}, words("alone", **keys)),
        (2, SPREAD, words("spread", **keys)),
        # The checkpoints of both are the same.
        (2, SPREAD, words("gathered", **short)),
        (1, {}, words("gathered", **keys)),
        (1, {}, words("parted", **short)),
        (2, SPREAD, words("parted", **keys)),
    ]
    codes, told = together(jobs)
    assert codes == [[0] * count for count, _, _ in jobs], told[-3000:]
    alone = newest(tmp_path / "alone")
    for name in ("spread", "gathered", "parted"):
        same_learning(tmp_path / "alone", tmp_path / name)
        for part in ("weights", "ema", "optimizer"):
            theirs = load_file(newest(tmp_path / name) / f"{part}.safetensors")
            ours = load_file(alone / f"{part}.safetensors")
            assert set(theirs) == set(ours)
            # Adam turns rounding in gradients near zero into whole steps.
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, atol=1e-4, rtol=1e-4, msg=key)
        held = Bundle.open(tmp_path / name)
        for component in ("motion", "unet"):
            for key, value in Bundle.open(tmp_path / "alone").load(component).state_dict().items():
                same = held.load(component).state_dict()[key]
                torch.testing.assert_close(same, value, atol=1e-4, rtol=1e-4, msg=key)
    probed = [
        [row["flow_ratio"] for row in rows(tmp_path / name) if "flow_ratio" in row]
        for name in ("alone", "spread")
    ]
    assert len(probed[0]) == len(probed[1]) == 2


def test_a_process_that_is_lost_ends_the_others_with_the_reason(tmp_path: Path, words: Any) -> None:
    lost = words("lost", **{"data.options.cache": "false", "train.steps": "50"})
    codes, told = together([(2, {"LOSE": "1"}, lost)])
    assert codes == [[5, 4]], told[-3000:]
    assert "the shard is gone" in told
    assert "another process of this run" in told
    assert "bug in fdream" not in told


# Two processes fail in their step, again and again: each time, their error is let go of along with
# all that the step held.
FAILING = """
import faulthandler, os
import torch
from torch import nn
from fdream.core.device import DeviceManager
from fdream.training.engine import Engine, EngineOptions

torch.set_num_threads(1)
device = DeviceManager.choose("cpu").for_training()
rank = 0 if os.fork() else 1
faulthandler.dump_traceback_later(120, exit=True)
os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost")

def fail(engine):
    layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
    model, _ = engine.prepare(layers, torch.optim.SGD(layers.parameters()))
    loss = model(torch.randn(4, 64)).square().mean()
    for _ in range(20):
        torch.distributed.all_reduce(torch.ones(1000))
    engine.backward(loss)
    raise ValueError("lost")

def run():
    engine = Engine(device, EngineOptions())
    try:
        fail(engine)
    finally:
        engine.close()

for port in os.environ["PORTS"].split(","):
    os.environ["MASTER_PORT"] = port
    try:
        run()
    except ValueError:
        pass
if rank == 0:
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_process_that_fails_ends_whatever_its_threads_are_doing() -> None:
    ports = []
    for _ in range(40):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            ports.append(str(free.getsockname()[1]))
    done = subprocess.run(
        [sys.executable, "-c", FAILING],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PORTS": ",".join(ports)},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0"]), done.stderr[-3000:]
