"""A hostile file ends its worker and costs one sample; the run goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from fdream.core.errors import OutputError
from fdream.core.prep_recipe import LimitsTable, PrepRecipe
from fdream.data.prep import isolation
from fdream.data.prep.clipping import SourceResult
from fdream.data.prep.isolation import IsolatedWorkers, Job
from fdream.data.prep.sources.rows import SourceRow

RECIPE = PrepRecipe(name="x")


def misbehave(job: Job, seconds: int) -> SourceResult:
    """What a worker runs here in place of a decoder; the row's id says how it ends."""
    match job.row.id:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(600)
        case "spin":
            isolation._limit_processor_time(seconds)
            while True:
                pass
        case "eat":
            held = bytearray(4 << 30)
            held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
        case "bug":
            raise KeyError("unexpected")
        case "disk":
            raise OutputError("no room")
        case "leave":
            os._exit(3)
    return SourceResult(problem=f"fine {job.row.id}")


def run(ids: list[str], monkeypatch: pytest.MonkeyPatch, **limits: int) -> list[str]:
    monkeypatch.setattr(isolation, "_clip_within", misbehave)
    jobs = (Job(SourceRow(name, "", ""), RECIPE, Path("/nowhere")) for name in ids)
    table = LimitsTable.model_validate({"seconds": 60, "memory_mb": 1024, **limits})
    with IsolatedWorkers(2, table) as workers:
        return [result.problem for result in workers.results(jobs)]


def test_each_bad_end_costs_one_sample_and_keeps_the_order(monkeypatch) -> None:
    found = run(["a", "crash", "b", "bug", "eat", "leave", "c"], monkeypatch)
    assert found[0::2][:2] == ["fine a", "fine b"]
    assert found[1] == "the decoder crashed (SIGSEGV)"
    assert found[3] == "failed inside fdream (KeyError: 'unexpected'); please report it"
    assert found[4] == "needs more than 1024 MB (limits.memory_mb)"
    assert found[5] == "the decoder crashed (exit 3)"
    assert found[6] == "fine c"


def test_a_hang_ends(monkeypatch) -> None:
    monkeypatch.setattr(isolation, "_WALL_FACTOR", 1)
    assert run(["hang", "a"], monkeypatch, seconds=2) == ["hung: no end after 2 s", "fine a"]


def test_processor_time_is_limited(monkeypatch) -> None:
    monkeypatch.setattr(isolation, "_WALL_FACTOR", 250)
    assert run(["spin", "a"], monkeypatch, seconds=1) == [
        "needs more than 1 s of processor time (limits.seconds)",
        "fine a",
    ]


def test_a_full_disk_is_no_fault_of_the_source(monkeypatch) -> None:
    with pytest.raises(OutputError, match="no room"):
        run(["a", "disk", "b"], monkeypatch)
