"""What every sampler owes: the same start, the right end, the number of steps asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fdream.core.device import DeviceManager
from fdream.core.errors import StageError, UsageError
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages import registry
from fdream.stages.builtin.diffusers_schedulers import DiffusersSampler
from fdream.stages.builtin.dreamer_scheduler import trailing_timesteps
from fdream.stages.interfaces import NoiseScheduler

STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    # As SD 1.5 ships them; both would be wrong for latents and for trailing spacing.
    "clip_sample": True,
    "set_alpha_to_one": False,
}
SCHEDULES = {
    "pocket": NoiseSchedule.pocket(),
    "sd15": NoiseSchedule.from_config(STABLE_DIFFUSION),
    "sd21": NoiseSchedule.from_config(STABLE_DIFFUSION | {"prediction_type": "v_prediction"}),
}
SAMPLERS = ["dreamer", "ancestral", "ddim", "dpm++", "euler", "unipc", "heun"]
PAIRS = [(s, b) for s in SAMPLERS for b in SCHEDULES if (s, b) != ("heun", "pocket")]


def bound(name: str, schedule: NoiseSchedule, device: DeviceManager) -> NoiseScheduler:
    return registry.build("scheduler", name, {}, device=device).build(schedule)


def oracle(schedule: NoiseSchedule, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """What a perfect network answers: the noise is whatever ``clean`` leaves of ``noisy``."""
    levels = t.expand(len(noisy))
    signal, sigma = (part.view(-1, 1, 1, 1, 1) for part in schedule.signal_and_noise(levels))
    return schedule.target(clean, (noisy - signal * clean) / sigma, levels)


def sample(
    sampler: NoiseScheduler, schedule: NoiseSchedule, clean: Tensor, noise: Tensor, steps: int
) -> Tensor:
    grid = sampler.timesteps(steps)
    latents = sampler.start(noise, None)
    for t in grid:
        output = oracle(schedule, clean, sampler.scale_input(latents, t), t)
        latents = sampler.step(output, t, latents)
    return latents


@pytest.fixture
def latents() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    clean, noise = torch.randn(2, 2, 4, 3, 5, 6, generator=generator)
    return clean, noise


@pytest.mark.parametrize(("name", "base"), PAIRS)
@pytest.mark.parametrize("steps", [1, 2, 7, 25, 61])
def test_a_perfect_network_leads_to_the_clean_latents(
    name: str, base: str, steps: int, cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    clean, noise = latents
    sampler = bound(name, SCHEDULES[base], cpu)
    torch.testing.assert_close(
        sample(sampler, SCHEDULES[base], clean, noise, steps), clean, atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("base", SCHEDULES)
@pytest.mark.parametrize("steps", [4, 20, 50])
def test_dreamer_agrees_with_ddim_of_diffusers(
    base: str, steps: int, cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    schedule = SCHEDULES[base]
    ours, theirs = bound("dreamer", schedule, cpu), bound("ddim", schedule, cpu)
    grid = ours.timesteps(steps)
    assert torch.equal(grid, theirs.timesteps(steps))
    here = there = latents[1]
    for index, t in enumerate(grid):
        # An imperfect network, bounded as a trained one's answer is.
        answer = torch.sin(latents[0] + index)
        here, there = ours.step(answer, t, here), theirs.step(answer, t, there)
        torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "base"), PAIRS)
@pytest.mark.parametrize("steps", [1, 5, 12, 30])
def test_as_many_steps_as_asked_for_from_the_last_one_down(
    name: str, base: str, steps: int, cpu: DeviceManager
) -> None:
    grid = bound(name, SCHEDULES[base], cpu).timesteps(steps)
    assert grid[0] == 999
    assert torch.equal(grid.unique().flip(0), trailing_timesteps(1000, steps))
    assert len(grid) == (2 * steps - 1 if name == "heun" else steps)


@pytest.mark.parametrize(("name", "base"), PAIRS)
def test_every_sampler_shows_the_network_the_same_start(
    name: str, base: str, cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    _, noise = latents
    first = torch.full((2, 4, 5, 6), 0.5)
    schedule = SCHEDULES[base]
    sampler = bound(name, schedule, cpu)
    t = sampler.timesteps(10)[0]
    shown = sampler.scale_input(sampler.start(noise, first), t)
    signal, sigma = schedule.signal_and_noise(t)
    torch.testing.assert_close(shown, signal * 0.5 + sigma * noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("base", SCHEDULES)
def test_ancestral_steps_keep_the_noise_level_and_leave_the_first_noise(
    base: str, cpu: DeviceManager
) -> None:
    schedule, generator = SCHEDULES[base], torch.Generator().manual_seed(4)
    clean, noise = torch.randn(2, 2, 4, 16, 32, 32, generator=generator)
    sampler = bound("ancestral", schedule, cpu)
    grid = sampler.timesteps(8)
    latents, left = sampler.start(noise, None), []
    for t, following in zip(grid, [*grid[1:], None], strict=True):
        latents = sampler.step(oracle(schedule, clean, latents, t), t, latents)
        if following is None:
            continue
        signal, sigma = schedule.signal_and_noise(following)
        shown = (latents - signal * clean) / sigma
        assert shown.std().item() == pytest.approx(1, abs=0.01)
        left.append((shown * noise).mean().item())
    # How much of the first noise is left is the product of what each step keeps of it.
    signals, sigmas = schedule.signal_and_noise(grid)
    kept = (signals[:-1] / signals[1:]) * (sigmas[1:] / sigmas[:-1])
    torch.testing.assert_close(torch.tensor(left), kept.cumprod(0), atol=0.02, rtol=0)


def test_ancestral_noise_belongs_to_its_sample(
    cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    clean, noise = latents
    sampler = bound("ancestral", SCHEDULES["pocket"], cpu)

    def drawn(rows: slice) -> Tensor:
        here = sampler.start(noise[rows], None)
        for t in sampler.timesteps(6)[:-1]:
            here = sampler.step(torch.sin(clean[rows]), t, here)
        return here

    together = drawn(slice(None))
    for row in range(2):
        assert torch.equal(drawn(slice(row, row + 1))[0], together[row])
    assert not torch.allclose(together[0], together[1])


def test_zero_terminal_snr_starts_from_the_noise_exactly(
    cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    for name in ("dreamer", "ddim"):
        sampler = bound(name, SCHEDULES["pocket"], cpu)
        t = sampler.timesteps(10)[0]
        start = sampler.start(latents[1], torch.ones(2, 4, 5, 6))
        assert torch.equal(sampler.scale_input(start, t), latents[1])


@pytest.mark.parametrize("name", SAMPLERS[:-1])
def test_a_sampler_serves_one_run_after_another(
    name: str, cpu: DeviceManager, latents: tuple[Tensor, Tensor]
) -> None:
    schedule = SCHEDULES["pocket"]
    sampler = bound(name, schedule, cpu)
    runs = [sample(sampler, schedule, *latents, steps) for steps in (6, 9, 6)]
    assert torch.equal(runs[0], runs[2])


def test_a_sampler_that_cannot_start_without_signal_is_refused(cpu: DeviceManager) -> None:
    with pytest.raises(StageError, match=r"'heun' cannot start at zero terminal SNR") as raised:
        bound("heun", SCHEDULES["pocket"], cpu)
    assert raised.value.exit_code == 3


def test_a_sampler_on_another_table_is_refused(cpu: DeviceManager) -> None:
    base = SCHEDULES["sd15"]
    config: dict[str, Any] = STABLE_DIFFUSION | {"beta_end": 0.02}
    misdescribed = NoiseSchedule(base.alphas_cumprod, "epsilon", False, config)
    with pytest.raises(StageError, match="does not reproduce"):
        bound("ddim", misdescribed, cpu)
    assert bound("dreamer", misdescribed, cpu)


@pytest.mark.parametrize("steps", [0, 1001])
@pytest.mark.parametrize("name", ["dreamer", "euler"])
def test_an_impossible_number_of_steps_is_a_usage_error(
    name: str, steps: int, cpu: DeviceManager
) -> None:
    with pytest.raises(UsageError, match=f"steps = {steps}"):
        bound(name, SCHEDULES["pocket"], cpu).timesteps(steps)


@pytest.mark.parametrize(("name", "base"), PAIRS)
def test_no_count_of_steps_is_lost_to_rounding(name: str, base: str, cpu: DeviceManager) -> None:
    """diffusers' own arithmetic takes 62 steps for 61, and another step than ours for 48."""
    sampler = bound(name, SCHEDULES[base], cpu)
    for steps in (48, 61, 96, 103, 122, 333, 994, 998, 1000):
        grid = sampler.timesteps(steps)
        assert torch.equal(grid.unique().flip(0), trailing_timesteps(1000, steps)), steps


@pytest.mark.parametrize("name", SAMPLERS[2:-1])
def test_our_time_steps_keep_the_noise_levels_of_diffusers(name: str, cpu: DeviceManager) -> None:
    ours, theirs = (bound(name, SCHEDULES["sd21"], cpu) for _ in range(2))
    assert isinstance(ours, DiffusersSampler)
    assert isinstance(theirs, DiffusersSampler)
    for steps in (5, 20, 25):  # its arithmetic gets these right
        ours.timesteps(steps)
        theirs._sampler.set_timesteps(steps)
        for kept in ("timesteps", "sigmas") if name != "ddim" else ("timesteps",):
            assert torch.equal(getattr(ours._sampler, kept), getattr(theirs._sampler, kept))


def test_trailing_spacing_is_strictly_descending_for_every_count() -> None:
    for steps in range(1, 1001):
        grid = trailing_timesteps(1000, steps)
        assert grid[0] == 999
        assert grid[-1] >= 0
        assert bool((grid[1:] < grid[:-1]).all())
