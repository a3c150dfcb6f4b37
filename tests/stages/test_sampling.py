"""Guidance and the sampling loop, held to what their sources say of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdream.core.device import DeviceManager
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages import registry
from fdream.stages.builtin.dreamer_scheduler import DreamerSampler
from fdream.stages.builtin.pixels import to_uint8, to_unit
from fdream.stages.builtin.sampling import guide, sample_latents
from fdream.stages.interfaces import SampleOptions


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_scale_one_is_the_conditional_answer_and_zero_the_other() -> None:
    one, other = random(2, 4, 3, 3), random(2, 4, 3, 3, seed=1)
    assert torch.allclose(guide(one, other, 1.0, 0.0), one, atol=1e-6)
    assert torch.equal(guide(one, other, 0.0, 0.0), other)


def test_full_rescale_gives_back_the_deviation_of_each_sample() -> None:
    one, other = random(2, 4, 3, 3), random(2, 4, 3, 3, seed=1)
    rescaled = guide(one, other, 8.0, 1.0)
    axes = (1, 2, 3)
    assert torch.allclose(rescaled.std(dim=axes), one.std(dim=axes), atol=1e-5)
    assert (guide(one, other, 8.0, 0.0).std(dim=axes) > 2 * one.std(dim=axes)).all()


def test_rescale_leaves_neighbours_alone() -> None:
    one, other = random(2, 4, 3, 3), random(2, 4, 3, 3, seed=1)
    both = guide(one, other, 5.0, 0.7)
    alone = guide(one[:1], other[:1], 5.0, 0.7)
    assert torch.allclose(both[:1], alone, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 5, 5), (2, 4, 3, 5, 5)])
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_a_network_that_knows_the_answer_arrives_at_it(shape: tuple[int, ...], steps: int) -> None:
    schedule = NoiseSchedule.pocket()
    answer = random(*shape, seed=3)

    def oracle(latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        signal, sigma = schedule.signal_and_noise(t)
        axes = (-1, *[1] * (latents.ndim - 1))
        noise = (latents - signal.reshape(axes) * answer) / sigma.reshape(axes)
        return schedule.target(answer, noise, t)

    found = sample_latents(
        DreamerSampler(schedule), random(*shape), oracle, None, steps=steps, guidance=1.0
    )
    assert torch.allclose(found, answer, atol=1e-3)


def test_steps_are_counted_and_the_other_branch_is_spared_without_guidance() -> None:
    asked: list[str] = []
    seen: list[tuple[int, int]] = []

    def network(name: str) -> object:
        def answer(latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            assert t.shape == (len(latents),)
            asked.append(name)
            return torch.zeros_like(latents)

        return answer

    for guidance, calls in ((1.0, 3), (2.0, 6)):
        asked.clear()
        seen.clear()
        sample_latents(
            DreamerSampler(NoiseSchedule.pocket()),
            random(1, 4, 2, 2),
            network("with"),
            network("without"),
            steps=3,
            guidance=guidance,
            on_step=lambda done, total: seen.append((done, total)),
        )
        assert len(asked) == calls
        assert seen == [(1, 3), (2, 3), (3, 3)]


def test_every_level_survives_the_way_through_the_network_range() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    frames = levels.contiguous().numpy()
    assert (to_uint8(to_unit(frames)) == frames).all()


def test_a_bundle_states_its_sampler_and_who_asks_may_take_another(cpu: DeviceManager) -> None:
    prior = registry.build("prior", "pocket", {}, device=cpu)

    def drawn(scheduler: str | None) -> np.ndarray:
        chosen = scheduler and registry.build("scheduler", scheduler, {}, device=cpu)
        options = SampleOptions(steps=3, scheduler=chosen)
        return prior.draw(["a corgi"], prior.default_size, [1], options)

    stated = prior.provenance()["defaults"]["scheduler"]
    assert stated == "ancestral"
    assert np.array_equal(drawn(None), drawn(stated))
    assert not np.array_equal(drawn(None), drawn("dreamer"))
