"""Whether bfloat16 trains faster on this CPU: ``python benchmarks/cpu_bfloat16.py``.

One forward and backward of pocket's base on a batch of latents, in turns, some rounds of each:

- ``float32``;
- ``bfloat16``: torch's autocast alone;
- ``kernels``: ``--dtype bfloat16`` as fdream does it, two kernels left in float32
  (``fdream.core.cpu_bfloat16``).

Writes JSON: the middle seconds a step, and how many times as fast as float32 each one is. CPUs
without matrix units (``amx_bf16`` in /proc/cpuinfo) should show less than 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from fdream.core.device import DeviceManager
from fdream.stages.builtin.bundles import open_bundle


def stepper(batch: int, grid: int) -> Callable[[AbstractContextManager[object]], None]:
    """Return one training step of pocket's base, without an optimizer, inside a context."""
    bundle = open_bundle("pocket")
    unet: Any = bundle.load("unet").train()
    chance = torch.Generator().manual_seed(0)
    shape = (batch, unet.config.in_channels, grid, grid)
    latents, target = (torch.randn(shape, generator=chance) for _ in range(2))
    text = torch.randn((batch, 24, unet.config.cross_attention_dim), generator=chance)
    t = torch.randint(0, 1000, (batch,), generator=chance)

    def step(context: AbstractContextManager[object]) -> None:
        with context:
            output = unet(latents, t, encoder_hidden_states=text, return_dict=False)[0]
            loss = (output.float() - target).square().mean()
        loss.backward()

    return step


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    device = DeviceManager.choose("cpu", "bfloat16", threads=asked.threads)
    contexts: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "float32": nullcontext,
        "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "kernels": device.autocast,
    }
    step = stepper(asked.batch, grid=16)
    seconds: dict[str, list[float]] = {name: [] for name in contexts}
    for measured in [False, *[True] * asked.rounds]:
        for name, context in contexts.items():
            started = time.perf_counter()
            step(context())
            if measured:
                seconds[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    cpuinfo = Path("/proc/cpuinfo")
    report = {
        "benchmark": "cpu_bfloat16",
        "batch": asked.batch,
        "threads": asked.threads,
        "rounds": asked.rounds,
        "seconds_a_step": {name: round(value, 3) for name, value in middle.items()},
        "times_as_fast": {
            name: round(middle["float32"] / value, 2) for name, value in middle.items()
        },
        "matrix_units": cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
