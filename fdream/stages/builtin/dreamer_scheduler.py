"""The samplers ``dreamer`` and ``ancestral``: DDIM steps on the schedule's own table.

Ours: the paper's sampler is unknown. DDIM in the form of Lin et al. is the plainest one that starts
at exactly zero signal, where samplers in noise-to-signal ratio can only come near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
from einops import rearrange
from torch import Tensor

from fdream.core.errors import UsageError
from fdream.stages.interfaces import NoiseScheduler, SchedulerStage

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.models.noise_schedule import NoiseSchedule
    from fdream.stages.spec import StageOptions


@final
class DreamerScheduler(SchedulerStage):
    """Scheduler ``dreamer``; serves every schedule."""

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device  # nothing to choose, and its arithmetic follows the latents

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        return DreamerSampler(schedule)


@final
class AncestralScheduler(SchedulerStage):
    """Scheduler ``ancestral``; serves every schedule."""

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        return DreamerSampler(schedule, ancestral=True)


@final
class DreamerSampler(NoiseScheduler):
    """DDIM: to the clean estimate and back to the next noise level.

    Args:
        schedule: of the bundle.
        ancestral: whether as much of the noise as can be is drawn anew in every step (eta 1)
            instead of none (eta 0). What one step drew wrong the next ones may still mend, where
            without it they are held to what they were given.

    Source: Song et al., arXiv 2010.02502 (DDIM, eta 0 and 1); Lin et al., arXiv 2305.08891
    (trailing spacing, zero terminal SNR).
    """

    def __init__(self, schedule: NoiseSchedule, *, ancestral: bool = False) -> None:
        self._schedule = schedule
        self._ancestral = ancestral
        self._next: dict[int, int | None] = {}
        self._noise: Tensor | None = None

    def timesteps(self, num_steps: int) -> Tensor:
        """Return (num_steps,) int64, from the schedule's last step downwards, evenly spaced."""
        grid = trailing_timesteps(self._schedule.num_steps, num_steps)
        steps = [int(t) for t in grid]
        self._next = dict(zip(steps, [*steps[1:], None], strict=True))
        return grid

    def start(self, noise: Tensor, first_latents: Tensor | None) -> Tensor:
        """Return the noise, or its mixture with the first frame where signal is left."""
        if self._ancestral:
            self._noise = noise
        return start_latents(self._schedule, noise, first_latents)

    def scale_input(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return ``latents``: they are kept at unit variance, as the network saw them."""
        del t
        return latents

    def step(self, output: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """Go to the next of ``timesteps``; after the last one the clean estimate is the answer."""
        following = self._next[int(t)]
        levels = t.reshape(1).expand(len(latents))
        clean = self._schedule.to_clean(output, latents, levels)
        if following is None:
            return clean.to(latents.dtype)
        noise = self._schedule.to_noise(output, latents, levels)
        onward = torch.full_like(levels, following)
        if self._ancestral:
            noise = self._renewed(noise, levels, onward)
        return self._schedule.add_noise(clean, noise, onward).to(latents.dtype)

    def _renewed(self, noise: Tensor, levels: Tensor, onward: Tensor) -> Tensor:
        """Replace the part of the noise (B, ...) that eta 1 draws anew on the way to ``onward``.

        Ours: the fresh noise is that of the start, shuffled and with other signs, so that it
        belongs to its sample, on every device and in every batch.
        """
        if self._noise is None:
            raise RuntimeError("ancestral sampling needs `start` before the first `step`")
        generator = torch.Generator().manual_seed(int(onward[0]))
        size = self._noise[0].numel()
        order = torch.randperm(size, generator=generator).to(noise.device)
        sign = torch.randint(2, (size,), generator=generator).to(noise) * 2 - 1
        fresh = (self._noise.flatten(1)[:, order] * sign).view_as(noise)
        signal, sigma = self._schedule.signal_and_noise(levels[:1])
        next_signal, _ = self._schedule.signal_and_noise(onward[:1])
        # Variance of q(x_next | x, x0), as a share of the noise in x_next.
        share = (1 - (signal / next_signal).square()) / sigma.square()
        return (1 - share).sqrt() * noise + share.sqrt() * fresh


def trailing_timesteps(num_train_steps: int, num_steps: int) -> Tensor:
    """Space steps evenly, ending the schedule rather than beginning it.

    Args:
        num_train_steps: T, the length of the table.
        num_steps: how many to take, in [1, T].

    Returns:
        (num_steps,) int64, descending from T - 1.

    Raises:
        UsageError: ``num_steps`` is out of range.

    Source: Lin et al., arXiv 2305.08891 (trailing).
    """
    if not 1 <= num_steps <= num_train_steps:
        raise UsageError(
            f"steps = {num_steps}: the noise schedule has {num_train_steps} steps, so take from 1 "
            f"to {num_train_steps}; 10 to 50 are usual."
        )
    # Multiples of T / n, not a running difference: that one rounds to a step -1 for n = 61.
    back = torch.arange(num_steps, dtype=torch.float64) * num_train_steps / num_steps
    return (num_train_steps - back).round().long() - 1


def start_latents(schedule: NoiseSchedule, noise: Tensor, first_latents: Tensor | None) -> Tensor:
    """Return what the network was shown at the schedule's last step.

    Args:
        schedule: where it ends without signal, noise alone is what training showed.
        noise: (B, C, F, h, w) or (B, C, h, w), standard normal.
        first_latents: (B, C, h, w), repeated over frames, or None.

    Returns:
        Shaped like ``noise``.

    Ours: without zero terminal SNR every training clip still shone through at the last step; the
    first frame is the nearest thing to that clip's mean.
    """
    if schedule.zero_terminal_snr or first_latents is None:
        return noise
    first = first_latents
    if noise.ndim == first.ndim + 1:
        first = rearrange(first, "b c h w -> b c 1 h w")
    last = torch.full((len(noise),), schedule.num_steps - 1, device=noise.device)
    return schedule.add_noise(first.expand_as(noise), noise, last).to(noise.dtype)
