"""What is promised of repetition: whose noise it is, and how far a machine may move the frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.report import SilentReporter
from fdream.core.seeds import noise_seed
from fdream.pipelines.generation import ClipSettings, Sample, StillSettings, text_to_video
from fdream.pipelines.results import Clip
from fdream.pipelines.workshop import StageChoices, Workshop
from fdream.stages.builtin.dreamer_generator import DreamerGenerator
from fdream.stages.interfaces import SampleOptions

CAPTIONS = CaptionPair("a corgi on the sea", "surfing")
LATENTS_APART = 1e-4
SAME_SHARE = 0.999


@pytest.fixture
def shop(tiny_bundle: Path) -> Workshop:
    choices = StageChoices(prior=f"pocket:{tiny_bundle}", generator=f"dreamer:{tiny_bundle}")
    return Workshop(choices, DeviceManager.choose("cpu"), SilentReporter())


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make(shop: Workshop, seed: int = 7, index: int = 0) -> Clip:
    sample = Sample(seed, index)
    return text_to_video(CAPTIONS, sample, StillSettings(), ClipSettings(), shop)


def assert_promised(one: np.ndarray, other: np.ndarray) -> None:
    gaps = np.abs(one.astype(int) - other)
    assert (gaps <= 1).mean() >= SAME_SHARE


def test_each_stage_starts_from_the_noise_of_its_own_stream(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[int]] = {}
    draw, animate = shop.prior.draw, shop.generator.animate

    def drawing(captions: Any, size: Any, seeds: list[int], options: Any) -> Any:
        asked["prior"] = seeds
        return draw(captions, size, seeds, options)

    def animating(*given: Any) -> Any:
        asked["generator"] = given[4]
        return animate(*given)

    monkeypatch.setattr(shop.prior, "draw", drawing)
    monkeypatch.setattr(shop.generator, "animate", animating)
    make(shop, 5, 3)
    assert asked == {
        "prior": [noise_seed(5, "prior", 3)],
        "generator": [noise_seed(5, "generator", 3)],
    }


def test_one_sample_is_one_forward(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guidance asks a second time, and not with a larger batch."""
    batches = []
    predict = DreamerGenerator.predict

    def counted(self: DreamerGenerator, noisy: torch.Tensor, *rest: Any) -> Any:
        batches.append(len(noisy))
        return predict(self, noisy, *rest)

    monkeypatch.setattr(DreamerGenerator, "predict", counted)
    make(shop)
    assert batches == [1] * 4  # two steps, each with and without the caption


@pytest.mark.usefixtures("threads")
def test_other_threads_stay_within_what_is_promised(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents: list[torch.Tensor] = []
    decode = DreamerGenerator.decode

    def kept(self: DreamerGenerator, found: torch.Tensor) -> torch.Tensor:
        latents.append(found.detach().clone())
        return decode(self, found)

    monkeypatch.setattr(DreamerGenerator, "decode", kept)
    frames = []
    for number in (1, 2, 1):
        torch.set_num_threads(number)
        frames.append(make(shop).frames)
    assert torch.equal(latents[0], latents[2])
    assert np.array_equal(frames[0], frames[2])
    assert latents[0].dtype == torch.float32
    torch.testing.assert_close(latents[0], latents[1], atol=LATENTS_APART, rtol=0)
    assert_promised(frames[0], frames[1])


def test_a_batch_stays_within_what_is_promised_of_each_alone(shop: Workshop) -> None:
    """Whoever batches, as on a GPU, gets the same samples."""
    seeds = [noise_seed(seed, "generator", 0) for seed in range(4)]
    chance = np.random.default_rng(0)
    first = chance.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    options = SampleOptions(steps=2, guidance=2.0)

    def animated(part: slice) -> np.ndarray:
        given = first[part], [CAPTIONS] * len(first[part]), 3, 8.0, seeds[part], options
        return shop.generator.animate(*given)

    together = animated(slice(0, 4))
    for number in range(4):
        assert_promised(animated(slice(number, number + 1))[0], together[number])
    assert (np.abs(together[0].astype(int) - together[1]) > 1).mean() > 0.5  # they do differ
