"""``fdream train`` from the command line: a recipe becomes a run that can be continued and used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fdream.core.device import DeviceManager
from fdream.core.errors import DeviceError
from fdream.core.recipe_io import load_recipe
from fdream.core.report import SilentReporter
from fdream.models.bundle import Bundle
from fdream.pipelines.training import run_training

SMALL = [
    "data.options.sprites=plain",
    "data.options.size=[32, 32]",
    "data.options.frames=4",
    "data.validation=8",
    "objective.width=8",
    "objective.depth=1",
    "objective.fit_pictures=8",
    "train.batch_size=2",
    "train.steps=2",
]


def sets(*more: str) -> list[str]:
    return [word for change in (*SMALL, *more) for word in ("-s", change)]


def test_train_prints_the_run_folder_and_leaves_a_bundle(fdream, in_tmp: Path) -> None:
    done = fdream("train", "pocket/vae", *sets())
    assert (done.code, done.out) == (0, "runs/pocket-vae\n")
    run = in_tmp / "runs" / "pocket-vae"
    assert Bundle.open(run).component_names == ["vae"]
    facts = json.loads((run / "run.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert 'sprites = "plain"' in (run / "recipe.resolved.toml").read_text()


def test_the_same_command_continues_and_another_recipe_is_refused(fdream, in_tmp: Path) -> None:
    assert fdream("train", "pocket/vae", *sets()).code == 0
    longer = fdream("train", "pocket/vae", *sets("train.steps=3"), "--json")
    assert json.loads(longer.out)["step"] == 3
    other = fdream("train", "pocket/vae", *sets("objective.width=16"))
    assert other.code == 2
    assert "recipe.resolved.toml" in other.err
    assert "run.output" in other.err


def test_every_problem_of_a_recipe_is_told_before_anything_is_made(fdream, in_tmp: Path) -> None:
    wrong = fdream(
        "train", "pocket/t2i", "-s", "objective.chanels=3", "-s", "data.source=webvid", "--unset",
        "train.init_from",
    )  # fmt: skip
    assert wrong.code == 2
    for key in ("objective.chanels", "data.source", "train.init_from"):
        assert key in wrong.err
    assert not list(in_tmp.iterdir())


def test_a_generator_that_is_not_trained_is_refused_not_ignored(fdream, in_tmp: Path) -> None:
    wrong = fdream("train", "pocket/video", "-s", "stages.generator.use=other", "--dry-run")
    assert wrong.code == 2
    assert "stages.generator.use = 'other'" in wrong.err


def test_a_dry_run_prints_a_recipe_that_means_the_same(fdream, in_tmp: Path) -> None:
    first = fdream("train", "pocket/video", "-s", "train.steps=7", "--dry-run")
    (in_tmp / "copy.toml").write_text(first.out)
    assert fdream("train", "copy.toml", "--dry-run").out == first.out
    assert "steps = 7" in first.out


def test_a_missing_base_is_named(fdream, in_tmp: Path) -> None:
    missing = fdream("train", "pocket/clip", "-s", "data.options.sprites=plain")
    assert missing.code == 3
    assert "runs/pocket-vae" in missing.err
    assert "train that first" in missing.err
    assert not list(in_tmp.iterdir())


def test_what_has_not_run_on_a_gpu_does_not_pretend_to(in_tmp: Path) -> None:
    gpu = DeviceManager("cuda", torch.device("meta"), torch.float32, "test", "none", threads=1)
    with pytest.raises(DeviceError, match="--device cpu"):
        run_training(load_recipe("pocket/vae"), gpu, SilentReporter())
