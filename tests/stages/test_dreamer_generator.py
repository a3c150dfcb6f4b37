"""The dreamer generator between generation and training."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import WeightsError
from fdream.core.sizes import Size
from fdream.models import first_frame_recall
from fdream.models.bundle import Bundle
from fdream.models.motion_modules import MotionModules
from fdream.stages import registry
from fdream.stages.builtin.dreamer_generator import DreamerGenerator
from fdream.stages.builtin.specs.steps import DreamerOptions
from fdream.stages.interfaces import SampleOptions

CAPTIONS = [CaptionPair("a corgi", "a corgi surfing")]
FIRST = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def generator(tiny_bundle: Path) -> DreamerGenerator:
    return DreamerGenerator(
        DreamerOptions(bundle=str(tiny_bundle)), device=DeviceManager.choose("cpu")
    )


def test_it_can_be_trained_after_it_has_animated(generator: DreamerGenerator) -> None:
    generator.animate(FIRST, CAPTIONS, 2, 8.0, [1], SampleOptions())
    frames = torch.rand(1, 3, 2, 32, 32) * 2 - 1
    condition = generator.condition(frames[:, :, 0], CAPTIONS, torch.tensor([8.0]))
    latents, t = generator.encode(frames), torch.tensor([500])
    output = generator.predict(latents, t, condition).output
    generator.schedule.to_clean(output, latents, t).square().mean().backward()
    assert all(p.grad is None for p in generator.network.spatial.parameters())
    trained = [p.grad is not None for p in generator.network.motion.parameters()]
    assert sum(trained) > 0.9 * len(trained)


def test_assembled_from_its_parts_it_is_the_same_generator(
    generator: DreamerGenerator, tiny_bundle: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    assembled = DreamerGenerator.assemble(
        bundle, bundle.load("motion"), device=DeviceManager.choose("cpu")
    )
    assembled.eval()
    made = [
        g.animate(FIRST, CAPTIONS, 2, 8.0, [1], SampleOptions()) for g in (generator, assembled)
    ]
    assert np.array_equal(*made)


def test_defaults_are_the_bundles(generator: DreamerGenerator) -> None:
    assert (generator.default_frames, generator.default_fps) == (3, 8.0)
    assert generator.default_size == Size(32, 32)


def test_a_bundle_that_counts_its_words_says_that_photos_are_strange_to_it(
    generator: DreamerGenerator,
) -> None:
    assert generator.knows_photos() is False


def test_negative_caption_steers_only_with_guidance(generator: DreamerGenerator) -> None:
    def animate(guidance: float, negative: str) -> np.ndarray:
        options = SampleOptions(guidance=guidance, negative=negative)
        return generator.animate(FIRST, CAPTIONS, 2, 8.0, [1], options)

    assert np.array_equal(animate(1.0, ""), animate(1.0, "the sea"))
    assert not np.array_equal(animate(3.0, ""), animate(3.0, "the sea"))


@pytest.mark.parametrize("scheduler", ["dreamer", "ddim", "dpm++", "euler", "unipc"])
def test_every_sampler_ends_near_the_same_video(
    generator: DreamerGenerator, scheduler: str
) -> None:
    stage = registry.build("scheduler", scheduler, {}, device=DeviceManager.choose("cpu"))
    reference = generator.animate(FIRST, CAPTIONS, 2, 8.0, [1], SampleOptions(50, 1.0))
    options = SampleOptions(steps=50, guidance=1.0, scheduler=stage)
    made = generator.animate(FIRST, CAPTIONS, 2, 8.0, [1], options)
    assert np.abs(made.astype(int) - reference).mean() < 8


def test_a_bundle_without_motion_says_what_is_missing(tiny_bundle: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "base"
    shutil.copytree(tiny_bundle, folder)
    index = json.loads((folder / "model_index.json").read_text())
    del index["motion"]
    (folder / "model_index.json").write_text(json.dumps(index))
    generator = DreamerGenerator(
        DreamerOptions(bundle=str(folder)), device=DeviceManager.choose("cpu")
    )
    with pytest.raises(WeightsError, match="no 'motion'"):
        generator.animate(FIRST, CAPTIONS, 2, 8.0, [1], SampleOptions())


def test_more_frames_than_it_was_trained_for_are_made_in_windows(
    generator: DreamerGenerator,
) -> None:
    def animate(seeds: list[int], frames: int = 7) -> np.ndarray:
        first = FIRST.repeat(len(seeds), axis=0)
        options = SampleOptions(guidance=1.0)
        return generator.animate(first, CAPTIONS * len(seeds), frames, 8.0, seeds, options)

    assert generator.default_frames == 3
    both, alone = animate([1, 2]), animate([2])
    assert both.shape[1] == 7
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    generator.network.window = None
    assert not np.array_equal(animate([2]), alone)
    short = animate([2], 3)
    generator.network.window = 3
    assert np.array_equal(animate([2], 3), short)


def test_a_generator_that_searches_animates_each_image_alike_alone_and_among_others(
    tiny_bundle: Path,
) -> None:
    bundle, device = Bundle.open(tiny_bundle), DeviceManager.choose("cpu")
    config = {k: v for k, v in bundle.load("motion").config.items() if not k.startswith("_")}
    config |= {"first_frame_recall": True, "first_frame_search": True}
    torch.manual_seed(0)
    motion = MotionModules(**config)
    assert motion.recall is not None
    torch.nn.init.constant_(motion.recall.conv_out.bias, 0.5)
    generator = DreamerGenerator.assemble(bundle, motion, device=device)
    generator.eval()
    firsts = np.concatenate([FIRST, FIRST[:, ::-1], FIRST.transpose(0, 2, 1, 3)])
    captions = CAPTIONS * 3

    def animate(one: slice) -> np.ndarray:
        seeds = [1, 2, 3][one]
        return generator.animate(firsts[one], captions[one], 3, 8.0, seeds, SampleOptions())

    with patch.object(first_frame_recall, "search", wraps=first_frame_recall.search) as searched:
        together = animate(slice(None))
    assert searched.call_count > 0
    for k in range(3):
        apart = np.abs(animate(slice(k, k + 1))[0].astype(int) - together[k])
        assert apart.max() <= 1, (apart.max(), apart.mean())
