"""A checkpoint is whole, or it is not taken; a full disk costs nothing that was saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from fdream.core.errors import WeightsError
from fdream.training import checkpoints
from fdream.training.checkpoints import Progress


def saved(folder: Path, step: int) -> Path:
    torch.manual_seed(step)
    layer = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    averages = {"net.weight": layer.weight.detach().clone()}
    return checkpoints.save(folder, Progress(step), {"net": layer}, averages, optimizer)


@pytest.mark.parametrize("name", ["weights", "ema", "optimizer"])
def test_a_torn_file_costs_one_checkpoint_and_is_told(tmp_path: Path, name: str) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    torn = second / f"{name}.safetensors"
    torn.write_bytes(torn.read_bytes()[:-5])
    told: list[str] = []
    assert checkpoints.latest(tmp_path, told.append) == first
    assert len(told) == 1
    assert f"{name}.safetensors is missing or cut off" in told[0]


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    data = bytearray((second / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (second / "weights.safetensors").write_bytes(data)
    assert checkpoints.damage(second) == "weights.safetensors is not what was written"
    assert checkpoints.latest(tmp_path) == first


def test_a_state_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    (second / "state.json").write_text("{")
    assert checkpoints.latest(tmp_path) == first


def test_where_all_are_damaged_nothing_begins_again(tmp_path: Path) -> None:
    for step in (1, 2):
        (saved(tmp_path, step) / "ema.safetensors").unlink()
    with pytest.raises(WeightsError, match="no checkpoint is whole"):
        checkpoints.latest(tmp_path)


def test_a_folder_without_its_state_is_no_checkpoint(tmp_path: Path) -> None:
    (saved(tmp_path, 1) / "state.json").unlink()
    assert checkpoints.latest(tmp_path) is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_full_disk_leaves_the_last_checkpoint_and_no_debris(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saved(tmp_path, 1)
    original, calls = checkpoints.save_file, []

    def full(tensors: object, path: Path) -> None:
        calls.append(path)
        if len(calls) > number:
            path.write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        original(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    assert checkpoints.latest(tmp_path) == first


def test_a_checkpoint_of_an_older_fdream_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, 1)
    state = json.loads((path / "state.json").read_text())
    del state["files"], state["extra"]
    (path / "state.json").write_text(json.dumps(state))
    newest = checkpoints.latest(tmp_path)
    assert newest == path
    layer = torch.nn.Linear(3, 3)
    restored = checkpoints.load(path, {"net": layer}, torch.optim.AdamW(layer.parameters()))
    assert restored.progress.step == 1
    assert restored.extra == {}
