"""Threads, number formats and processes change how fast a run is, and not what it learns."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from fdream.core import device as device_module
from fdream.core.device import DeviceManager, DeviceState
from fdream.core.errors import DeviceError, FdreamError
from fdream.core.recipe import TrainTable
from fdream.training import spread
from fdream.training.batches import Ahead
from fdream.training.engine import Engine, EngineOptions
from fdream.training.objective import Share


def test_values_ahead_come_in_order_and_from_threads() -> None:
    seen: set[str] = set()

    def square(number: int) -> int:
        seen.add(threading.current_thread().name)
        return number * number

    with Ahead(square, workers=2) as values:
        assert [values.take(n) for n in range(5, 25)] == [n * n for n in range(5, 25)]
    assert threading.current_thread().name not in seen
    assert values.waited_s > 0


def test_without_workers_each_value_is_computed_when_asked_for() -> None:
    computed: list[int] = []
    with Ahead(computed.append, workers=0) as values:
        values.take(3)
        assert computed == [3]


def test_what_fails_ahead_of_time_fails_when_it_is_asked_for() -> None:
    def fail_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    with Ahead(fail_at_two, workers=1) as values:
        assert [values.take(0), values.take(1)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            values.take(2)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_the_batch(count: int) -> None:
    parts = [Share(index, count).of(torch.arange(8)) for index in range(count)]
    assert torch.equal(torch.cat(parts), torch.arange(8))
    assert len({len(part) for part in parts}) == 1


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, r"DeepSpeed.*--fsdp_version 2.*--multi_gpu"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP 1"),
        (
            {"ACCELERATE_USE_FSDP": "1", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"},
            "--fsdp_offload_params",
        ),
    ],
)
def test_ways_of_spreading_weights_that_are_not_here_are_refused_before_it_begins(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match=told):
        Engine(DeviceManager.choose("cpu"), EngineOptions())


def test_one_process_spreads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    engine = Engine(DeviceManager.choose("cpu"), EngineOptions())
    assert not engine.spreads
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"  # what the launcher said stays said
    engine.close()


@pytest.mark.parametrize(
    ("changes", "dtype", "told"),
    [
        ({"optimizer": "muon"}, torch.float32, "muon"),
        ({"compile": True}, torch.float32, r"train\.compile"),
        ({}, torch.float16, "float16"),
    ],
)
def test_what_needs_whole_weights_is_refused_where_they_are_spread(
    changes: dict[str, object], dtype: torch.dtype, told: str
) -> None:
    table = TrainTable(objective="video").model_copy(update=changes)
    with pytest.raises(DeviceError, match=told):
        spread.check(table, dtype)
    spread.check(TrainTable(objective="video"), torch.bfloat16)


def test_float16_is_refused_where_its_gradients_cannot_be_scaled() -> None:
    half = DeviceManager.choose("cpu", "float16")
    with pytest.raises(DeviceError, match="bfloat16 or float32"):
        Engine(half, EngineOptions())


def test_what_is_trained_keeps_its_format_and_what_is_frozen_takes_the_device() -> None:
    device = DeviceManager.choose("cpu", "bfloat16").for_training()
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[1].requires_grad_(False)
    weight = net[0].weight
    device.place(net)
    assert net[0].weight is weight
    assert (net[0].weight.dtype, net[1].weight.dtype) == (torch.float32, torch.bfloat16)
    assert DeviceManager.choose("cpu", "bfloat16").place(net)[0].weight.dtype == torch.bfloat16


def test_each_process_of_a_launcher_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [DeviceState("cuda", True, "a GPU"), DeviceState("cpu", True, "")]
    monkeypatch.setattr(device_module, "survey", lambda: states)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_module._choose_device("cuda") == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    for asked in ("auto", "cuda"):
        assert device_module._choose_device(asked) == torch.device("cuda:3")
    assert device_module._choose_device("cuda:1") == torch.device("cuda:1")
    assert device_module._choose_device("cpu") == torch.device("cpu")


def test_a_lack_of_memory_in_training_says_what_to_change_in_the_recipe() -> None:
    device = DeviceManager.choose("cpu").for_training()
    advice = pytest.raises(DeviceError, match=r"train\.gradient_checkpointing")
    with advice as caught, device.guard():
        raise MemoryError("out of memory")
    assert "--size" not in str(caught.value)


def test_a_run_folder_serves_one_process(tmp_path: Path) -> None:
    from fdream.training.run_folder import RunFolder

    run = RunFolder(tmp_path / "run")
    refusal = pytest.raises(FdreamError, match="another fdream train")
    with run.locked(), refusal, RunFolder(tmp_path / "run").locked():
        pass
    with run.locked():
        pass
