"""Tiny random models in the true format of the large ones, and small recipes on small shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"
LETTERS = [chr(code) for code in range(97, 123)]

_SD: dict[str, Any] = {
    "block_out_channels": (8, 16, 16, 16),
    "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
    "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
}
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {**_SD, "attention_head_dim": 4},
    "sd21": {**_SD, "attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": (8, 16, 16),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP_CROSS, UP_CROSS, UP_PLAIN),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 2, 2),
        "cross_attention_dim": 32,
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 16 + 6 * 4,
        "norm_num_groups": 4,
    },
}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "projection_dim": 16,
}

SMALL_MOTION = {
    "image_tokens": "2",
    "adapter_depth": "1",
    "head_width": "8",
    "level_width": "16",
    "pixel_stem_channels": "[4, 4, 4, 4]",
}
QUICK = {
    "run.device": "cpu",
    "data.validation": "1",
    "data.workers": "0",
    "data.options.sizes": '["32x32"]',
    "data.options.frames": "[4]",
    "data.options.stride": "[1, 2]",
    "train.batch_size": "2",
    "train.accumulate": "1",
    "train.steps": "2",
    "train.warmup_steps": "1",
    "train.log_every": "1",
    "train.probe_every": "2",
    "train.gradient_checkpointing": "false",
    "objective.sheet_steps": "1",
    "objective.sheet_clips": "1",
    **{f"objective.motion.{key}": value for key, value in SMALL_MOTION.items()},
}
FAMILIES = {
    "webvid": "sd21",
    "webvid-sdxl": "sdxl",
    "finetune-folder": "sd21",
    "lora-folder": "sd21",
}


@dataclass(frozen=True)
class Foreign:
    """Where the tiny models are.

    Attributes:
        base: a pipeline in diffusers form.
        clip: a whole CLIP model.
        t5: a T5 encoder with its tokenizer.
    """

    base: Path
    clip: Path
    t5: Path

    @property
    def keys(self) -> dict[str, str]:
        """The recipe's keys that name them."""
        return {
            "train.init_from": str(self.base),
            "objective.image_encoder": str(self.clip),
            "objective.motion_text_encoder": str(self.t5),
        }


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small gain nothing from a second thread, and lose much when it is busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Foreign]:
    """Make tiny models of a family: ``sd15``, ``sd21`` or ``sdxl``."""
    place = tmp_path_factory.mktemp("foreign")
    made: dict[str, Foreign] = {}

    def make(family: str) -> Foreign:
        if family not in made:
            if not (place / "clip").exists():
                _encoders(place)
            _pipeline(place / family, family)
            made[family] = Foreign(place / family, place / "clip", place / "t5")
        return made[family]

    return make


def _pipeline(folder: Path, family: str) -> None:
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        PNDMScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    table = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
    }
    kind = "v_prediction" if family == "sd21" else "epsilon"
    unet = UNet2DConditionModel(sample_size=8, **UNETS[family])
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=4,
        norm_num_groups=2,
        sample_size=32,
        scaling_factor=0.18215,
    )
    marks = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = CLIPTextConfig(vocab_size=54, max_position_embeddings=12, **marks, **CLIP)
    if family == "sdxl":
        StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(text),
            text_encoder_2=CLIPTextModelWithProjection(text),
            tokenizer=_clip_tokenizer(),
            tokenizer_2=_clip_tokenizer(),
            unet=unet,
            scheduler=EulerDiscreteScheduler(prediction_type=kind, **table),
        ).save_pretrained(folder)
        return
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=_clip_tokenizer(),
        unet=unet,
        scheduler=PNDMScheduler(prediction_type=kind, skip_prk_steps=True, **table),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _encoders(place: Path) -> None:
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
    )

    torch.manual_seed(0)
    whole = CLIPConfig(
        text_config=CLIPTextConfig(vocab_size=54, **CLIP).to_dict(),
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, **CLIP).to_dict(),
        projection_dim=16,
    )
    CLIPModel(whole).save_pretrained(place / "clip")
    T5EncoderModel(
        T5Config(vocab_size=60, d_model=12, d_kv=6, d_ff=12, num_layers=1, num_heads=2)
    ).save_pretrained(place / "t5")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS]
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512).save_pretrained(place / "t5")


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for ending in ("", "</w>"):
        for letter in LETTERS:
            vocabulary[letter + ending] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=12)


@dataclass(frozen=True)
class ClipFile:
    """A clip for a shard made on the spot."""

    key: str
    frames: Any
    fps: float = 8.0
    appearance: str = "a thing"
    motion: str = "it moves"
    data: bytes | None = None
    noted: bool = True
    promised: int | None = None
    """Frames that its JSON claims; the true number when not set."""


@pytest.fixture(scope="session")
def clip_file() -> type[ClipFile]:
    """The class, for tests that make clips: a conftest cannot be imported."""
    return ClipFile


@pytest.fixture(scope="session")
def write_shard() -> Callable[[Path, list[ClipFile]], Path]:
    """Write clips as a shard of the layout that prep and video2dataset write."""
    from fdream.data.encoding import Encoding
    from fdream.data.shards.writer import json_bytes, write_tar
    from fdream.data.writers import encode_video

    def write(path: Path, clips: list[ClipFile]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = []
        for clip in clips:
            video = clip.data
            if video is None:
                video = encode_video(clip.frames, clip.fps, Encoding("mp4"))
            count, height, width, _ = clip.frames.shape
            facts = {"height": height, "width": width, "num_frames": clip.promised or count}
            facts["fps"] = clip.fps
            samples.append(
                (
                    clip.key,
                    {
                        "mp4": video,
                        "txt": f"{clip.appearance}, {clip.motion}".encode(),
                        "json": json_bytes(facts if clip.noted else {}),
                        "appearance.txt": clip.appearance.encode(),
                        "motion.txt": clip.motion.encode(),
                    },
                )
            )
        write_tar(path, samples)
        return path

    return write


@pytest.fixture(scope="session")
def sprite_frames() -> Callable[..., Any]:
    """Render a small clip of SpriteWorld: uint8 (F, H, W, 3)."""
    from fdream.core.sizes import Size
    from fdream.data.spriteworld.world import SpriteWorld

    def render(seed: int, frames: int = 6, height: int = 32, width: int = 32) -> Any:
        world = SpriteWorld(cast="plain", size=Size(height, width), frames=frames, split="all")
        return world.clip(seed).frames

    return render


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, write_shard, clip_file, sprite_frames) -> Path:
    """Four clips, and one that is no video."""
    clips = [clip_file(f"c{k}", sprite_frames(k)) for k in range(4)]
    bad = clip_file("bad", sprite_frames(9), data=b"no video", noted=False)
    return write_shard(tmp_path_factory.mktemp("recipes") / "0.tar", [*clips, bad]).parent


@pytest.fixture
def sets(foreign: Callable[[str], Foreign], shards: Path) -> Callable[..., list[str]]:
    """What makes a recipe small enough for a test."""

    def make(name: str, **more: Any) -> list[str]:
        keys = {**foreign(FAMILIES[name]).keys, "data.options.shards": str(shards)}
        keys = {key: json.dumps(value) for key, value in keys.items()}
        changes = {**keys, **QUICK, **more}
        return [word for key, value in changes.items() for word in ("-s", f"{key}={value}")]

    return make
