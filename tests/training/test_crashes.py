"""Kills, full disks and other numbers of processes: real processes, so minutes, not seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kills and forks as POSIX has them"),
]

TINY = [
    "data.options.sprites=plain",
    "data.options.size=[32, 32]",
    "data.options.frames=4",
    "data.validation=8",
    "train.batch_size=4",
    "train.schedule=constant",
    "train.log_every=1",
    "run.threads=1",
]
AUTOENCODER = [
    "pocket/vae",
    *("objective.width=8", "objective.depth=1", "objective.latent_channels=4"),
    "objective.fit_pictures=16",
]
CLIP = [
    "pocket/clip",
    *("objective.width=16", "objective.text_layers=1", "objective.image_layers=1"),
    *("objective.heads=2", "objective.image_size=16"),
]
IMAGE = [
    "pocket/t2i",
    *("objective.channels=[16, 32]", "objective.layers=1", "objective.heads=2"),
    *("objective.stills=12", "objective.sheet_steps=2", "train.compile=false"),
]
VIDEO = [
    "pocket/video",
    *("objective.clips=6", "objective.frames=4", "objective.sheet_steps=2"),
    *("objective.motion.image_width=16", "objective.motion.motion_width=16"),
    *("objective.motion.head_width=8", "objective.motion.level_width=16"),
    *("objective.motion.pixel_stem_channels=[8, 8]", "objective.motion.pixel_aware_channels=16"),
    "objective.motion.temporal_conv_channels=[8, 16]",
    "objective.motion.temporal_attention_channels=[16, 16]",
]


def command(recipe: list[str], output: Path, *changes: str) -> list[str]:
    words = ["fdream", "train", recipe[0], "--device", "cpu"]
    if recipe in (IMAGE, VIDEO):  # they favour sprites that are not among the plain ones
        words += ["--unset", "data.options.emphasis"]
    for change in (*TINY, *recipe[1:], f"run.output={json.dumps(str(output))}", *changes):
        words += ["-s", change]
    return words


def run(words: list[str], launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *launcher, *words], capture_output=True, text=True, check=False
    )


def torchrun(count: int) -> tuple[str, ...]:
    """Start several processes that talk over gloo, on a port of the system's choice."""
    where = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")
    return ("torch.distributed.run", *where, "--nproc-per-node", str(count), "-m")


def rows(folder: Path) -> dict[int, dict[str, float]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines) if "loss" in row}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = max((folder / "checkpoints").glob("step-*"))
    return load_file(newest / "weights.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny text-to-image stage."""
    place = tmp_path_factory.mktemp("base")
    before: list[str] = []
    for recipe in (AUTOENCODER, CLIP, IMAGE):
        done = run(command(recipe, place / recipe[0][7:], "train.steps=2", *before))
        assert done.returncode == 0, done.stderr
        before = [f"train.init_from={json.dumps(str(place / recipe[0][7:]))}"]
    return place / "t2i"


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video run of four steps in one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = run(command(VIDEO, folder, f"train.init_from={base}", "train.steps=4"))
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_learn_what_one_learns(base: Path, alone: Path, tmp_path: Path) -> None:
    words = command(VIDEO, tmp_path / "two", f"train.init_from={base}", "train.steps=4")
    done = run(words, torchrun(2))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two'}\n"  # one of them speaks
    one, two = rows(alone), rows(tmp_path / "two")
    assert sorted(two) == [1, 2, 3, 4]
    for step, row in one.items():
        for key in ("loss", "denoising", "flow", "grad_norm", "lr"):
            assert two[step][key] == pytest.approx(row[key], rel=1e-5, abs=1e-7), (step, key)
    ours, theirs = weights(alone), weights(tmp_path / "two")
    # Adam turns rounding in gradients near zero into steps of full length, 2e-5 at most here.
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, atol=1e-4, rtol=1e-5, msg=key)


def test_accelerate_launches_it_too(base: Path, alone: Path, tmp_path: Path) -> None:
    words = command(VIDEO, tmp_path / "run", f"train.init_from={base}", "train.steps=2")
    launcher = ("accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines")
    launcher += ("1", "--mixed_precision", "no", "--dynamo_backend", "no")
    done = run(words, (*launcher, "--main_process_port", "0", "-m"))
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "run")[2]["loss"] == pytest.approx(rows(alone)[2]["loss"], rel=1e-5)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(
    base: Path, alone: Path, tmp_path: Path, first: int, then: int
) -> None:
    folder = tmp_path / "run"
    for count, steps in ((first, 2), (then, 4)):
        words = command(VIDEO, folder, f"train.init_from={base}", f"train.steps={steps}")
        done = run(words, torchrun(count) if count > 1 else ())
        assert done.returncode == 0, done.stderr
    assert sorted(rows(folder)) == [1, 2, 3, 4]
    for step, row in rows(alone).items():
        assert rows(folder)[step]["loss"] == pytest.approx(row["loss"], rel=1e-5), step


def test_processes_that_cannot_share_a_batch_are_refused(tmp_path: Path) -> None:
    done = run(command(AUTOENCODER, tmp_path / "run", "train.steps=2"), torchrun(2))
    assert done.returncode != 0
    assert "train it with one process" in done.stderr


def test_a_resume_is_proved(tmp_path: Path) -> None:
    words = command(AUTOENCODER, tmp_path / "run", "train.steps=8")
    done = run([*words, "--prove-resume", "--json"])
    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)
    assert proof["steps"] == 8
    assert 1 <= proof["killed_after"] <= 8
    assert proof["resumed_at"] <= proof["killed_after"]
    assert json.loads((tmp_path / "run" / "resume-proof.json").read_text()) == proof
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_sigterm_saves_and_exits_143(tmp_path: Path) -> None:
    words = command(AUTOENCODER, tmp_path / "run", "train.steps=100000", "train.save_every=100000")
    process = subprocess.Popen([sys.executable, "-m", *words], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not log.is_file():
        pass
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert "run the same command again" in err


# Forks: each child trains in a fresh process without importing torch again. Every action of a save
# that touches the disk is an event; the child kills itself at one of them.
KILLER = """
import json, os, pathlib, shutil, signal, sys
import torch
from fdream.cli.app import run
from fdream.models import bundle
from fdream.training import checkpoints

words = json.loads(sys.argv[1])
place = pathlib.Path(sys.argv[2])

def train(folder, at):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        count = 0
        def event(original):
            def counted(*args, **options):
                nonlocal count
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **options)
            return counted
        if at is not None:
            checkpoints.save_file = event(checkpoints.save_file)
            os.fsync = event(os.fsync)
            os.rename = event(os.rename)
            shutil.rmtree = event(shutil.rmtree)
            pathlib.Path.rename = event(pathlib.Path.rename)
        code = run([*words, "-s", "run.output=" + json.dumps(str(folder))])
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def weights(folder):
    newest = max((folder / "checkpoints").glob("step-*"))
    return (newest.name, (newest / "weights.safetensors").read_bytes())

assert train(place / "whole", None) == 0
wanted = weights(place / "whole")
killed = 0
for at in range(1, 200, int(sys.argv[3])):
    folder = place / f"killed-{at}"
    code = train(folder, at)
    if code == 0:
        break
    assert code == -signal.SIGKILL, (at, code)
    killed += 1
    assert train(folder, None) == 0, at
    assert weights(folder) == wanted, at
    left = sorted(p.name for p in (folder / "checkpoints").iterdir())
    assert not [n for n in left if "partial" in n], left
    shutil.rmtree(folder)
print(killed)
"""


def kills(words: list[str], place: Path, every: int = 1) -> int:
    """Kill runs at every so-manieth event of their saves, resume them, and count the kills."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, json.dumps(words), str(place), str(every)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


@pytest.mark.timeout(1200)  # thirty runs and as many resumed ones
def test_kill_9_anywhere_in_a_save_loses_nothing(tmp_path: Path) -> None:
    words = command(AUTOENCODER, tmp_path, "train.steps=4", "train.save_every=2")
    # The output is each child's own.
    words = [*words[1:], "-s", "objective.fit_pictures=4", "-s", "data.validation=2"]
    assert kills(words, tmp_path) >= 20  # events of two saves


@pytest.mark.timeout(1200)
def test_kill_9_in_a_save_loses_nothing_of_a_run_on_shards(
    tmp_path: Path, sets: Callable[..., list[str]]
) -> None:
    more = {"run.threads": "1", "train.save_every": "1", "train.probe_every": "0"}
    words = ["train", "webvid", *sets("webvid", **more)]
    assert kills(words, tmp_path, every=9) >= 3


def test_a_resume_is_proved_on_shards(tmp_path: Path, sets: Callable[..., list[str]]) -> None:
    more = {"run.threads": "1", "train.steps": "4", "run.output": json.dumps(str(tmp_path / "r"))}
    words = ["fdream", "train", "webvid", *sets("webvid", **more)]
    done = run([*words, "--prove-resume", "--json"])
    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)
    assert proof["steps"] == 4
    assert proof["resumed_at"] <= proof["killed_after"]


FULL = """
import resource, signal, sys
from fdream.cli.app import run

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(run(sys.argv[2:]))
"""


def test_a_full_disk_is_exit_6_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(command(AUTOENCODER, folder, "train.steps=2")).returncode == 0
    before = weights(folder)
    words = command(AUTOENCODER, folder, "train.steps=4")[1:]
    # As on a disk that takes no more: files longer than this fail in the middle of a write.
    full = subprocess.run(
        [sys.executable, "-c", FULL, "20000", *words], capture_output=True, text=True, check=False
    )
    assert full.returncode == 6, full.stderr
    assert "the last checkpoint is whole" in full.stderr
    assert all(torch.equal(value, before[key]) for key, value in weights(folder).items())
    assert run(command(AUTOENCODER, folder, "train.steps=4")).returncode == 0
    assert sorted(rows(folder)) == [1, 2, 3, 4]
