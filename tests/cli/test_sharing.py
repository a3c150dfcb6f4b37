"""A list of prompts shared out among processes: the same files as one process makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdream.cli import sharing
from fdream.cli.sharing import Part
from tests.cli.conftest import Fdream, Result

LINES = "a corgi\na corgi on the sea\na corgi\na duck\n"
"""The first and the third would have one name."""


@pytest.fixture
def fdream(tiny_fdream: Fdream) -> Fdream:
    Path("list.txt").write_text(LINES)
    return tiny_fdream


def as_part(fdream: Fdream, index: int, count: int, *words: str, out: str = "shared/") -> Result:
    token = sharing._PART.set(Part(index, count))
    try:
        return fdream("t2i", "--prompts", "list.txt", "--seed", "3", "-o", out, *words)
    finally:
        sharing._PART.reset(token)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_parts_make_what_one_process_makes(fdream: Fdream) -> None:
    assert fdream("t2i", "--prompts", "list.txt", "--seed", "3", "-o", "one/").code == 0
    parts = [as_part(fdream, index, 3) for index in (2, 0, 1)]
    assert [part.code for part in parts] == [0, 0, 0]
    assert [len(part.lines) for part in parts] == [1, 2, 1]
    assert len(contents("one")) == 4
    assert contents("shared") == contents("one")


def test_a_part_that_was_lost_is_made_by_the_same_command(fdream: Fdream) -> None:
    as_part(fdream, 0, 2)
    before = {path: path.stat().st_mtime_ns for path in Path("shared").iterdir()}
    assert len(before) == 2
    for index in (0, 1):
        assert as_part(fdream, index, 2).code == 0
    assert len(contents("shared")) == 4
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    # And by another number of processes.
    again = fdream("t2i", "--prompts", "list.txt", "--seed", "3", "-o", "shared/", "--resume")
    assert "4 of 4 were there" in again.err


def test_a_bad_line_is_told_once_and_moves_nobody(fdream: Fdream) -> None:
    Path("list.txt").write_text("\x00\n" + LINES)
    first, second = as_part(fdream, 0, 2), as_part(fdream, 1, 2)
    assert (first.code, second.code) == (4, 0)
    assert "line 1" in first.err
    assert "line 1" not in second.err
    assert len(contents("shared")) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--prompts", "list.txt", "-o", "-"], "standard output keeps none"),
        (["--prompts", "list.txt", "--no-metadata", "-o", "x/"], "--no-metadata"),
        (["-o", "x/"], "several processes cannot read one standard input"),
        (["--prompts", "list.txt", "-o", "x/"], "give --seed"),
    ],
)
def test_what_cannot_be_shared_is_refused(fdream: Fdream, words: list[str], told: str) -> None:
    token = sharing._PART.set(Part(1, 2))
    try:
        result = fdream("t2i", *words, stdin=b"a corgi\n")
    finally:
        sharing._PART.reset(token)
    assert result.code == 2
    assert told in result.err
    assert not Path("x").exists()


def test_engines_are_named_and_launched(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(variable, raising=False)
    unknown = fdream("t2i", "a corgi", "-o", "a.png", "--engine", "slurm")
    assert unknown.code == 2
    assert "local, accelerate, ray" in unknown.err
    alone = fdream("t2i", "a corgi", "-o", "a.png", "--engine", "accelerate")
    assert alone.code == 2
    assert "torchrun" in alone.err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert fdream("t2i", "a corgi", "-o", "a.png", "--engine", "accelerate").code == 0


def videos(bundle: Path, folder: str, *words: str) -> list[str]:
    stages = ["--prior", f"pocket:{bundle}", "--generator", f"dreamer:{bundle}"]
    return ["t2v", "--prompts", "list.txt", "--seed", "3", *stages, "-o", folder, *words]


@pytest.mark.slow
def test_processes_of_a_launcher_share_a_list(tiny_bundle: Path, in_tmp: Path) -> None:
    Path("list.txt").write_text("\x00\n" + LINES)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
    for count, folder in (("1", "one/"), ("2", "two/")):
        words = [*launcher, count, "-m", "fdream", *videos(tiny_bundle, folder)]
        words += ["--engine", "accelerate", "--threads", "1"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=_env())
        # The bad line is told when all are done: a launcher ends everybody with the first.
        assert done.returncode != 0
        assert done.stderr.count("1 of 5 left out: line 1") == 1, done.stderr[-3000:]
    assert len(contents("one")) == 4
    assert contents("two") == contents("one")


@pytest.mark.slow
def test_ray_shares_a_list(tiny_bundle: Path, in_tmp: Path) -> None:
    pytest.importorskip("ray", reason="needs fdream[ray]")
    Path("list.txt").write_text("\x00\n" + LINES)
    program = "import sys, ray; ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False);"
    program += "from fdream.cli.app import run; sys.exit(run(sys.argv[1:]))"
    for folder, engine in (("one/", "local"), ("two/", "ray")):
        words = [*videos(tiny_bundle, folder), "--threads", "1", "--engine", engine]
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            text=True,
            check=False,
            env=_env(),
        )
        assert done.returncode == 4, done.stderr[-3000:]
        assert done.stderr.count("1 of 5 left out: line 1") == 1
        assert len(done.stdout.splitlines()) == 4
    assert contents("two") == contents("one")


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
