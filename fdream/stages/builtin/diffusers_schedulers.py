"""Samplers of diffusers, bound to a bundle's noise schedule.

Each is built from the schedule's own numbers with ``rescale_betas_zero_snr`` and trailing spacing.
A ready-made rescaled table is never handed over: these samplers divide by its last entry. Euler,
DPM-Solver++ and UniPC end at alpha-bar 2^-24 instead of zero; only ``ddim`` keeps exact zero.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Final, cast, final

import torch
from torch import Tensor

from fdream.core.errors import StageError
from fdream.stages.builtin.dreamer_scheduler import start_latents, trailing_timesteps
from fdream.stages.interfaces import NoiseScheduler, SchedulerStage

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.models.noise_schedule import NoiseSchedule
    from fdream.stages.builtin.specs.schedulers import MultistepOptions
    from fdream.stages.spec import StageOptions

# What describes a table, with diffusers' own defaults: its schedulers do not all share them.
_TABLE: Final = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
}

# Two computations of one table in float32 and float64, and 2^-24 for zero, differ by less.
_SAME_TABLE: Final = 1e-5


@final
class DDIMStage(SchedulerStage):
    """Scheduler ``ddim``.

    diffusers steps back by the whole part of T / steps, so where the number of steps does not
    divide T each step aims up to one time step off, and the last may stop short of the end; here
    the last gives the clean estimate all the same. ``dreamer`` aims at the next one exactly.
    """

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        from diffusers import DDIMScheduler

        # Latents have no range to clip to, and the last step must end at the clean estimate.
        sampler = _bind("ddim", DDIMScheduler, schedule, clip_sample=False, set_alpha_to_one=True)
        return DiffusersSampler(sampler, schedule, end_clean=True)


@final
class DPMSolverStage(SchedulerStage):
    """Scheduler ``dpm++``."""

    def __init__(self, options: MultistepOptions, *, device: DeviceManager) -> None:
        del device
        self._order = options.order

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        from diffusers import DPMSolverMultistepScheduler

        sampler = _bind("dpm++", DPMSolverMultistepScheduler, schedule, solver_order=self._order)
        return DiffusersSampler(sampler, schedule)


@final
class UniPCStage(SchedulerStage):
    """Scheduler ``unipc``."""

    def __init__(self, options: MultistepOptions, *, device: DeviceManager) -> None:
        del device
        self._order = options.order

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        from diffusers import UniPCMultistepScheduler

        sampler = _bind("unipc", UniPCMultistepScheduler, schedule, solver_order=self._order)
        return DiffusersSampler(sampler, schedule)


@final
class EulerStage(SchedulerStage):
    """Scheduler ``euler``."""

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule."""
        from diffusers import EulerDiscreteScheduler

        sampler = _bind("euler", EulerDiscreteScheduler, schedule)
        return DiffusersSampler(sampler, schedule, sigma_space=True)


@final
class HeunStage(SchedulerStage):
    """Scheduler ``heun``: every step but the last asks the network twice."""

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device

    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule without zero terminal SNR.

        Raises:
            StageError: the schedule ends without signal, which diffusers' Heun cannot take.
        """
        from diffusers import HeunDiscreteScheduler

        sampler = _bind("heun", HeunDiscreteScheduler, schedule)
        return DiffusersSampler(sampler, schedule, sigma_space=True)


@final
class DiffusersSampler(NoiseScheduler):
    """A diffusers scheduler behind our interface, deterministic, in float32.

    Args:
        sampler: the diffusers scheduler, built on ``schedule``'s numbers.
        schedule: the bundle's schedule.
        sigma_space: whether its latents are clean + sigma * noise, not of unit variance.
        end_clean: whether its last step has to be made to end at the clean estimate.
    """

    def __init__(
        self,
        sampler: Any,
        schedule: NoiseSchedule,
        *,
        sigma_space: bool = False,
        end_clean: bool = False,
    ) -> None:
        self._sampler = sampler
        self._schedule = schedule
        self._sigma_space = sigma_space
        self._end_clean = end_clean

    def timesteps(self, num_steps: int) -> Tensor:
        """Return int64 time steps, descending; ``heun`` visits all but the first twice.

        Raises:
            UsageError: more steps than the schedule has, or fewer than one.
        """
        _visit(self._sampler, trailing_timesteps(self._schedule.num_steps, num_steps))
        return cast(Tensor, self._sampler.timesteps).cpu().long()

    def start(self, noise: Tensor, first_latents: Tensor | None) -> Tensor:
        """Return the same start as ``dreamer``, in this sampler's own scale."""
        latents = start_latents(self._schedule, noise, first_latents)
        if not self._sigma_space:
            return latents
        sigma = float(self._sampler.sigmas[0])
        return latents * math.hypot(1.0, sigma)

    def scale_input(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return ``latents`` at unit variance."""
        return cast(Tensor, self._sampler.scale_model_input(latents, self._own(t)))

    def step(self, output: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """Take one step of the diffusers scheduler."""
        own = self._own(t)
        stepped = self._sampler.step(output.float(), own, latents.float())
        if self._end_clean and own == self._sampler.timesteps[-1]:
            return cast(Tensor, stepped.pred_original_sample).to(latents.dtype)
        return cast(Tensor, stepped.prev_sample).to(latents.dtype)

    def _own(self, t: Tensor) -> Tensor:
        """Give ``t`` the dtype the scheduler looks it up by; Euler refuses integers."""
        return t.to("cpu", self._sampler.timesteps.dtype)


def _visit(sampler: Any, grid: Tensor) -> None:
    """Set a diffusers scheduler to these time steps, a run's own beginning.

    Left to itself it subtracts T / steps again and again, and for one count in nine (48 and 61 of
    1000 are the first) the rounding shifts a step by one or adds one that is not asked for.
    """
    if "timesteps" in inspect.signature(sampler.set_timesteps).parameters:
        sampler.set_timesteps(timesteps=grid.tolist())
        return
    sampler.set_timesteps(len(grid))
    sampler.timesteps = grid
    if not hasattr(sampler, "sigmas"):
        return  # ddim looks its noise levels up by time step
    levels = sampler.alphas_cumprod[grid]
    sampler.sigmas = torch.cat([((1 - levels) / levels).sqrt(), torch.zeros(1)])
    sampler.num_inference_steps = len(grid)


def _bind(name: str, kind: type[Any], schedule: NoiseSchedule, **own: Any) -> Any:
    """Build a diffusers scheduler on the numbers of ``schedule`` and check that it agrees."""
    config = {key: schedule.config.get(key, default) for key, default in _TABLE.items()}
    config["prediction_type"] = schedule.prediction_type
    config["timestep_spacing"] = "trailing"
    if schedule.zero_terminal_snr:
        if "rescale_betas_zero_snr" not in inspect.signature(kind).parameters:
            raise StageError(
                f"scheduler {name!r} cannot start at zero terminal SNR, as this bundle's noise "
                f"schedule does; take dreamer, ddim, dpm++, euler or unipc."
            )
        config["rescale_betas_zero_snr"] = True
    sampler = kind(**config, **own)
    table = torch.as_tensor(sampler.alphas_cumprod, dtype=torch.float64)
    if table.shape != schedule.alphas_cumprod.shape or not torch.allclose(
        table, schedule.alphas_cumprod, rtol=0, atol=_SAME_TABLE
    ):
        raise StageError(
            f"scheduler {name!r} does not reproduce this bundle's noise schedule from its "
            f"scheduler_config.json; take --scheduler dreamer, which reads the table itself."
        )
    return sampler
