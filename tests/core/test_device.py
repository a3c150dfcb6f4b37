from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from fdream.core import host_memory
from fdream.core.device import DeviceManager, survey
from fdream.core.errors import DeviceError, UsageError


@pytest.fixture
def cpu() -> DeviceManager:
    return DeviceManager.choose("cpu")


def test_auto_takes_the_first_usable_backend() -> None:
    first = next(state.kind for state in survey() if state.usable)
    assert DeviceManager.choose().kind == first


def test_cpu_is_always_usable_and_unusable_ones_say_why() -> None:
    states = {state.kind: state for state in survey()}
    assert list(states) == ["cuda", "mps", "cpu"]
    assert states["cpu"].usable
    assert all(state.detail for state in states.values())


def test_cpu_computes_float32_and_says_why(cpu: DeviceManager) -> None:
    assert cpu.dtype == torch.float32
    assert "half precision" in cpu.reason


@pytest.mark.parametrize("word", ["gpu", "cuda:x", "cpu:0", "", "mps:1"])
def test_unknown_device_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError, match="expected auto, cuda"):
        DeviceManager.choose(word)


def test_absent_backend_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"cannot be used: torch .* --device auto or cpu"):
        DeviceManager.choose("cuda")


def test_half_precision_follows_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    for native, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native
        )
        assert DeviceManager.choose("auto").dtype == expected


def test_threads_are_set_and_recorded() -> None:
    before = torch.get_num_threads()
    try:
        assert DeviceManager.choose("cpu", threads=1).threads == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UsageError):
        DeviceManager.choose("cpu", threads=0)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"offload": "disk"}])
def test_unknown_words_are_usage_errors(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="expected"):
        DeviceManager.choose("cpu", **options)


def test_place_casts_numbers_and_leaves_ids_and_masks() -> None:
    half = DeviceManager.choose("cpu", dtype="bf16")
    assert half.place(torch.zeros(2, dtype=torch.float64)).dtype == torch.bfloat16
    assert half.place(torch.zeros(2, dtype=torch.long)).dtype == torch.long
    assert half.place(torch.zeros(2, dtype=torch.bool)).dtype == torch.bool
    module = torch.nn.Linear(2, 2)
    assert half.place(module) is module
    assert module.weight.dtype == torch.bfloat16


def test_inference_records_no_gradient(cpu: DeviceManager) -> None:
    weight = torch.ones(2, requires_grad=True)
    with cpu.inference():
        assert not (weight * 2).requires_grad
    assert (weight * 2).requires_grad


def test_autocast_only_below_float32(cpu: DeviceManager) -> None:
    a = torch.ones(2, 2)
    with cpu.autocast():
        assert (a @ a).dtype == torch.float32
    with DeviceManager.choose("cpu", dtype="bfloat16").autocast():
        assert (a @ a).dtype == torch.bfloat16


def test_slow_bfloat16_kernels_of_cpus_run_in_float32() -> None:
    values = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    values.requires_grad_(True)
    with DeviceManager.choose("cpu", dtype="bfloat16").autocast():
        normal = F.group_norm(values, 2)
        seen = F.scaled_dot_product_attention(values, values, values)
        product = values @ values.mT
    exact = F.group_norm(values.float(), 2)
    assert torch.equal(normal, exact.bfloat16())
    wide = values.float()
    assert torch.equal(seen, F.scaled_dot_product_attention(wide, wide, wide).bfloat16())
    assert {normal.dtype, seen.dtype, product.dtype} == {torch.bfloat16}
    (normal.float() * seen.float()).sum().backward()
    assert bool((values.grad != 0).any())


def test_compiled_code_is_compiled_once_for_all_blocks_of_bfloat16() -> None:
    counter = CompileCounter()
    layer = torch.compile(torch.nn.Linear(4, 4), backend=counter)
    device = DeviceManager.choose("cpu", dtype="bfloat16")
    for _ in range(3):
        with device.autocast():
            layer(torch.ones(2, 4))
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_try(cpu: DeviceManager, error: BaseException) -> None:
    with pytest.raises(DeviceError, match=r"out of memory.*--size.*--frames"), cpu.inference():
        raise error


def test_other_faults_pass_the_guard_unchanged(cpu: DeviceManager) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), cpu.guard():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_real_lack_of_memory_is_recognised(cpu: DeviceManager) -> None:
    with pytest.raises(DeviceError), cpu.guard():
        torch.empty(2**48)


def test_memory_figures_are_plausible(cpu: DeviceManager) -> None:
    memory = cpu.memory()
    assert memory.total is None or memory.total > 2**28
    assert memory.peak is None or memory.peak > 2**20
    if memory.total is not None and memory.free is not None:
        assert 0 <= memory.free <= memory.total


def test_container_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    monkeypatch.setattr(host_memory, "_CGROUP_LIMIT", limit)
    monkeypatch.setattr(host_memory, "_CGROUP_USED", used)
    if host_memory.total_bytes() is not None:
        assert host_memory.total_bytes() == 1_000_000
    if host_memory.free_bytes() is not None:
        assert host_memory.free_bytes() == 600_000
    limit.write_text("max\n")
    assert host_memory.total_bytes() != 1_000_000


def test_description_is_json_and_names_no_host(cpu: DeviceManager) -> None:
    import json
    import socket

    described = json.dumps(cpu.describe())
    assert '"device": "cpu"' in described
    assert socket.gethostname() not in described


def test_borrowed_module_returns_under_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = DeviceManager(
        "cuda", torch.device("meta"), torch.float32, "test", offload="model", threads=1
    )
    moves: list[object] = []
    module = torch.nn.Linear(1, 1)
    monkeypatch.setattr(module, "to", lambda *a, **k: moves.append(a or k))
    with meta.borrow(module):
        assert len(moves) == 1
    assert moves[-1] == ("cpu",)


def test_a_cpu_is_told_with_its_instruction_set() -> None:
    """Frames differ in their last bits between instruction sets, so a record has to name it."""
    capability = torch.backends.cpu.get_cpu_capability()
    assert DeviceManager.choose("cpu").describe()["name"].endswith(f" {capability}")
