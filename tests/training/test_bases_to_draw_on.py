"""One motion file, other bases: fine-tunes in folders and single files, and what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from fdream.core.asking import asking
from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import UnconvertedError, WeightsError
from fdream.models.bundle import Bundle
from fdream.models.foreign_base import ForeignBase
from fdream.models.motion_modules import MotionModules
from fdream.models.single_files import pipeline_folder
from fdream.stages import registry
from fdream.stages.builtin.specs.steps import DreamerOptions
from fdream.stages.interfaces import SampleOptions
from fdream.training.objectives.video_model import new_motion
from fdream.training.objectives.video_options import VideoOptions
from tests.models.single_file_format import write_single_file

CPU = DeviceManager.choose("cpu")
SMALL = {
    "image_tokens": 2,
    "adapter_depth": 1,
    "head_width": 8,
    "level_width": 16,
    "pixel_stem_channels": [4, 4, 4, 4],
}
FIRST = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
Make = Callable[[str], object]


def animate(bundle: Path | str, base: Path | str | None = None) -> np.ndarray:
    named = f"dreamer:{bundle}" if base is None else f"dreamer:{bundle}@{base}"
    generator = registry.build("generator", named, {}, device=CPU)
    options = SampleOptions(steps=2, guidance=2.0)
    return generator.animate(FIRST, [CaptionPair("a", "b")], 3, 8.0, [0], options)


@pytest.fixture(scope="session")
def motion(foreign: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as training on SD 1.5 leaves it: motion inside, all else elsewhere."""
    made = foreign("sd15")
    base = ForeignBase(str(made.base), str(made.clip), str(made.t5)).open()
    torch.manual_seed(0)
    fresh = new_motion(VideoOptions(motion=SMALL), base, base.load("unet"), base.load("vae"))
    with torch.no_grad():  # fresh ones do nothing, and would hide which base they stand on
        for parameter in fresh.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    parts = {name: base.carried(name) for name in base.component_names}
    folder = tmp_path_factory.mktemp("motion") / "mine"
    Bundle.write(folder, {**parts, "motion": fresh}, base.information)
    return folder


@pytest.fixture(scope="session")
def tuned(foreign: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tune of SD 1.5: the same shapes, other weights."""
    folder = tmp_path_factory.mktemp("tuned") / "realistic"
    shutil.copytree(foreign("sd15").base, folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    save_file({key: value * 1.1 for key, value in load_file(weights).items()}, weights)
    return folder


@pytest.fixture
def sd15_in_cache(foreign: Make, own_home: Path) -> str:
    """The Hub's cache with the configuration of SD 1.5, and none of its weights."""
    repository = own_home / "huggingface/hub/models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    snapshot = repository / "snapshots" / ("a" * 40)
    weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(foreign("sd15").base, snapshot, ignore=weights)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture
def hub_cache(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the Hub's client look into the test's own home; it reads the variable at import."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(own_home / "huggingface/hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_motion_moves_what_a_fine_tune_draws(motion: Path, tuned: Path) -> None:
    own, other = animate(motion), animate(motion, tuned)
    assert registry.build("generator", f"dreamer:{motion}", {}, device=CPU).knows_photos()
    assert other.shape == (1, 3, 32, 32, 3)
    assert not np.array_equal(own, other)


def test_the_same_base_by_another_name_gives_the_same_frames(
    motion: Path, foreign: Make, tmp_path: Path
) -> None:
    shutil.copytree(foreign("sd15").base, tmp_path / "copy")
    assert np.array_equal(animate(motion), animate(motion, tmp_path / "copy"))


def test_a_bundle_lends_its_base_too(motion: Path) -> None:
    assert np.array_equal(animate(motion), animate(motion, motion))


@pytest.mark.parametrize(
    ("family", "difference"), [("sd21", "prediction_type"), ("sdxl", "layout.places")]
)
def test_a_base_of_another_kind_is_named_with_what_differs(
    motion: Path, foreign: Make, family: str, difference: str
) -> None:
    with pytest.raises(WeightsError, match=difference):
        animate(motion, foreign(family).base)


def test_a_base_with_other_latents_is_refused(motion: Path, tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tuned, folder)
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace("0.18215", "0.13025"))
    with pytest.raises(WeightsError, match=r"latent_scaling is 0\.18215.*0\.13025"):
        animate(motion, folder)


def test_a_single_file_is_the_pipeline_it_was_made_of(
    motion: Path, tuned: Path, tmp_path: Path, sd15_in_cache: str, hub_cache: None
) -> None:
    file = tmp_path / "realistic.safetensors"
    write_single_file(StableDiffusionPipeline.from_pretrained(tuned), file)
    assert np.array_equal(animate(motion, tuned), animate(motion, file))
    kept = pipeline_folder(str(file))
    assert kept == pipeline_folder(str(file))
    assert kept.parent.name == "pipelines"
    with asking():  # what is there is there for a question as well
        assert pipeline_folder(str(file)) == kept
    # And as the base of a new training.
    assert ForeignBase(str(file)).open().load("unet") is not None
    # And as what draws the first frame.
    drawn = [
        registry.build("prior", f"diffusers:{place}", {}, device=CPU) for place in (file, tuned)
    ]
    options = SampleOptions(steps=2)
    one, two = (p.draw(["a corgi"], p.default_size, [3], options) for p in drawn)
    assert np.array_equal(one, two)
    assert drawn[0].provenance()["model"] == "realistic.safetensors"


def test_a_file_says_or_is_told_what_it_predicts(
    tuned: Path, tmp_path: Path, sd15_in_cache: str, hub_cache: None
) -> None:
    file = tmp_path / "v.safetensors"
    pipeline = StableDiffusionPipeline.from_pretrained(tuned)
    write_single_file(pipeline, file, **{"modelspec.prediction_type": "v"})

    def predicts(name: str) -> str:
        text = (pipeline_folder(name) / "scheduler" / "scheduler_config.json").read_text()
        return "v_prediction" if '"v_prediction"' in text else "epsilon"

    assert predicts(str(file)) == "v_prediction"
    assert predicts(f"{file}:epsilon") == "epsilon"


def test_a_file_that_is_no_checkpoint_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "file.safetensors"
    network = "model.diffusion_model.input_blocks.0.0.weight"
    for tensors, message in (
        ({"lora.down": torch.zeros(2)}, "a LoRA or a part alone is none"),
        ({network: torch.zeros(8, 9, 3, 3)}, "takes 9 channels, as those for inpainting"),
        ({network: torch.zeros(8, 4, 3, 3)}, "has no text encoder"),
        (
            {network: torch.zeros(8, 4, 3, 3), "cond_stage_model.model.ln": torch.zeros(2)},
            r"write .*file\.safetensors:v_prediction if it was made for 768",
        ),
    ):
        save_file(tensors, file)
        with pytest.raises(WeightsError, match=message):
            pipeline_folder(str(file))
    file.write_bytes(b"no")
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        pipeline_folder(str(file))


def test_without_the_family_s_configuration_it_says_what_to_fetch(
    tuned: Path, tmp_path: Path, hub_cache: None
) -> None:
    file = tmp_path / "realistic.safetensors"
    write_single_file(StableDiffusionPipeline.from_pretrained(tuned), file)
    with pytest.raises(WeightsError, match="hf download stable-diffusion-v1-5") as caught:
        pipeline_folder(str(file))
    assert "\n" not in str(caught.value)


def test_a_question_neither_fetches_nor_converts_a_file(
    motion: Path,
    tuned: Path,
    foreign: Make,
    tmp_path: Path,
    own_home: Path,
    hub_cache: None,
    sd15_in_cache: str,
    fdream: Callable[..., Any],
) -> None:
    file = tmp_path / "realistic.safetensors"
    write_single_file(StableDiffusionPipeline.from_pretrained(tuned), file)
    told = f"{file}: the first run brings it into diffusers' form"
    made = foreign("sd15")
    parts = (f"image_encoder={made.clip}", f"motion_text_encoder={made.t5}")
    sets = [word for part in parts for word in ("-s", f"objective.{part}")]

    dry = fdream("train", "lora-folder", "--dry-run", "--json", "--init-from", str(file), *sets)
    found = {one["subject"]: one for one in json.loads(dry.out)["findings"]}
    assert found["weights"]["ok"], found
    assert found["weights"]["told"].startswith(told)
    assert not {"trained", "disk", "memory"} & set(found)

    asked = fdream("doctor", "--model", f"diffusers:{file}", "--json")
    (answer,) = json.loads(asked.out)
    assert (asked.code, answer["status"]) == (0, "note")
    assert answer["detail"].startswith(told)

    standing = tmp_path / "standing"  # motion that was trained on the file
    shutil.copytree(motion, standing)
    index = standing / "model_index.json"
    index.write_text(index.read_text().replace(str(made.base), str(file)))
    for words in (
        ("t2i", "a corgi", "--prior", f"diffusers:{file}", "--fit", "--explain"),
        ("i2v", "x.png", "--generator", f"dreamer:{motion}@{file}", "--explain"),
        ("models", str(standing)),
    ):
        ran = fdream(*words)
        assert (ran.code, ran.out) == (3, "")
        assert told in ran.err
    assert not (own_home / "cache").exists()


def test_a_question_says_what_would_be_fetched_or_could_not(
    tuned: Path, tmp_path: Path, hub_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "realistic.safetensors"
    write_single_file(StableDiffusionPipeline.from_pretrained(tuned), file)
    with asking(), pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set") as caught:
        pipeline_folder(str(file))
    assert not isinstance(caught.value, UnconvertedError)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    fetched = "and fetches the configuration of Stable Diffusion 1.x"
    with asking(), pytest.raises(UnconvertedError, match=fetched):
        pipeline_folder(str(file))


def test_bundle_and_base_are_parted_at_the_last_sign(tmp_path: Path) -> None:
    both = DreamerOptions.model_validate({"bundle": "runs/x@owner/name"})
    assert (both.bundle, both.base) == ("runs/x", "owner/name")
    odd = tmp_path / "me@work"
    odd.mkdir()
    assert DreamerOptions.model_validate({"bundle": str(odd)}).base is None
    assert DreamerOptions.model_validate({"bundle": f"{odd}@b"}).bundle == str(odd)


def test_motion_goes_to_the_hub_and_comes_back(
    motion: Path, tmp_path: Path, hub_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's last two calls are replaced: what would go up is kept in a folder."""
    there = tmp_path / "hub"

    def keep(repo_id: str, folder_path: str, **rest: object) -> None:
        shutil.copytree(folder_path, there / repo_id)

    monkeypatch.setattr("diffusers.utils.hub_utils.upload_folder", keep)
    monkeypatch.setattr(
        "diffusers.utils.hub_utils.create_repo",
        lambda repo_id, **rest: type("Repository", (), {"repo_id": repo_id}),
    )
    held = Bundle.open(motion).load("motion")
    held.push_to_hub("me/motion")
    back = MotionModules.from_pretrained(there / "me" / "motion")
    assert back.config.table_hash == held.config.table_hash
    assert all(torch.equal(a, b) for a, b in zip(held.parameters(), back.parameters(), strict=True))


def test_a_bundle_in_the_hub_s_cache_is_opened_by_its_name(
    motion: Path, own_home: Path, hub_cache: None
) -> None:
    repository = own_home / "huggingface/hub/models--me--motion"
    shutil.copytree(motion, repository / "snapshots" / ("b" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    assert np.array_equal(animate("me/motion"), animate(motion))
    with pytest.raises(WeightsError, match="hf download me/another"):
        animate("me/another")
