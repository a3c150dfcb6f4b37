"""Proof of resume: a run that was killed must end with the weights of one that was not.

The runs are processes of their own, so that a kill is a kill: nothing is flushed, no handler runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fdream.core.errors import CheckFailed, FdreamError

if TYPE_CHECKING:
    from fdream.core.report import Reporter

_FOREVER = 10**9
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a proof of resume found.

    Attributes:
        steps: length of both runs.
        killed_after: the last step that the killed run had logged.
        resumed_at: the step it went on from.
        sha256: of weights, averaged weights and optimizer state, by file; equal in both runs.
    """

    steps: int
    killed_after: int
    resumed_at: int
    sha256: dict[str, str]


def prove_resume(
    arguments: Sequence[str], output: Path, steps: int, reporter: Reporter
) -> Certificate:
    """Train twice, once killed at a random moment and resumed, and compare bit for bit.

    Args:
        arguments: of ``fdream train`` for this recipe, without this proof.
        output: the run folder that the recipe names; the proof works beside it.
        steps: how many to train.
        reporter: where progress goes.

    Raises:
        CheckFailed: the two runs differ; both are kept.
        FdreamError: one of them failed by itself.
    """
    place = output.with_name(output.name + ".proof")
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    changes = {
        "train.steps": steps,
        # The clock would decide the learning rate, and no two runs share one.
        "train.minutes": _FOREVER,
        "train.save_minutes": _FOREVER,
        "train.log_every": 1,
        "train.save_every": max(1, steps // 4),
        "train.eval_every": _FOREVER,
        "train.sample_every": _FOREVER,
    }
    command = [sys.executable, "-m", "fdream", "-q", "train", *arguments]
    for key, value in changes.items():
        command += ["-s", f"{key}={value}"]
    whole, killed = place / "whole", place / "killed"
    reporter.say(f"training {steps} steps without a break")
    finish_run(command, whole)
    if (whole / "cache").is_dir():
        shutil.copytree(whole / "cache", killed / "cache")
    after = random.SystemRandom().randrange(1, steps)
    reporter.say(f"training again, to be killed after step {after}")
    _kill_after(command, killed, after)
    resumed_at = _newest(killed)
    reporter.say(f"killed; going on from step {resumed_at}")
    logged = _last_step(killed)
    finish_run(command, killed)
    certificate = Certificate(steps, logged, resumed_at, _hashes(whole))
    differing = [
        name for name, value in _hashes(killed).items() if certificate.sha256[name] != value
    ]
    if differing:
        raise CheckFailed(
            f"killed after step {logged}, resumed at {resumed_at}: {', '.join(differing)} differ "
            f"from the unbroken run; both are kept in {place}. On CUDA, set "
            "train.deterministic=true; on a CPU, keep the number of threads."
        )
    shutil.rmtree(place)
    output.mkdir(parents=True, exist_ok=True)
    (output / "resume-proof.json").write_text(
        json.dumps(asdict(certificate), indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return certificate


def finish_run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Have a process of its own train to the end.

    Args:
        command: that trains.
        folder: of the run.
        environment: variables of the process, beside those of this one.

    Raises:
        FdreamError: it failed.
    """
    ended = subprocess.run(
        [*command, "-s", f"run.output={json.dumps(str(folder))}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if ended.returncode:
        raise FdreamError(
            f"the run failed by itself (exit {ended.returncode}): {ended.stderr.strip()[-500:]}"
        )


def _kill_after(command: Sequence[str], folder: Path, step: int) -> None:
    """Start a run and kill it once it has logged a step; it gets no chance to save."""
    process = subprocess.Popen(
        [*command, "-s", f"run.output={json.dumps(str(folder))}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while _last_step(folder) < step:
            if process.poll() is not None:
                raise FdreamError(
                    f"the run to be killed ended first (exit {process.returncode}); run the recipe "
                    "without --prove-resume to see why."
                )
            time.sleep(_POLL_S)
    finally:
        # Windows has no SIGKILL; there kill() is TerminateProcess, which is as sudden.
        process.kill() if sys.platform == "win32" else process.send_signal(signal.SIGKILL)
        process.wait()


def _last_step(folder: Path) -> int:
    log = folder / "log.jsonl"
    if not log.is_file():
        return 0
    whole_lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return int(json.loads(whole_lines[-1])["step"]) if whole_lines else 0


def _newest(folder: Path) -> int:
    from fdream.training.checkpoints import latest

    found = latest(folder / "checkpoints")
    return 0 if found is None else int(found.name.removeprefix("step-"))


def _hashes(folder: Path) -> dict[str, str]:
    from fdream.training.checkpoints import latest

    checkpoint = latest(folder / "checkpoints")
    assert checkpoint is not None, "a finished run has saved"
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(checkpoint.glob("*.safetensors"))
    }
