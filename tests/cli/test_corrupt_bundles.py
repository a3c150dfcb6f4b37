"""A bundle that is damaged, hostile or newer ends a command with exit 3 and one line, as files."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdream.models.bundle_folder import INDEX_NAME


class Evil:
    """Runs code in whatever program unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


def weights(bundle: Path, part: str) -> Path:
    return next((bundle / part).glob("*.safetensors"))


def cut(part: str, keep: int) -> Callable[[Path], object]:
    return lambda bundle: weights(bundle, part).write_bytes(
        weights(bundle, part).read_bytes()[:keep]
    )


def as_pickle(part: str, name: str) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        weights(bundle, part).unlink()
        (bundle / part / name).write_bytes(pickle.dumps(Evil()))

    return change


def index(**changes: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        path = bundle / INDEX_NAME
        table = json.loads(path.read_text())
        table["fdream"] |= changes.pop("fdream", {})
        path.write_text(json.dumps(table | changes))

    return change


def text(name: str, written: str) -> Callable[[Path], object]:
    return lambda bundle: (bundle / name).write_text(written)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "newer schema": ("pip install -U fdream", index(fdream={"schema": 2})),
    "index gone": ("no model_index.json", lambda bundle: (bundle / INDEX_NAME).unlink()),
    "index no JSON": ("cannot be read", text(INDEX_NAME, "{")),
    "index nested": ("cannot be read", text(INDEX_NAME, "[" * 100_000)),
    "index of diffusers": ("not one of ours", text(INDEX_NAME, '{"unet": ["diffusers", "X"]}')),
    "defaults no numbers": (
        "defaults.prior.steps",
        index(fdream={"defaults": {"prior": {"steps": "x"}}}),
    ),
    "encoders no table": ("fdream.encoders", index(fdream={"encoders": [1]})),
    "class to import": ("does not load; known", index(unet=["subprocess", "Popen"])),
    "part outside": ("plain folder name", index(**{"../../evil": ["fdream", "X"]})),
    "part not listed": ("has no 'unet'", index(unet=None)),
    "part gone": ("vae has no folder", lambda bundle: shutil.rmtree(bundle / "vae")),
    "image weights cut": ("text_encoder: model.safetensors is cut off", cut("text_encoder", -9)),
    "unet weights empty": ("unet: diffusion_pytorch_model.safetensors is cut", cut("unet", 0)),
    "motion weights cut": ("motion: diffusion_pytorch_model.safetensors is cut", cut("motion", 99)),
    "motion text weights cut": (
        "motion_text_encoder: model.safetensors is",
        cut("motion_text_encoder", -9),
    ),
    "pickled unet": ("is a pickle", as_pickle("unet", "diffusion_pytorch_model.bin")),
    "pickled text encoder": ("is a pickle", as_pickle("text_encoder", "pytorch_model.bin")),
    "configuration no JSON": ("config.json cannot be read", text("unet/config.json", "{")),
    "configuration a list": ("not a JSON object", text("text_encoder/config.json", "[]")),
    "configuration unfit": ("motion does not load", text("motion/config.json", '{"layout": 3}')),
    "tokenizer no JSON": ("tokenizer does not load", text("tokenizer/tokenizer.json", "{")),
    "schedule gone": (
        "scheduler_config.json: not found",
        lambda b: (b / "scheduler/scheduler_config.json").unlink(),
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_it_is_exit_3_and_one_line(fdream, tiny_bundle: Path, in_tmp: Path, name: str) -> None:
    says, damage = DAMAGE[name]
    shutil.copytree(tiny_bundle, "bad")
    damage(Path("bad"))
    ran = fdream(
        *("t2v", "a corgi", "--prior", "pocket:./bad", "--generator", "dreamer:./bad"),
        *("-o", "out.gif"),
    )
    assert (ran.code, ran.out) == (3, ""), ran.err
    told = [line for line in ran.err.splitlines() if not line.startswith("warning:")]
    assert len(told) == 1, ran.err
    assert says in told[0]
    assert "Traceback" not in ran.err
    assert [path.name for path in Path().iterdir()] == ["bad"]
