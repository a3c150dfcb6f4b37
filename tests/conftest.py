"""What every test may rely on: a home of its own, a bare environment, no network."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest


def settle(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the home and the cache, and take away what the developer's shell says."""
    for name in list(os.environ):
        if name.startswith(("FDREAM_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("FDREAM_CACHE", str(home / "cache"))
    monkeypatch.setenv("FDREAM_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("COLUMNS", "100")
    return home


@pytest.fixture(scope="session", autouse=True)
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give what several tests share a home too: it is made before any test has its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield settle(tmp_path_factory.mktemp("shared-home"), monkeypatch)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home and cache."""
    return settle(tmp_path_factory.mktemp("home"), monkeypatch)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but those over unix sockets."""
    if request.node.get_closest_marker("network"):
        return

    def refuse(what: str, original: Any) -> Any:
        def guarded(self: socket.socket, address: Any, *rest: Any) -> Any:
            if self.family == getattr(socket, "AF_UNIX", None):
                return original(self, address, *rest)
            raise AssertionError(f"a test tried to {what} {address!r}; the network is blocked")

        return guarded

    monkeypatch.setattr(socket.socket, "connect", refuse("reach", socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", refuse("reach", socket.socket.connect_ex))
    monkeypatch.setattr(socket.socket, "sendto", refuse("send to", socket.socket.sendto))


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle of random networks, small enough to draw and animate in a blink."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    from fdream.models.bundle import Bundle
    from fdream.models.motion_modules import MotionModules
    from fdream.models.motion_text_encoder import fresh_motion_encoder
    from fdream.models.noise_schedule import NoiseSchedule
    from fdream.models.patch_autoencoder import PatchAutoencoder
    from fdream.models.word_tokenizer import word_tokenizer

    torch.manual_seed(0)
    words = word_tokenizer(["a", "corgi", "surfing", "on", "the", "sea", "zooming", "in"], 8)
    clip = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "projection_dim": 16,
    }
    marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text = CLIPTextConfig(vocab_size=len(words), max_position_embeddings=8, **marks, **clip)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = PatchAutoencoder(latent_channels=4, width=8, depth=1)
    schedule = NoiseSchedule.pocket()
    motion = MotionModules.for_base(
        unet,
        schedule,
        image_width=16,
        image_tokens=2,
        adapter_depth=1,
        motion_width=16,
        head_width=4,
        level_width=16,
        pixel_stem_channels=[4, 4, 8, 8],
    )
    with torch.no_grad():  # fresh motion modules are silent; these must be heard
        for weights in motion.parameters():
            weights.add_(torch.randn_like(weights) * 0.1)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    Bundle.write(
        folder,
        {
            "vae": vae,
            "unet": unet,
            "text_encoder": CLIPTextModelWithProjection(text),
            "tokenizer": words,
            "image_encoder": CLIPVisionModelWithProjection(
                CLIPVisionConfig(image_size=16, patch_size=8, **clip)
            ),
            "motion": motion,
            "motion_text_encoder": fresh_motion_encoder(len(words), width=16, layers=1, heads=2),
            "motion_tokenizer": words,
            "scheduler": schedule,
        },
        {
            "name": "tiny",
            "defaults": {
                "prior": {"steps": 3, "guidance": 2.0, "size": 32},
                "generator": {"steps": 2, "guidance": 2.0, "frames": 3, "fps": 8, "size": 32},
            },
        },
    )
    return folder


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command line did."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        """stdout as text."""
        return self.stdout.decode("utf-8")


class RunCommand(Protocol):
    """Runs ``fdream ARGS`` in this process."""

    def __call__(self, *args: str, stdin: bytes = b"") -> Ran: ...


@pytest.fixture
def fdream(monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Run command lines in process, with byte streams of their own and the real exit codes."""
    from fdream.cli.app import run

    def run_command(*args: str, stdin: bytes = b"") -> Ran:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            patched.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8"))
            patched.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8"))
            code = run(args)
            sys.stdout.flush()
            sys.stderr.flush()
            return Ran(code, out.getvalue(), err.getvalue().decode("utf-8"))

    return run_command
