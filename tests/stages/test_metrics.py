"""Metrics: known answers on clips whose motion is known, and every network in its true format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fdream.core.device import DeviceManager
from fdream.core.errors import DataError, StageError, UsageError, WeightsError
from fdream.models import known_weights
from fdream.stages import registry, testing
from fdream.stages.builtin import frechet_metrics
from fdream.stages.interfaces import ClipBatch

CPU = DeviceManager.choose("cpu")


def build(name: str, **options: Any) -> Any:
    return registry.build("metric", name, options, device=CPU)


def sliding(pixels: int, frames: int = 16, side: int = 64) -> np.ndarray:
    """A textured picture that slides to the right by so many pixels a frame."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    wide = np.array(Image.fromarray(coarse).resize((48 * 8, 16 * 8), Image.Resampling.BICUBIC))
    picture = wide[:side]
    return np.stack([picture[:, 160 - pixels * k : 160 - pixels * k + side] for k in range(frames)])


def batch(*clips: np.ndarray, **more: Any) -> ClipBatch:
    return ClipBatch(
        frames=np.stack(clips), captions=["a cab"] * len(clips), fps=[8.0] * len(clips), **more
    )


STILL, SLOW, FAST = sliding(0), sliding(1), sliding(3)


def test_flow_tells_how_much_moves() -> None:
    found = build("flow").measure(batch(STILL, SLOW, FAST))
    assert found["magnitude"] == pytest.approx([0, 1, 3], abs=0.15)
    # The rule asks for 1.5 pixels a frame at this size.
    assert found["moves"].tolist() == [0, 0, 1]


def test_warping_explains_motion_and_not_flicker() -> None:
    flicker = STILL.copy()
    flicker[::2] = 255 - flicker[::2]
    found = build("flow").measure(batch(STILL, FAST, flicker))["warping"]
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[1] < 0.005
    assert found[2] > 10 * found[1]


def test_flow_error_is_small_for_the_right_motion_and_large_for_none() -> None:
    flow = np.zeros((2, 15, 64, 64, 2), np.float32)
    flow[..., 0] = 3
    clips = batch(FAST, STILL, flow=flow, visible=np.ones(flow.shape[:-1], bool))
    right, none = build("flow-error").measure(clips)["error"]
    assert right < 0.3
    assert none == pytest.approx(3, abs=0.01)


def test_flow_error_without_known_flow_is_refused() -> None:
    with pytest.raises(StageError, match="without known flow"):
        build("flow-error").measure(batch(FAST))


def test_a_frozen_clip_is_perfectly_consistent() -> None:
    found = build("pixel-consistency").measure(batch(STILL, SLOW, FAST))
    assert found["psnr"][0] == pytest.approx(58.9, abs=0.1)
    assert found["ssim"][0] == pytest.approx(1)
    assert found["psnr"][0] > found["psnr"][1] > found["psnr"][2]
    assert found["ssim"][1] > found["ssim"][2]


def test_psnr_of_a_known_difference() -> None:
    clip = np.full((4, 32, 32, 3), 100, np.uint8)
    clip[1:] += 10
    found = build("pixel-consistency").measure(batch(clip))
    assert found["psnr"][0] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[28:36, 8:56] = (np.arange(48) // 4 % 2 * 255).astype(np.uint8)
    picture = np.dstack([np.full((64, 64, 3), 255, np.uint8), alpha])
    Image.fromarray(picture).save(tmp_path / "overlay.png")
    return tmp_path / "overlay.png"


def test_a_watermark_is_found_and_its_absence_too(overlay: Path) -> None:
    opacity = np.asarray(Image.open(overlay))[..., 3:].astype(float) / 255 * 0.45
    marked = (FAST * (1 - opacity) + 255 * opacity).astype(np.uint8)
    clean, leaked = build("watermark", overlay=str(overlay)).measure(batch(FAST, marked))["leakage"]
    assert abs(clean) < 0.2
    assert leaked > 0.5


def test_the_overlay_that_prep_left_beside_its_shards_is_found(overlay: Path) -> None:
    shards = overlay.parent / "shards"
    (shards / "overlay").mkdir(parents=True)
    (shards / "overlay" / "overlay.png").write_bytes(overlay.read_bytes())
    ways = [build("watermark", overlay=str(way)).measure(batch(FAST)) for way in (overlay, shards)]
    assert ways[0]["leakage"] == ways[1]["leakage"]


def test_a_missing_overlay_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.png"):
        build("watermark", overlay=str(tmp_path / "nothing.png"))


class Script(nn.Module):
    """Takes what I3D and Inception take, and answers with sums of pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(3, width)

    def forward(
        self,
        x: Tensor,
        rescale: bool = False,
        resize: bool = False,
        return_features: bool = False,
        no_output_bias: bool = False,
    ) -> Tensor:
        seen = self.mix(x.float().flatten(2).mean(2) / 255)
        return torch.softmax(seen, 1) if no_output_bias else seen


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put TorchScript files of the true names into the cache, and make their hashes known."""
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FDREAM_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    for name, known, width in (
        ("I3D", known_weights.I3D, 12),
        ("INCEPTION", known_weights.INCEPTION, 7),
    ):
        torch.jit.script(Script(width)).save(str(folder / known.name))
        digest = hashlib.sha256((folder / known.name).read_bytes()).hexdigest()
        monkeypatch.setattr(frechet_metrics, name, replace(known, sha256=digest))
    return folder


def test_i3d_gives_features_of_clips(scripts: Path) -> None:
    metric = build("fvd")
    assert metric.measure(batch(STILL, FAST))["features"].shape == (2, 12)
    assert "sha256" in metric.protocol()["extractor"]


def test_inception_gives_features_and_answers_of_frames(scripts: Path) -> None:
    assert build("fid").measure(batch(STILL, FAST))["features"].shape == (2, 16, 7)
    classes = build("is-frame").measure(batch(STILL, FAST))["classes"]
    assert classes.shape == (2, 16, 7)
    assert classes.sum(-1) == pytest.approx(np.ones((2, 16)), abs=1e-5)


def test_too_short_a_clip_for_i3d_says_how_long(scripts: Path) -> None:
    with pytest.raises(UsageError, match="10 frames or more, the clips have 8"):
        build("fvd").measure(batch(sliding(1, 8)))


def test_a_script_of_another_hash_is_never_opened(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*args: object, **kwargs: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(torch.jit, "load", opened)
    other = scripts / "other.pt"
    other.write_bytes((scripts / known_weights.I3D.name).read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="no other file is opened"):
        build("fvd", weights=str(other))


def test_missing_i3d_names_the_file_and_where_to_get_it() -> None:
    with pytest.raises(WeightsError, match=r"i3d_torchscript\.pt.*dropbox.*hf download") as error:
        build("fvd")
    assert error.value.exit_code == 3


def test_i3d_is_fetched_only_where_that_is_allowed(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = scripts / "hub.pt"
    (scripts / known_weights.I3D.name).rename(fetched)
    asked: list[tuple[str, str]] = []

    def fetch(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(fetched)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(WeightsError, match="which is not here"):
        build("fvd")
    assert asked == []
    assert build("fvd", download=True).measure(batch(FAST))["features"].shape == (1, 12)
    assert asked == [("flateon/FVD-I3D-torchscript", "i3d_torchscript.pt")]
    fetched.write_bytes(fetched.read_bytes() + b"0")
    with pytest.raises(WeightsError, match="no other file is opened"):
        build("fvd", download=True)


def test_a_download_that_fails_says_where_else_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(repository: str, name: str) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(WeightsError, match=r"no route to host.*dropbox"):
        build("fvd", download=True)


def test_i3d_is_found_in_the_cache_of_the_hub(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = scripts / "hub.pt"
    (scripts / known_weights.I3D.name).rename(kept)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *named: str(kept))
    assert build("fvd").measure(batch(FAST))["features"].shape == (1, 12)


def test_the_known_hashes_are_what_others_published() -> None:
    # Taken from many public sources, not from a file that lay here.
    assert known_weights.I3D.sha256.startswith("bec6519f66ea534e")
    assert known_weights.INCEPTION.sha256.startswith("f58cb9b6ec323ed6")


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP, saved as transformers saves the real one."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "clip"
    folder.mkdir()
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {w: i for i, w in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    marks = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPConfig(
        text_config={**small, **marks, "vocab_size": 54, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_clipsim_is_the_mean_cosine_that_clip_itself_computes(tiny_clip: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    clips = batch(sliding(1, side=32), sliding(3, side=32))
    found = build("clipsim", weights=str(tiny_clip)).measure(clips)["agreement"]
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_clip)(["a cab"], return_tensors="pt")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    for clip, value in zip(clips.frames, found, strict=True):
        pixels = (torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.no_grad():
            logits = model(pixel_values=pixels, **tokens).logits_per_image
        expected = float(logits.mean() / model.logit_scale.exp())
        assert value == pytest.approx(expected, abs=1e-5)


def test_clip_finds_a_frozen_clip_perfectly_steady(tiny_clip: Path) -> None:
    found = build("clip-consistency", weights=str(tiny_clip)).measure(batch(STILL, FAST))
    assert found["first"][0] == pytest.approx(1, abs=1e-6)
    assert found["steps"][0] == pytest.approx(1, abs=1e-6)
    assert found["first"][1] < found["steps"][1] < 1


def test_long_captions_are_cut_to_what_clip_reads(tiny_clip: Path) -> None:
    metric = build("clipsim", weights=str(tiny_clip))
    clips = replace(batch(STILL), captions=["cab " * 500])
    assert np.isfinite(metric.measure(clips)["agreement"]).all()


@pytest.fixture(scope="module")
def tiny_videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "videomae"
    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=8, tubelet_size=2, hidden_size=16,
        num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    )  # fmt: skip
    VideoMAEModel(config).save_pretrained(folder)
    return folder


def test_videomae_gives_features_and_wants_its_own_number_of_frames(tiny_videomae: Path) -> None:
    metric = build("fvd-videomae", weights=str(tiny_videomae))
    assert metric.measure(batch(sliding(1, 8), sliding(3, 8)))["features"].shape == (2, 16)
    with pytest.raises(UsageError, match="sees 8 frames, the clips have 16"):
        metric.measure(batch(STILL))


@pytest.mark.parametrize("name", ["clipsim", "clip-consistency", "fvd-videomae"])
def test_a_missing_model_says_how_to_get_it(name: str) -> None:
    with pytest.raises(WeightsError, match="hf download"):
        build(name, weights="someone/something")


def test_pickled_weights_are_refused(tmp_path: Path, tiny_clip: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    (tmp_path / "config.json").write_text((tiny_clip / "config.json").read_text())
    with pytest.raises(WeightsError, match="pickled weights are not opened"):
        build("clipsim", weights=str(tmp_path))


CHECKS = [pytest.param(c, id=testing.title(c)) for c in testing.checks("metric")]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["fid", "is-frame"])
def test_script_metrics_keep_the_rules(name: str, check: testing.Check, scripts: Path) -> None:
    testing.run(check, testing.Subject("metric", name)).demand()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["clipsim", "clip-consistency"])
def test_clip_metrics_keep_the_rules(name: str, check: testing.Check, tiny_clip: Path) -> None:
    testing.run(check, testing.Subject("metric", f"{name}:{tiny_clip}")).demand()


@pytest.mark.parametrize("check", CHECKS)
def test_videomae_keeps_the_rules(check: testing.Check, tiny_videomae: Path) -> None:
    testing.run(check, testing.Subject("metric", f"fvd-videomae:{tiny_videomae}")).demand()


@pytest.mark.parametrize("check", CHECKS)
def test_watermark_keeps_the_rules(check: testing.Check, overlay: Path) -> None:
    testing.run(check, testing.Subject("metric", f"watermark:{overlay}")).demand()
