"""Compiled layers: what they learn, and that they are compiled once for each of their kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from fdream.cli.app import run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def losses(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def test_a_compiled_run_learns_what_an_eager_one_learns(
    tmp_path: Path, sets: Callable[..., list[str]]
) -> None:
    torch._dynamo.reset()
    counters.clear()
    for name in ("eager", "compiled"):
        more = {
            "run.output": json.dumps(str(tmp_path / name)),
            "train.compile": json.dumps(name == "compiled"),
            "train.steps": "2",
            "train.log_every": "1",
            "train.probe_every": "0",
        }
        assert run(["train", "webvid", *sets("webvid", **more)]) == 0
        assert bool(counters["stats"]) == (name == "compiled")
    wanted = losses(tmp_path / "eager")
    assert len(wanted) == 2
    assert losses(tmp_path / "compiled") == pytest.approx(wanted, rel=1e-3)
    assert not counters["recompile_limit"]
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] < 40  # of some sixty layers
