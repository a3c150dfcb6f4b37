"""The one owner of the device: which backend, which number format and why, how much memory.

Nothing else in the tree names a backend. Everything that computes is handed a ``DeviceManager``.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, cast

from fdream.core import cpu_bfloat16, host_memory, launch
from fdream.core.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

    Placeable = TypeVar("Placeable", bound=torch.Tensor | torch.nn.Module)
    ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)

DeviceKind = Literal["cuda", "mps", "cpu"]
Offload = Literal["none", "model", "group", "sequential"]

DEVICE_CHOICES: Final = "auto, cuda, cuda:N, mps or cpu"
_DTYPES: Final = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}
_OUT_OF_MEMORY: Final = ("out of memory", "not enough memory", "can't allocate memory")


class MemoryFigures(NamedTuple):
    """Memory in bytes; None where the system does not say."""

    total: int | None
    free: int | None
    peak: int | None


class DeviceState(NamedTuple):
    """Whether a backend can be used here, and its name or the reason why not."""

    kind: DeviceKind
    usable: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DeviceManager:
    """A chosen device with its number format; make one with ``choose``.

    Attributes:
        kind: the backend.
        torch_device: the device as torch names it.
        dtype: the format of weights and activations on it.
        reason: why that format, for the log and the output's metadata.
        offload: ``model`` keeps a module on the CPU except while it is borrowed; ``group`` and
            ``sequential`` do so with its blocks and its layers, where a stage knows how.
        threads: CPU threads that torch uses.
        training: weights that want a gradient keep their own format when they are placed: what an
            optimizer adds to half precision is rounded away.
        tiling: autoencoders work in tiles and frame by frame, which saves memory.
    """

    kind: DeviceKind
    torch_device: torch.device
    dtype: torch.dtype
    reason: str
    offload: Offload
    threads: int
    training: bool = False
    tiling: bool = False

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "none",
        threads: int | None = None,
    ) -> DeviceManager:
        """Choose CUDA before MPS before CPU, or take what is asked for.

        Args:
            device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
            dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            offload: ``none`` or ``model``.
            threads: CPU threads for the whole process; None leaves torch's own choice.

        Raises:
            UsageError: an unknown word.
            DeviceError: the device asked for is not usable here.
        """
        import torch

        if offload not in ("none", "model"):
            raise UsageError(f"offload {offload!r}: expected none or model.")
        if threads is not None:
            if threads < 1:
                raise UsageError(f"threads {threads}: at least 1 is needed.")
            torch.set_num_threads(threads)
        chosen = _choose_device(device)
        kind = cast(DeviceKind, chosen.type)
        number_format, reason = _choose_dtype(kind, dtype)
        return cls(
            kind=kind,
            torch_device=chosen,
            dtype=number_format,
            reason=reason,
            offload=cast(Offload, offload),
            threads=torch.get_num_threads(),
        )

    def for_training(self) -> DeviceManager:
        """Return the same device for a training run."""
        return replace(self, training=True)

    def _elsewhere(self, weight: torch.Tensor) -> bool:
        """Say whether a weight is on another device, or of another floating-point type."""
        recast = weight.is_floating_point() and weight.dtype != self._format_of(weight)
        return recast or weight.device.type != self.torch_device.type

    def _format_of(self, weight: torch.Tensor) -> torch.dtype:
        return weight.dtype if self.training and weight.requires_grad else self.dtype

    def _move(self, weight: torch.Tensor) -> torch.Tensor:
        kind = self._format_of(weight) if weight.is_floating_point() else None
        return weight.to(self.torch_device, kind)

    def place(self, x: Placeable) -> Placeable:
        """Move a module or tensor to the device, floating-point values to its dtype.

        Whole numbers and booleans keep their dtype: token ids and masks stay what they are.
        """
        import torch

        with self.guard():
            if isinstance(x, torch.nn.Module):
                # Only if something changes: diffusers warns of every cast, even an empty one.
                if any(self._elsewhere(t) for t in (*x.parameters(), *x.buffers())):
                    if self.training and any(p.requires_grad for p in x.parameters()):
                        # In place; `to` would cast what is trained as well.
                        x._apply(self._move)  # type: ignore[no-untyped-call]
                    else:
                        x.to(device=self.torch_device, dtype=self.dtype)  # in place
                return x
            # Cast first: MPS cannot even hold a float64 tensor.
            cast_x = x.to(self.dtype) if x.is_floating_point() else x
            return cast("Placeable", cast_x.to(self.torch_device))

    @contextmanager
    def borrow(self, module: ModuleT) -> Iterator[ModuleT]:
        """Have a module on the device for a while; under ``offload = "model"`` it goes back."""
        yield self.place(module)
        if self.offload != "none" and self.kind != "cpu":
            module.to("cpu")

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Compute without gradients, in the device's number format, naming a lack of memory."""
        import torch

        with self.guard(), torch.inference_mode(), self.autocast():
            yield

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in a half-precision dtype where that serves; do nothing for float32."""
        import torch

        if self.dtype == torch.float32:
            yield
            return
        half_on_cpu = self.kind == "cpu" and self.dtype == torch.bfloat16
        slow = cpu_bfloat16.float32_kernels() if half_on_cpu else nullcontext()
        with torch.autocast(self.kind, dtype=self.dtype), slow:
            yield

    @contextmanager
    def deterministic(self, asked: bool) -> Iterator[None]:
        """Have CUDA add in the same order every time inside the block, if that is asked for."""
        import torch

        if not asked or self.kind != "cuda":
            yield  # a CPU with a fixed number of threads does so by itself
            return
        # cuBLAS reads this when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        benchmark = torch.backends.cudnn.benchmark
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.benchmark = benchmark

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn a lack of memory into an error that says what to try."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _lacks_memory(error):
                raise
            raise DeviceError(
                f"{self.torch_device}: out of memory ({_first_line(error)}). {self._less()}"
            ) from error

    def _less(self) -> str:
        halve = ", --dtype bfloat16" if str(self.dtype) == "torch.float32" else ""
        if self.training:
            return (
                f"Set train.gradient_checkpointing=true, halve train.batch_size and double "
                f"train.accumulate{halve}; `fdream train RECIPE --plan` tells what fits."
            )
        other = " or --device cpu." if self.kind != "cpu" else " or a smaller model."
        return f"Try a smaller --size, fewer --frames, --num 1{halve}{other}"

    def memory(self) -> MemoryFigures:
        """Return the memory of the device; on the CPU that of the machine and this process."""
        import torch

        if self.kind == "cuda":
            free, total = torch.cuda.mem_get_info(self.torch_device)
            return MemoryFigures(total, free, torch.cuda.max_memory_allocated(self.torch_device))
        if self.kind == "mps":
            total = torch.mps.recommended_max_memory()
            used = torch.mps.driver_allocated_memory()
            return MemoryFigures(total, max(total - used, 0), None)
        return MemoryFigures(
            host_memory.total_bytes(), host_memory.free_bytes(), host_memory.peak_bytes()
        )

    def describe(self) -> dict[str, Any]:
        """Return what an output or a run records about the device; never a host name."""
        import torch

        return {
            "device": self.kind,
            "name": _name(self.torch_device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "dtype_reason": self.reason,
            "offload": self.offload,
            **({"tiling": True} if self.tiling else {}),
            "threads": self.threads,
            "torch": torch.__version__,
        }


def survey() -> list[DeviceState]:
    """Return every backend in the order of choice, usable or not, for ``fdream doctor``."""
    import torch

    cuda = DeviceState("cuda", False, _why_no_cuda())
    if torch.cuda.is_available():
        cuda = DeviceState("cuda", True, _name(torch.device("cuda")))
    mps = DeviceState("mps", False, "needs macOS on Apple silicon and a torch built for it")
    if torch.backends.mps.is_available():
        mps = DeviceState("mps", True, _name(torch.device("mps")))
    return [cuda, mps, DeviceState("cpu", True, _name(torch.device("cpu")))]


def _choose_device(asked: str) -> torch.device:
    import torch

    states = {state.kind: state for state in survey()}
    if asked == "auto":
        asked = next(kind for kind, state in states.items() if state.usable)
    if asked == "cuda" and launch.num_processes() > 1:
        asked = f"cuda:{launch.local_index()}"  # each process has a GPU of its own
    kind, _, index = asked.partition(":")
    if kind not in states or (":" in asked and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"device {asked!r}: expected {DEVICE_CHOICES}.")
    if not states[kind].usable:
        raise DeviceError(
            f"device {asked!r} cannot be used: {states[kind].detail}. "
            "Use --device auto or cpu; `fdream doctor` shows what this machine has."
        )
    if index and int(index) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {asked!r}: this machine has {torch.cuda.device_count()} CUDA device(s), "
            f"numbered from 0; use cuda:0 to cuda:{torch.cuda.device_count() - 1}."
        )
    return torch.device(asked)


def _choose_dtype(kind: DeviceKind, asked: str) -> tuple[torch.dtype, str]:
    import torch

    if asked != "auto":
        if asked not in _DTYPES:
            raise UsageError(f"dtype {asked!r}: expected auto, float32, bfloat16 or float16.")
        return getattr(torch, _DTYPES[asked]), "asked for"
    if kind == "cpu":
        return torch.float32, "most CPUs compute half precision slower, not faster"
    if kind == "mps":
        return torch.float32, "half precision on MPS overflows in some networks"
    # Emulated bfloat16 is slower than float16 on the cards that need it.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "this GPU computes bfloat16, which cannot overflow like float16"
    return torch.float16, "this GPU has no bfloat16"


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} finds no CUDA device or no driver for it"


def _name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    machine = platform.machine() or "unknown"
    if device.type != "cpu":
        return machine
    # The instruction set decides about the last bits of frames.
    return f"{machine} {torch.backends.cpu.get_cpu_capability()}"


def _lacks_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__
