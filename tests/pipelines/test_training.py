"""``fdream train`` from the command line: a recipe becomes a run that can be continued and used."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fdream.models.bundle import Bundle
from fdream.training.run_folder import RunFolder

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
    assert "differs in objective.width;" in other.err
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


def test_three_mistakes_are_three_lines_with_place_value_rule_and_layer(
    fdream, in_tmp: Path
) -> None:
    (in_tmp / "mine.toml").write_text(
        'extends = "webvid"\n[objective]\nimage_share = 0.5\n[train]\nlr = "fast"\n'
    )
    wrong = fdream("train", "mine.toml", "-s", "data.options.strid=[1, 2]")
    assert wrong.code == 2
    place, *problems = wrong.err.splitlines()
    assert place == "fdream: error: recipe mine.toml: 3 problems"
    for line, place, rule in zip(
        problems,
        (
            "train.lr = 'fast' (from mine.toml): ",
            "data.options.strid = [1, 2] (from --set data.options.strid=[1, 2]): ",
            "objective.image_share = 0.5 (from mine.toml): ",
        ),
        ("a valid number", "no such key", 'objective.spatial = "lora"'),
        strict=True,
    ):
        assert line.strip().startswith(place)
        assert rule in line


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


def test_a_folder_in_use_and_one_to_be_left_alone_are_refused(fdream, in_tmp: Path) -> None:
    assert fdream("train", "pocket/vae", *sets()).code == 0
    again = fdream("train", "pocket/vae", *sets("train.steps=3"), "--resume", "never")
    assert again.code == 2
    assert "run.output" in again.err
    with RunFolder(in_tmp / "runs" / "pocket-vae").locked():
        busy = fdream("train", "pocket/vae", *sets("train.steps=3"))
    assert busy.code == 6
    assert "another fdream train" in busy.err
    assert fdream("train", "pocket/vae", *sets(), "--resume", "perhaps").code == 2


def test_a_run_begun_before_a_key_existed_goes_on(fdream, in_tmp: Path) -> None:
    assert fdream("train", "pocket/vae", *sets()).code == 0
    resolved = in_tmp / "runs" / "pocket-vae" / "recipe.resolved.toml"
    older = [line for line in resolved.read_text().splitlines() if "grad_clip" not in line]
    resolved.write_text("\n".join(older))
    assert fdream("train", "pocket/vae", *sets("train.steps=3")).code == 0


def test_without_a_terminal_each_logged_step_is_a_json_line(fdream, in_tmp: Path) -> None:
    done = fdream("train", "pocket/vae", *sets("train.log_every=1"))
    rows = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [row["step"] for row in rows] == [1, 2, 2, 2]
    assert {"loss", "lr", "step_s", "data_wait"} <= set(rows[0])
    assert "held_out_psnr" in rows[2]
    assert "draw_s" in rows[3]
    assert "{" not in fdream("-q", "train", "pocket/vae", *sets("train.steps=3")).err
