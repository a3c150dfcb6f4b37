"""Checks for scheduler stages, on a schedule that ends without signal and one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from fdream.core.errors import StageError
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages.conformance.subject import Subject, expect
from fdream.stages.interfaces import NoiseScheduler

_STEPS: Final = 5
_CLEAN_WITHIN: Final = 2e-3  # of unit variance; samplers in noise-to-signal ratio lose digits
_SAME_WITHIN: Final = 1e-4


def some_schedule_is_served(subject: Subject) -> None:
    """It serves one schedule at least; others it refuses with ``StageError``, not later."""
    expect(any(True for _ in _served(subject)), "it refuses every schedule")


def timesteps_descend_from_the_last(subject: Subject) -> None:
    """Time steps begin at the schedule's end and never rise (one may be visited twice)."""
    for schedule, sampler in _served(subject):
        grid = sampler.timesteps(_STEPS)
        last = schedule.num_steps - 1
        expect(int(grid[0]) == last, f"the first time step is {int(grid[0])}, expected {last}")
        expect(bool((grid[1:] <= grid[:-1]).all()), f"time steps rise: {grid.tolist()}")
        expect(int(grid[-1]) >= 0, f"the last time step is {int(grid[-1])}")
        count = len(set(grid.tolist()))
        expect(count == _STEPS, f"{count} different time steps, asked for {_STEPS}")


def a_perfect_network_is_followed_to_the_end(subject: Subject) -> None:
    """When every answer points at one clean sample, that sample is reached."""
    clean, noise = _latents(subject)
    for schedule, sampler in _served(subject):
        reached = _run(schedule, sampler, clean, noise)
        apart = float((reached - clean).abs().max())
        expect(apart <= _CLEAN_WITHIN, f"it ends {apart:.2g} away from the clean sample")


def runs_repeat(subject: Subject) -> None:
    """A second run on the same sampler is bit-equal: no noise is drawn, no state is left over."""
    clean, noise = _latents(subject)
    for schedule, sampler in _served(subject):
        first, second = (_run(schedule, sampler, clean, noise) for _ in range(2))
        expect(torch.equal(first, second), "a second run ends elsewhere")


def a_batch_may_be_split(subject: Subject) -> None:
    """A sample does not depend on its neighbours in the batch."""
    clean, noise = _latents(subject)
    for schedule, sampler in _served(subject):
        together = _run(schedule, sampler, clean, noise)
        alone = _run(schedule, sampler, clean[1:], noise[1:])
        apart = float((together[1:] - alone).abs().max())
        expect(apart <= _SAME_WITHIN, f"in a batch and alone it differs by {apart:.2g}")


def shape_dtype_and_device_are_kept(subject: Subject) -> None:
    """Latents stay on their device, in their shape and dtype, from start to end."""
    for dtype in (torch.float32, torch.bfloat16):
        clean, noise = (part.to(dtype) for part in _latents(subject))
        for schedule, sampler in _served(subject):
            reached = _run(schedule, sampler, clean, noise)
            expect(reached.shape == noise.shape, f"shape became {tuple(reached.shape)}")
            expect(reached.dtype == dtype, f"{dtype} became {reached.dtype}")
            expect(reached.device == noise.device, f"latents moved to {reached.device}")


def _served(subject: Subject) -> Iterator[tuple[NoiseSchedule, NoiseScheduler]]:
    pocket = NoiseSchedule.pocket()
    with_signal = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
    for schedule in (pocket, NoiseSchedule.from_config(pocket.config | with_signal)):
        try:
            sampler = subject.stage.build(schedule)
        except StageError:
            continue
        yield schedule, sampler


def _run(schedule: NoiseSchedule, sampler: NoiseScheduler, clean: Tensor, noise: Tensor) -> Tensor:
    grid = sampler.timesteps(_STEPS)
    latents = sampler.start(noise, None)
    for t in grid:
        seen = sampler.scale_input(latents, t)
        levels = t.to(seen.device).expand(len(seen))
        signal, sigma = (part.reshape(-1, 1, 1, 1, 1) for part in schedule.signal_and_noise(levels))
        answer = schedule.target(clean, (seen - signal * clean) / sigma, levels)
        latents = sampler.step(answer, t, latents)
    return latents


def _latents(subject: Subject) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 2, 4, 3, 4, 5, generator=generator).to(
        subject.device.torch_device
    )
    return clean, noise
