"""Ready-made pipelines of diffusers behind ``--prior diffusers:X`` and ``--generator diffusers:X``.

Tiny random pipelines of every supported family are saved in the true format and opened from disk.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import StageError, UsageError, WeightsError
from fdream.core.sizes import Size
from fdream.stages import registry
from fdream.stages.builtin.diffusers_generator import one_caption, window_lengths
from fdream.stages.builtin.known_models import MODELS, known
from fdream.stages.builtin.ready_pipelines import ReadyPipeline
from fdream.stages.interfaces import SampleOptions, TextToImagePrior, VideoGenerator
from tests.stages import tiny_pipelines

PAIR = CaptionPair("a corgi", "surfing")
QUICK = SampleOptions(steps=2)
SMALL = {"svd": 32, "wan-2.1": 32, "wan-2.2": 32, "ltx": 32, "cogvideox": 16}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every tiny pipeline, saved once."""
    root = tmp_path_factory.mktemp("models")
    for name in (*tiny_pipelines.PRIORS, *tiny_pipelines.GENERATORS):
        tiny_pipelines.build(name).save_pretrained(root / name)
    return root


def prior(path: Path | str, device: DeviceManager) -> TextToImagePrior:
    stage: TextToImagePrior = registry.build("prior", f"diffusers:{path}", {}, device=device)
    return stage


def generator(path: Path | str, device: DeviceManager) -> VideoGenerator:
    stage: VideoGenerator = registry.build("generator", f"diffusers:{path}", {}, device=device)
    return stage


@pytest.mark.parametrize("name", tiny_pipelines.PRIORS)
def test_a_prior_draws_what_its_seed_says(name: str, models: Path, cpu: DeviceManager) -> None:
    stage = prior(models / name, cpu)
    assert stage.default_size == Size(16, 16)
    steps: list[tuple[int, int]] = []
    options = SampleOptions(steps=2, on_step=lambda done, total: steps.append((done, total)))
    pair = stage.draw(["a corgi", "a corgi"], Size(16, 24), [1, 2], options)
    assert (pair.dtype, pair.shape) == (np.uint8, (2, 16, 24, 3))
    assert steps == [(1, 2), (2, 2)] * 2
    assert not np.array_equal(pair[0], pair[1])
    alone = prior(models / name, cpu).draw(["a corgi"], Size(16, 24), [2], QUICK)
    assert np.array_equal(alone[0], pair[1])
    other = stage.draw(["a red car"], Size(16, 24), [2], QUICK)
    assert not np.array_equal(other[0], pair[1])


@pytest.mark.parametrize("name", tiny_pipelines.GENERATORS)
def test_a_generator_animates_what_its_seed_says(
    name: str, models: Path, cpu: DeviceManager
) -> None:
    stage = generator(models / name, cpu)
    side, frames = SMALL[name], stage.fit_frames(9)
    first = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    made = stage.animate(first, [PAIR, PAIR], frames, 8.0, [1, 2], QUICK)
    assert (made.dtype, made.shape) == (np.uint8, (2, frames, side, side, 3))
    alone = generator(models / name, cpu).animate(first[1:], [PAIR], frames, 8.0, [2], QUICK)
    assert np.array_equal(alone[0], made[1])
    reseeded = stage.animate(first[1:], [PAIR], frames, 8.0, [3], QUICK)
    assert not np.array_equal(reseeded[0], made[1])


@pytest.mark.parametrize(
    ("name", "frames", "made", "size", "fitted", "fps"),
    [
        ("svd", 5, 5, Size(30, 33), Size(32, 32), 7.0),
        ("wan-2.1", 16, 17, Size(100, 20), Size(96, 16), 16.0),
        ("wan-2.2", 3, 5, Size(100, 20), Size(96, 32), 24.0),
        ("ltx", 16, 17, Size(10, 20), Size(8, 16), 25.0),
        ("cogvideox", 1, 1, Size(100, 20), Size(96, 16), 8.0),
    ],
)
def test_frames_and_sizes_are_fitted_without_loading_a_network(
    name: str, frames: int, made: int, size: Size, fitted: Size, fps: float, models: Path,
    cpu: DeviceManager, tmp_path: Path,
) -> None:  # fmt: skip
    bare = tmp_path / name
    shutil.copytree(models / name, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    stage = generator(bare, cpu)
    assert stage.fit_frames(frames) == made
    assert stage.fit_size(size) == fitted
    assert stage.default_fps == fps
    assert stage.fit_size(stage.default_size) == stage.default_size
    assert stage.fit_frames(stage.default_frames) == stage.default_frames


def test_both_halves_of_a_caption_are_told_once() -> None:
    assert one_caption(CaptionPair("A corgi.", "surfing")) == "A corgi. surfing"
    assert one_caption(CaptionPair("a corgi surfing", "a corgi surfing")) == "a corgi surfing"
    assert one_caption(CaptionPair("a corgi", "a corgi surfing")) == "a corgi surfing"
    assert one_caption(CaptionPair("", "zooming in")) == "zooming in"


def test_the_record_names_the_model_and_never_its_path(models: Path, cpu: DeviceManager) -> None:
    record = prior(models / "sd", cpu).provenance()
    assert record == {
        "model": "sd",
        "pipeline": "StableDiffusionPipeline",
        "defaults": {"steps": 50, "guidance": 7.5},
    }
    assert str(models) not in json.dumps(generator(models / "svd", cpu).provenance())


def test_a_scheduler_of_ours_is_refused(models: Path, cpu: DeviceManager) -> None:
    euler = registry.build("scheduler", "euler", {}, device=cpu)
    with pytest.raises(StageError, match="samples with the scheduler it ships with"):
        prior(models / "sd", cpu).check(SampleOptions(scheduler=euler))


def test_what_it_cannot_make_is_refused_with_what_it_can(models: Path, cpu: DeviceManager) -> None:
    first = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match=r"makes 9 frames of 32x32, not 8 of 32x32"):
        generator(models / "wan-2.1", cpu).animate(first, [PAIR], 8, 8.0, [0], QUICK)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, cpu: DeviceManager) -> None:
    with pytest.raises(WeightsError, match=r"there is no model_index\.json"):
        prior(tmp_path, cpu).draw(["a"], Size(16, 16), [0], QUICK)
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(WeightsError, match="NoSuchPipeline"):
        prior(tmp_path, cpu).provenance()


def test_an_image_pipeline_is_no_generator(models: Path, cpu: DeviceManager) -> None:
    with pytest.raises(StageError, match="no image-to-video pipeline that fdream knows"):
        generator(models / "sd", cpu).fit_frames(4)


def test_a_damaged_file_is_named_and_a_pickle_is_never_opened(
    models: Path, cpu: DeviceManager, tmp_path: Path
) -> None:
    copy = tmp_path / "sd"
    shutil.copytree(models / "sd", copy)
    weights = next((copy / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="sd: cannot be opened"):
        prior(copy, cpu).draw(["a"], Size(16, 16), [0], QUICK)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="sd: cannot be opened"):
        prior(copy, cpu).draw(["a"], Size(16, 16), [0], QUICK)


_LEAVES_A_MARK = "from pathlib import Path\nPath({mark!r}).touch()\n"


@pytest.mark.parametrize("named", ["pipeline", "component"])
def test_code_beside_weights_is_never_run(
    named: str, models: Path, cpu: DeviceManager, tmp_path: Path
) -> None:
    copy, mark = tmp_path / "sd", tmp_path / "it-ran"
    shutil.copytree(models / "sd", copy)
    index = copy / "model_index.json"
    table = json.loads(index.read_text())
    module = copy / "evil.py" if named == "pipeline" else copy / "unet" / "evil.py"
    module.write_text(_LEAVES_A_MARK.format(mark=str(mark)) + "class Evil:\n    pass\n")
    table["_class_name" if named == "pipeline" else "unet"] = ["evil", "Evil"]
    index.write_text(json.dumps(table))
    with pytest.raises(StageError):
        prior(copy, cpu).draw(["a"], Size(16, 16), [0], QUICK)
    assert not mark.exists()


def test_a_pickle_in_place_of_safetensors_is_never_opened(
    models: Path, cpu: DeviceManager, tmp_path: Path
) -> None:
    copy, mark = tmp_path / "sd", tmp_path / "it-ran"
    shutil.copytree(models / "sd", copy)
    weights = next((copy / "unet").glob("*.safetensors"))
    weights.with_suffix(".bin").write_bytes(pickle.dumps(Touching(mark)))
    weights.unlink()
    with pytest.raises(WeightsError, match="sd: cannot be opened"):
        prior(copy, cpu).draw(["a"], Size(16, 16), [0], QUICK)
    assert not mark.exists()


class Touching:
    """Leaves a mark in whatever program unpickles it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


def test_a_model_that_is_not_here_says_what_to_fetch(
    cpu: DeviceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"hf download stabilityai/sdxl-turbo.*|6\.9 GB"):
        prior("sdxl-turbo", cpu).provenance()
    with pytest.raises(WeightsError, match="no such folder"):
        prior("./nowhere", cpu).provenance()


def test_short_names_are_unique_and_found_by_repository_too() -> None:
    assert len({m.name for m in MODELS}) == len(MODELS)
    assert known("stabilityai/sdxl-turbo") is known("sdxl-turbo")
    assert known("somebody/else") is None


@pytest.mark.parametrize("name", [*tiny_pipelines.PRIORS, *tiny_pipelines.GENERATORS])
def test_weights_are_counted_without_loading_them(
    name: str, models: Path, cpu: DeviceManager
) -> None:
    pipeline = tiny_pipelines.build(name)
    parts = {k: v for k, v in pipeline.components.items() if isinstance(v, torch.nn.Module)}
    # What is saved: weights that two layers share are one.
    counts = {key: sum(p.numel() for p in part.parameters()) for key, part in parts.items()}
    ready = ReadyPipeline(str(models / name), device=cpu)
    demand = ready.demand(Size(64, 64), 9)
    buffers = sum(b.numel() for part in parts.values() for b in part.buffers())
    assert sum(counts.values()) <= demand.weights <= sum(counts.values()) + buffers
    assert demand.component >= max(counts.values())
    assert 0 < demand.layer <= demand.block <= demand.component
    assert 0 < demand.work_tiled <= demand.work
    assert ready.demand(Size(2048, 2048), 9).work > demand.work
    assert "sequential" in demand.offloads


class Placed:
    """A pipeline that notes how it is put on a device."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.vae = self

    def __getattr__(self, name: str) -> Callable[..., Placed]:
        def note(*given: object, **options: object) -> Placed:
            self.done.append(name)
            return self

        return note


@pytest.mark.parametrize(
    ("offload", "call"),
    [
        ("none", "to"),
        ("model", "enable_model_cpu_offload"),
        ("group", "enable_group_offload"),
        ("sequential", "enable_sequential_cpu_offload"),
    ],
)
def test_a_pipeline_is_placed_as_fit_chose(offload: str, call: str, cpu: DeviceManager) -> None:
    gpu = replace(cpu, kind="cuda", torch_device=torch.device("cuda"), offload=offload, tiling=True)
    placed = Placed()
    assert hasattr(DiffusionPipeline, call)
    ReadyPipeline("x", device=gpu)._placed(placed)
    assert placed.done == ["enable_tiling", "enable_slicing", call]


def test_tiles_draw_nearly_the_same(models: Path, cpu: DeviceManager) -> None:
    whole, tiled, other = (
        prior(models / "sd", device).draw(["a corgi"], Size(64, 64), [seed], QUICK).ravel()
        for device, seed in ((cpu, 1), (replace(cpu, tiling=True), 1), (cpu, 2))
    )
    assert not np.array_equal(whole, tiled)
    assert np.corrcoef(whole, tiled)[0, 1] > 0.8
    assert np.corrcoef(whole, other)[0, 1] < 0.5


def test_windows_share_a_frame_and_add_up() -> None:
    assert window_lengths(9, 9) == [9]
    assert window_lengths(5, 9) == [5]
    assert window_lengths(20, 9) == [9, 9, 4]
    for frames in range(1, 60):
        lengths = window_lengths(frames, 9)
        assert sum(lengths) - (len(lengths) - 1) == frames
        assert all(2 <= length <= 9 for length in lengths[1:])


def test_a_long_video_goes_on_from_its_own_last_frame(models: Path, cpu: DeviceManager) -> None:
    stage = generator(models / "svd", cpu)
    first = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    window = stage.default_frames
    assert window == 4
    assert stage.fit_frames(9) == 9
    steps: list[tuple[int, int]] = []
    options = SampleOptions(steps=2, on_step=lambda done, total: steps.append((done, total)))
    made = stage.animate(first, [PAIR], 9, 7.0, [1], options)
    assert made.shape == (1, 9, 32, 32, 3)
    assert steps == [(done, 6) for done in range(1, 7)]
    short = stage.animate(first, [PAIR], window, 7.0, [1], QUICK)
    assert np.array_equal(made[:, :window], short)
    # What follows depends on the last frame that was shown, and on noise of its own.
    assert not np.array_equal(made[0, 4:7], made[0, 1:4])


def test_the_last_window_is_cut_to_what_was_asked_for(models: Path, cpu: DeviceManager) -> None:
    stage = generator(models / "cogvideox", cpu)
    first = np.zeros((1, 16, 16, 3), np.uint8)
    frames = stage.default_frames + 2
    assert stage.fit_frames(frames) == frames
    assert stage.animate(first, [PAIR], frames, 8.0, [1], SampleOptions(steps=1)).shape[1] == frames
