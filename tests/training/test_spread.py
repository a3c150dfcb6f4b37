"""Weights that lie in parts: gathered, averaged, saved and brought back as if they were whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fdream.training import checkpoints, spread
from fdream.training.checkpoints import Progress
from fdream.training.optim import WeightAverage


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone: its parts are whole, and handled as parts."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


class Layer(nn.Linear):
    pass


class Loss(nn.Module):
    """A layer called as such, and parameters that are used from outside of their module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.ModuleDict({"layer": Layer(3, 3), "table": nn.Embedding(2, 3)})

    def answer(self, x: Tensor) -> Tensor:
        shift: Tensor = self.net["table"].weight.sum(dim=0)
        found: Tensor = self.net["layer"](x + shift)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x).square().mean()


def trained(
    loss: Loss, steps: int, folder: Path | None = None, *, writes: bool = True
) -> dict[str, nn.Module]:
    """Train for some steps, going on from a checkpoint, and save one."""
    modules = {"net": loss.net}
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.1, fused=True)
    average = WeightAverage(modules, 0.9)
    newest = None if folder is None else checkpoints.latest(folder)
    begin = 0
    if newest is not None:
        restored = checkpoints.load(newest, modules, optimizer)
        begin = restored.progress.step
        average.restore(restored.averages, begin)
    for step in range(begin, steps):
        loss(torch.full((2, 3), 1.0 + step)).backward()
        length = torch.nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
        assert spread.full(length) > 0
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
    if folder is not None:
        state = (Progress(steps), modules, average.shadow, optimizer)
        checkpoints.save(folder, *state, writes=writes)
    return modules


def same(one: Path, two: Path, *, exactly: bool = True) -> bool:
    """Whether the newest checkpoints of two folders hold the same tensors."""
    held: list[dict[str, Tensor]] = []
    for folder in (one, two):
        found = checkpoints.latest(folder)
        assert found is not None
        files = sorted(found.glob("*.safetensors"))
        assert len(files) == 3
        held.append({f"{f.name} {k}": v for f in files for k, v in load_file(f).items()})
    assert held[0].keys() == held[1].keys()
    alike = torch.equal if exactly else torch.allclose
    return all(alike(value, held[1][key]) for key, value in held[0].items())


def parted() -> Loss:
    loss = Loss()
    spread.spread(loss, ("Layer",))
    assert all(spread.is_part(p) for p in loss.parameters())
    return loss


def test_checkpoints_are_whole_and_serve_both(group: None, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(Loss(), 4, whole)
    trained(parted(), 4, parts)
    assert same(whole, parts)
    for first, then in ((Loss, parted), (parted, Loss)):
        mixed = tmp_path / first.__name__
        trained(first(), 2, mixed)
        trained(then(), 4, mixed)
        assert same(mixed, whole)


def test_gathered_weights_answer_without_a_training_step(group: None) -> None:
    loss, x = parted(), torch.ones(2, 3)
    wanted = Loss().answer(x)
    names = [name for name, _ in loss.named_parameters()]
    with spread.gathered(loss):
        assert torch.equal(loss.answer(x), wanted)
        copied = deepcopy(loss.net)  # as a bundle is written
        assert {type(module) for module in copied.modules()} == {nn.ModuleDict, Layer, nn.Embedding}
        assert not any(map(spread.is_part, copied.state_dict().values()))
        assert not any(map(spread.is_part, loss.net.state_dict().values()))
        weights = list(loss.parameters())
        found = torch.autograd.grad(loss.answer(x).sum(), weights)
        assert all(gradient.abs().sum() > 0 for gradient in found)
    assert [name for name, p in loss.named_parameters() if spread.is_part(p)] == names
    loss(x).backward()  # and it trains on
    assert all(p.grad is not None for p in loss.parameters())
    with spread.gathered(loss):
        assert torch.equal(loss.answer(x), wanted)


def test_averages_are_exchanged_part_by_part(group: None) -> None:
    loss = parted()
    average = WeightAverage({"net": loss.net}, 0.9)
    before = {k: spread.full(v).clone() for k, v in loss.net.named_parameters()}
    trained(loss, 3)
    average.update()
    average.swap()
    with spread.gathered(loss):
        for key, value in loss.net.named_parameters():
            wanted = spread.full(average._live[f"net.{key}"])
            assert torch.equal(value, wanted)
            assert not torch.equal(value, before[key])
    average.swap()


TWO = """
import os, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_spread import Loss, parted, trained
from fdream.training import spread

def part(rank):
    torch.distributed.init_process_group(
        "gloo", init_method="file://" + sys.argv[2] + "/meet", rank=rank, world_size=2
    )
    loss = parted()
    rows = [p.to_local().shape[0] for p in loss.parameters()]
    modules = trained(loss, 4, Path(sys.argv[2]) / "two", writes=rank == 0)
    with spread.gathered(loss):
        assert torch.isfinite(loss.answer(torch.ones(2, 3))).all()
    torch.distributed.destroy_process_group()
    return rows

children = []
for rank in (0, 1):
    child = os.fork()
    if child == 0:
        assert part(rank) == [[2, 2, 1], [1, 1, 1]][rank]
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="forks as POSIX has them")
def test_two_processes_hold_a_part_each_and_save_what_one_saves(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", TWO, here, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trained(Loss(), 4, tmp_path / "one")
    assert same(tmp_path / "one", tmp_path / "two", exactly=False)
