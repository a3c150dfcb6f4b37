"""Pipes whose other end leaves, lags or interrupts: no noise, no heap, nothing half-written."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.data.images import split_images
from fdream.data.metadata import read_record
from fdream.pipelines import generation
from fdream.pipelines.results import Still
from tests.cli.conftest import Fdream


def start(bundle: Path, folder: Path, *args: str) -> subprocess.Popen[bytes]:
    words = ["t2i", "a corgi", "--seed", "1", "--num", "10000", "--prior", f"pocket:{bundle}"]
    return subprocess.Popen(
        [sys.executable, "-m", "fdream", *words, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background job is born deaf to it, and what it starts as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_reader_that_leaves_midway_ends_it_quietly(tiny_bundle: Path, tmp_path: Path) -> None:
    process = start(tiny_bundle, tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert len(process.stdout.read(100)) == 100  # as `| head -c 100`
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_ends_it_with_what_is_finished(
    tiny_bundle: Path, tmp_path: Path, number: int, code: int
) -> None:
    process = start(tiny_bundle, tmp_path, "-o", "made/")
    assert process.stdout is not None
    first = process.stdout.readline().decode().strip()
    process.send_signal(number)
    said, complained = process.communicate()
    assert process.returncode == code
    assert complained.count(b"\n") == 1
    assert b"error" in complained
    told = {first, *said.decode().splitlines()}
    left = sorted((tmp_path / "made").iterdir())
    # The last one may be finished and not yet told; nothing else lies there.
    assert told <= {f"made/{path.name}" for path in left}
    assert len(left) - len(told) <= 1
    assert all(read_record(path).record for path in left)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' shell cannot close a stream")
@pytest.mark.parametrize(
    ("closed", "code", "says"),
    [
        (">&-", 6, "standard output is closed"),
        (">/dev/full", 6, "cannot write to standard output"),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
    ],
)
def test_closed_and_full_streams_are_no_bug(closed: str, code: int, says: str) -> None:
    command = f'"{sys.executable}" -m fdream recipes list {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert bool(done.stdout) == (code == 0)


def test_a_slow_reader_is_waited_for(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made ahead: the next image is drawn when the last one has been taken."""
    made: list[int] = []
    taken = io.BytesIO()

    def drawn(captions: Any, sample: Any, settings: Any, shop: Any) -> Still:
        whole = list(split_images(io.BytesIO(taken.getvalue()), "x")) if made else []
        assert len(whole) == len(made)
        made.append(sample.index)
        return Still(np.zeros((8, 8, 3), np.uint8), captions, sample, {})

    monkeypatch.setattr(generation, "text_to_image", drawn)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken))
    assert fdream("t2i", "a corgi", "--num", "20").code == 0
    assert len(made) == 20


@pytest.fixture
def fdream(tiny_fdream: Fdream) -> Fdream:
    return tiny_fdream


def test_an_interrupt_while_modules_load_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdream.__main__ import main

    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "fdream.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "fdream.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
