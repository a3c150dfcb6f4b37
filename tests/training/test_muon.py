"""Muon moves matrices by orthogonal steps, leaves the rest to AdamW, and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from fdream.core.recipe import TrainTable
from fdream.training import checkpoints
from fdream.training.checkpoints import Progress
from fdream.training.muon import MATRIX, Muon, orthogonalize
from fdream.training.optim import build_optimizer


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),  # 32 x 27: a small side, AdamW's
        nn.SiLU(),
        nn.Conv2d(32, 48, 3, padding=1),
        nn.GroupNorm(4, 48),
        nn.Flatten(),
        nn.Linear(48 * 16, 40),
        nn.Linear(40, 2),
    )


def learn(
    network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0
) -> float:
    loss = torch.tensor(0.0)
    for step in range(first, first + steps):
        pictures = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        loss = (network(pictures) - pictures.flatten(1)[:, :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("shape", [(3, 40, 120), (2, 32, 288), (1, 96, 36)])
def test_orthogonalized_matrices_have_singular_values_near_one(
    shape: tuple[int, int, int],
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moved = orthogonalize(matrices)
    assert moved.shape == matrices.shape
    values = torch.linalg.svdvals(moved)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # The singular vectors stay: a matrix and its step agree as far as two such matrices can.
    kept = torch.linalg.svd(matrices, full_matrices=False)
    agreement = (moved * (kept.U @ kept.Vh)).sum() / (moved.norm() * (kept.U @ kept.Vh).norm())
    assert agreement > 0.97


def test_large_weights_of_layers_are_muons_and_all_else_is_adamws() -> None:
    network = small_network()
    optimizer = build_optimizer({"net": network}, TrainTable(optimizer="muon"))
    matrices = [p for group in optimizer.param_groups if group[MATRIX] for p in group["params"]]
    assert {id(p) for p in matrices} == {id(network[2].weight), id(network[5].weight)}
    everything = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in everything} == {id(p) for p in network.parameters()}
    assert len(everything) == len(list(network.parameters()))


def test_its_step_has_the_size_of_adamws() -> None:
    network = small_network()
    optimizer = build_optimizer(
        {"net": network}, TrainTable(optimizer="muon", lr=1e-2, weight_decay=0.0)
    )
    before = network[2].weight.detach().clone()
    learn(network, optimizer, 1)
    moved = (network[2].weight.detach() - before).square().mean().sqrt().item()
    # 48 x 288: the orthogonal factor has rms 1 / sqrt(288), and the rate brings it to 0.2 lr.
    assert moved == pytest.approx(0.2e-2, rel=0.15)


def test_what_is_no_matrix_moves_exactly_as_under_adamw() -> None:
    gain, twin = nn.Parameter(torch.randn(5)), nn.Parameter(torch.zeros(5))
    twin.data.copy_(gain.data)
    ours, theirs = Muon([gain], lr=1e-2), AdamW([twin], lr=1e-2, betas=(0.9, 0.99))
    for step in range(3):
        gradient = torch.randn(5, generator=torch.Generator().manual_seed(step))
        gain.grad, twin.grad = gradient.clone(), gradient.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(gain, twin, rtol=1e-6, atol=1e-7)


def test_it_learns() -> None:
    network = small_network()
    optimizer = build_optimizer({"net": network}, TrainTable(optimizer="muon", lr=3e-3))
    first = learn(network, optimizer, 1)
    assert learn(network, optimizer, 80, first=1) < 0.3 * first


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(tmp_path: Path, channels_last: bool) -> None:
    def begin() -> tuple[nn.Sequential, torch.optim.Optimizer]:
        network = small_network()
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, build_optimizer({"net": network}, TrainTable(optimizer="muon"))

    whole, optimizer = begin()
    learn(whole, optimizer, 6)

    broken, optimizer = begin()
    learn(broken, optimizer, 3)
    saved = checkpoints.save(tmp_path, Progress(step=3), {"net": broken}, {}, optimizer)
    resumed, optimizer = begin()
    checkpoints.load(saved, {"net": resumed}, optimizer)
    learn(resumed, optimizer, 3, first=3)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
