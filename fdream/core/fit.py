"""Whether a model fits into the memory there is, and what to give up if it does not.

A stage estimates what it needs (``Demand``); ``fit`` goes down a ladder of choices, what costs
nothing first and what costs most last, and takes the first that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fdream.core import host_memory
from fdream.core.device import DeviceManager, Offload
from fdream.core.errors import DeviceError

if TYPE_CHECKING:
    import torch

# Estimates err, and allocators keep holes; `fdream doctor --help` tells of it.
_USABLE: Final = 0.9
# What costs no value goes before what does: tiles shift the tone of a picture a little.
_LADDER: Final[tuple[tuple[Offload, bool], ...]] = (
    ("none", False),
    ("model", False),
    ("none", True),
    ("model", True),
    ("group", True),
    ("sequential", True),
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What stages need of memory, in numbers, whatever bytes each of them takes.

    Attributes:
        weights: of all components.
        component: of the largest component.
        block: of its largest block of layers, or another component's.
        layer: of the largest layer.
        work: alive at once while it computes, beside weights.
        work_tiled: the same if the autoencoder works in tiles and frame by frame.
        offloads: ways of keeping weights elsewhere that the stage knows.
    """

    weights: int
    component: int
    block: int
    layer: int
    work: int
    work_tiled: int
    offloads: frozenset[Offload] = frozenset({"none", "model"})

    @staticmethod
    def together(demands: Iterable[Demand]) -> Demand:
        """Return what stages need that take turns: all weights stay, work space is used again."""
        found = list(demands)
        return Demand(
            weights=sum(d.weights for d in found),
            component=max(d.component for d in found),
            block=max(d.block for d in found),
            layer=max(d.layer for d in found),
            work=max(d.work for d in found),
            work_tiled=max(d.work_tiled for d in found),
            offloads=frozenset.intersection(*(d.offloads for d in found)),
        )

    def bytes_needed(self, dtype: torch.dtype, offload: Offload, tiling: bool) -> int:
        """Return the bytes it takes on the device, made one way."""
        kept = {
            "none": self.weights,
            "model": self.component,
            "group": 2 * self.block,  # one computes while the next comes
            "sequential": 2 * self.layer,
        }[offload]
        return (kept + (self.work_tiled if tiling else self.work)) * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Fit:
    """How something fits.

    Attributes:
        device: with the choices made.
        needed: bytes that it takes, estimated.
        free: bytes that there are.
    """

    device: DeviceManager
    needed: int
    free: int

    def __str__(self) -> str:
        """Say what was chosen and what it takes."""
        return (
            f"{_choices(self.device)}; about {_gib(self.needed)} of {_gib(self.free)} that are "
            f"free on {self.device.torch_device}"
        )


def fit(device: DeviceManager, demand: Demand) -> Fit:
    """Choose number format, offload and tiling so that it fits; what was asked for stays.

    Args:
        device: chosen; its dtype is kept where the user asked for it, and so is its offload.
        demand: of all stages.

    Raises:
        DeviceError: it does not fit, however little is kept on the device, or nobody knows.
    """
    free = device.memory().free
    if free is None:
        raise DeviceError(
            f"--fit: this system does not say how much memory {device.kind} has; leave --fit out, "
            "and choose --dtype and --offload yourself."
        )
    least: Fit | None = None
    for choice in _choices_of(device, demand):
        needed = demand.bytes_needed(choice.dtype, choice.offload, choice.tiling)
        found = Fit(choice, needed, free)
        if needed <= _USABLE * free and _host_holds(choice, demand):
            return found
        least = found if least is None or needed < least.needed else least
    assert least is not None
    waiting = demand.weights * least.device.dtype.itemsize
    elsewhere = "" if least.device.offload == "none" else f", and {_gib(waiting)} beside it"
    raise DeviceError(
        f"{device.torch_device}: does not fit: at the least it takes about {_gib(least.needed)} "
        f"({_choices(least.device)}){elsewhere}, and of {_gib(free)} that are free "
        f"{_gib(int(_USABLE * free))} may be planned with. A smaller --size, fewer --frames or a "
        "smaller model takes less."
    )


def _choices_of(device: DeviceManager, demand: Demand) -> Iterator[DeviceManager]:
    import torch

    dtypes = [(device.dtype, device.reason)]
    if device.dtype == torch.float32 and device.reason != "asked for":
        dtypes.append((torch.bfloat16, "float32 does not fit"))
    for dtype, reason in dtypes:
        for offload, tiling in _LADDER:
            # Where the device has no memory of its own, nothing is gained by moving weights.
            if offload != "none" and (device.kind != "cuda" or offload not in demand.offloads):
                continue
            if offload == "none" and device.offload != "none" and device.kind == "cuda":
                continue
            yield replace(device, dtype=dtype, reason=reason, offload=offload, tiling=tiling)


def _host_holds(device: DeviceManager, demand: Demand) -> bool:
    """Whether weights that wait elsewhere have room there."""
    if device.offload == "none":
        return True
    free = host_memory.free_bytes()
    return free is None or demand.weights * device.dtype.itemsize <= _USABLE * free


def _choices(device: DeviceManager) -> str:
    told = [str(device.dtype).removeprefix("torch.")]
    told.append("no offload" if device.offload == "none" else f"{device.offload} offload")
    told.append("autoencoder in tiles" if device.tiling else "autoencoder whole")
    return ", ".join(told)


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
