"""The ladder of ``--fit``: what costs nothing is given up first, and nothing that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fdream.core import host_memory
from fdream.core.device import DeviceManager, MemoryFigures
from fdream.core.errors import DeviceError
from fdream.core.fit import Demand, fit

GIB = 2**30
EVERY = frozenset({"none", "model", "group", "sequential"})
# In numbers of two bytes: 20 GiB of weights, the largest component 10, a block 1, a layer 0.1.
LARGE = Demand(
    weights=10 * GIB,
    component=5 * GIB,
    block=GIB // 2,
    layer=GIB // 20,
    work=2 * GIB,
    work_tiled=GIB // 4,
    offloads=EVERY,
)


@pytest.fixture
def cpu() -> DeviceManager:
    return DeviceManager.choose("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> DeviceManager:
    """A GPU that is not there; it says how much memory it has, and that is all it is asked."""
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 64 * GIB)
    return DeviceManager(
        kind="cuda",
        torch_device=torch.device("cuda"),
        dtype=torch.bfloat16,
        reason="this GPU computes bfloat16",
        offload="none",
        threads=1,
    )


def with_free(monkeypatch: pytest.MonkeyPatch, gib: float | None) -> None:
    free = None if gib is None else int(gib * GIB)
    monkeypatch.setattr(DeviceManager, "memory", lambda self: MemoryFigures(free, free, None))


@pytest.mark.parametrize(
    ("free", "offload", "tiling"),
    [
        (80, "none", False),  # 24 needed
        (25, "none", True),  # 20.5, and offload of whole components takes 14
        (20, "model", False),
        (12, "model", True),  # 10.5
        (3, "group", True),  # 2.5
        (1, "sequential", True),  # 0.7
    ],
)
def test_less_memory_gives_up_more(
    gpu: DeviceManager, monkeypatch: pytest.MonkeyPatch, free: float, offload: str, tiling: bool
) -> None:
    with_free(monkeypatch, free)
    if free == 25:
        # Where components cannot be moved, tiles are what is left.
        chosen = fit(gpu, replace(LARGE, offloads=frozenset({"none"})))
    else:
        chosen = fit(gpu, LARGE)
    assert (chosen.device.offload, chosen.device.tiling) == (offload, tiling)
    assert chosen.needed <= 0.9 * free * GIB
    assert chosen.device.dtype == torch.bfloat16
    assert f"{free:.1f} GiB that are free" in str(chosen)


def test_what_fits_nowhere_says_how_much_it_takes(
    gpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 0.5)
    with pytest.raises(DeviceError, match=r"at the least .* 0\.7 GiB.*20\.0 GiB beside"):
        fit(gpu, LARGE)


def test_weights_that_wait_need_room_too(
    gpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 20)
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 8 * GIB)
    with pytest.raises(DeviceError, match="does not fit"):
        fit(gpu, LARGE)


def test_a_cpu_halves_its_numbers_only_if_it_must(
    cpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 64)
    assert fit(cpu, LARGE).device == cpu
    with_free(monkeypatch, 48)  # 41 with tiles
    tiled = fit(cpu, LARGE).device
    assert (tiled.dtype, tiled.tiling) == (torch.float32, True)
    with_free(monkeypatch, 30)
    half = fit(cpu, LARGE).device
    assert (half.dtype, half.offload, half.tiling) == (torch.bfloat16, "none", False)
    assert half.reason == "float32 does not fit"


def test_what_was_asked_for_stays(cpu: DeviceManager, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 30)
    with pytest.raises(DeviceError, match="float32"):
        fit(replace(cpu, reason="asked for"), LARGE)


def test_an_offload_that_was_asked_for_is_not_undone(
    gpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 80)
    assert fit(replace(gpu, offload="model"), LARGE).device.offload == "model"


def test_a_system_that_does_not_say_is_told(
    cpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, None)
    with pytest.raises(DeviceError, match="does not say"):
        fit(cpu, LARGE)


def test_stages_that_take_turns_keep_their_weights_and_share_their_work_space() -> None:
    small = Demand(3, 3, 2, 1, 100, 50)
    both = Demand.together([LARGE, small])
    assert both.weights == LARGE.weights + 3
    assert both.component == LARGE.component
    assert both.work == LARGE.work
    assert both.offloads == {"none", "model"}
