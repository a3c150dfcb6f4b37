"""The one sampling loop, for images and videos alike.

Noise becomes latents in a few steps of a sampler; classifier-free guidance asks the network twice a
step, once with the caption and once without, and exaggerates the difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fdream.models.bundle_folder import UseDefaults
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages.builtin.dreamer_scheduler import DreamerSampler
from fdream.stages.interfaces import NoiseScheduler, SampleOptions

Network = Callable[[Tensor, Tensor], Tensor]
"""(latents (B, ...), t (B,)) -> raw output shaped like the latents, for one fixed condition."""


def choose_sampler(
    schedule: NoiseSchedule, options: SampleOptions, defaults: UseDefaults
) -> tuple[NoiseScheduler, int]:
    """Bind the scheduler that was asked for, or the bundle's, and hold it to the number of steps.

    Args:
        schedule: of the bundle.
        options: may name a scheduler and a number of steps.
        defaults: where they name none.

    Returns:
        The sampler and the number of steps, for ``sample_latents``.

    Raises:
        StageError: that scheduler cannot serve the schedule.
        UsageError: the schedule has not so many steps.
    """
    if options.scheduler is not None:
        sampler = options.scheduler.build(schedule)
    else:
        sampler = DreamerSampler(schedule, ancestral=defaults.scheduler == "ancestral")
    steps = defaults.steps if options.steps is None else options.steps
    sampler.timesteps(steps)
    return sampler, steps


def sample_latents(
    sampler: NoiseScheduler,
    noise: Tensor,
    conditional: Network,
    unconditional: Network | None,
    *,
    steps: int,
    guidance: float,
    rescale: float = 0.0,
    first_latents: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Run a sampler from noise to clean latents.

    Args:
        sampler: fresh, bound to the network's own noise schedule.
        noise: (B, C, h, w) or (B, C, F, h, w), standard normal, float32, where the network is.
        conditional: the network under the caption.
        unconditional: the network under the negative caption; None: no guidance.
        steps: number of sampling steps.
        guidance: scale of classifier-free guidance; 1 is off.
        rescale: phi of ``guide``, in [0, 1].
        first_latents: (B, C, h, w), latents of the first frame, for schedules that start from it.
        on_step: called with (done, total) after each step.

    Returns:
        Clean latents, float32, shaped like ``noise``.
    """
    grid = sampler.timesteps(steps)
    latents = sampler.start(noise, first_latents)
    for done, t in enumerate(grid, start=1):
        seen = sampler.scale_input(latents, t)
        levels = t.to(noise.device).expand(len(noise))
        output = conditional(seen, levels).float()
        if unconditional is not None and guidance != 1:
            output = guide(output, unconditional(seen, levels).float(), guidance, rescale)
        latents = sampler.step(output, t, latents)
        if on_step is not None:
            on_step(done, len(grid))
    return latents


def guide(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float) -> Tensor:
    """Move the network's answer away from the unconditional one.

    Args:
        conditional: (B, ...), the answer under the caption.
        unconditional: (B, ...), the answer under the negative caption.
        scale: guidance scale; 1 returns ``conditional``.
        rescale: phi in [0, 1]: how far the result's deviation is pulled back to that of
            ``conditional``. Large scales overexpose, most of all at zero terminal SNR.

    Returns:
        (B, ...), in the prediction type of its inputs; both formulas hold for epsilon and v.

    Source: Ho and Salimans, arXiv 2207.12598 (guidance); Lin et al., arXiv 2305.08891 (rescale).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    wanted = conditional.std(dim=axes, keepdim=True)
    actual = guided.std(dim=axes, keepdim=True)
    return torch.lerp(guided, guided * (wanted / actual), rescale)
