"""report.html of a run, and the plan that it is held against."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fdream.core.recipe import Recipe
from fdream.core.report import SilentReporter
from fdream.pipelines import planning
from fdream.training.report import charts, pace, page, read_rows
from fdream.training.run_folder import RunFolder


def row(step: int, **figures: Any) -> dict[str, Any]:
    return {"step": step, "samples": 2 * step, "minutes": step / 10, **figures}


def trained(step: int, loss: float = 1.0, **more: float) -> dict[str, Any]:
    return row(step, loss=loss, step_s=0.5, data_wait=0.02, memory_gb=1.0 + step / 10, **more)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run <1>")
    found.make()
    for one in (
        row(0, prepare_s=2.0),
        trained(1, 3.0),
        trained(2, 9.0),
        # Killed here, resumed from step 1.
        row(1, prepare_s=0.1),
        trained(2, 2.0),
        trained(3, 1.0),
        row(3, held_out_loss=1.5, evaluate_s=0.2),
        row(3, sample_motion=4.0, sample_motion_real=5.0, sample_dynamic_degree=0.5, draw_s=1.0),
    ):
        found.write_row(one)
    return found


def test_of_a_step_that_was_trained_twice_the_last_counts(folder: RunFolder) -> None:
    rows = read_rows(folder)
    assert [(r["step"], r["loss"]) for r in rows if "loss" in r] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert pace(rows) == {"step_s": 0.5, "data_wait": pytest.approx(0.02), "memory_gb": 1.3}


def test_curves_are_drawn_where_there_are_figures(folder: RunFolder) -> None:
    drawn = {chart.title: chart for chart in charts(read_rows(folder))}
    loss = drawn["loss"]
    assert (loss.low, loss.high, loss.last_step) == ("1", "3", 3)
    heights = [float(point.split(",")[1]) for point in loss.curves[0].points.split()]
    assert heights == sorted(heights)  # it falls, and y grows downwards
    assert [c.name for c in drawn["samples: motion, % of the width a second"].curves] == [
        "sample_motion",
        "sample_motion_real",
    ]
    assert "flow gradient, in lengths of the denoising one" not in drawn


def test_a_long_curve_is_thinned_and_what_is_not_finite_left_out() -> None:
    rows = [trained(k, float("nan") if k == 5 else k % 7) for k in range(1, 5001)]
    loss = charts(rows)[0].curves[0]
    assert 100 < len(loss.points.split()) <= 240
    assert "nan" not in loss.points


def test_a_run_that_went_astray_has_a_report_too(folder: RunFolder) -> None:
    huge = charts([trained(k, 2e28) for k in (1, 2)])[0]
    assert (huge.low, huge.high) == ("2e+28", "2e+28")
    assert {point.split(",")[1] for point in huge.curves[0].points.split()} == {"55.0"}
    folder.write_row(row(3, held_out_loss=float("nan"), evaluate_s=1.0))
    assert "held_out_loss" not in [c.name for c in charts(read_rows(folder))[0].curves]
    assert "stopped" in page(folder, "stopped")


def test_the_page_holds_everything_and_loads_nothing(folder: RunFolder) -> None:
    folder.write_samples(3, [("a <b>corgi</b>", b"video one"), ("other", b"two")])
    folder.write_samples(2, [("a <b>corgi</b>", b"earlier")])
    folder.quarantine_clip("0.tar/x<script>", "cannot be read", 0)
    (folder.root / "recipe.resolved.toml").write_text('name = "<i>"')
    told = {
        "predicted": {"step_s": 0.4, "minutes": 0.3, "memory_gb": 1.3, "disk_gb": 1.0},
        "recipe": {},
    }
    (folder.root / "plan.json").write_text(json.dumps(told))
    text = page(folder, "finished & done")
    assert "finished &amp; done" in text
    assert "run &lt;1&gt;" in text
    assert "a &lt;b&gt;corgi&lt;/b&gt;" in text
    assert "<script" not in text
    assert "name = &#34;&lt;i&gt;&#34;" in text
    assert text.count("data:video/mp4;base64,") == 3
    assert re.findall(r"step (\d)</span></div>", text[text.index("<h2>Samples") :]) == [
        "2",
        "3",
        "3",
    ]
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "+25 %" in text  # half a second a step where 0.4 were promised
    assert "+0 %" in text


def test_a_page_of_a_run_that_never_logged_is_a_page(tmp_path: Path) -> None:
    assert "<h2>Recipe" in page(RunFolder(tmp_path), "failed")


def recipe(**train: Any) -> Recipe:
    given = {"steps": 1000, "batch_size": 4, "save_every": 100, "eval_every": 250, **train}
    return Recipe.model_validate(
        {
            "name": "r",
            "train": {"sample_every": 500, "save_minutes": 1000.0, **given},
            "objective": {"clips": 100},
            "data": {"validation": 10, "options": {"size": [64, 96]}},
        }
    )


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for the probe's process; returns what it was asked."""
    asked: list[list[str]] = []

    def run(command: Any, place: Path, environment: Any) -> None:
        asked.append(list(command))
        folder = RunFolder(place)
        folder.make()
        folder.write_row(row(0, prepare_s=4.0))
        for step in range(1, 5):
            folder.write_row({**trained(step), "step_s": 9.0 if step == 1 else 0.3})
        folder.write_row(row(4, save_s=2.0))
        folder.write_row(row(4, held_out_loss=1.0, evaluate_s=1.0))
        folder.write_row(row(4, draw_s=5.0))
        (folder.checkpoints / "step-00000004").mkdir()
        (folder.checkpoints / "step-00000004" / "weights").write_bytes(bytes(10**6))
        (folder.cache / "latents").write_bytes(bytes(8000))
        kept = Path(environment["FDREAM_CACHE"]) / "latents"
        kept.mkdir(parents=True)
        (kept / "one").write_bytes(bytes(500))

    monkeypatch.setattr(planning, "finish_run", run)
    return asked


def test_a_plan_adds_up_what_a_few_steps_took(probed: Any, in_tmp: Path) -> None:
    plan = planning.plan_run(["r.toml", "-s", "a=1"], recipe(), SilentReporter())
    told = plan.predicted
    assert told.step_s == 0.3  # the first step, which is never like the others, does not count
    assert told.minutes == pytest.approx(1000 * 0.3 / 60)
    assert told.memory_gb == pytest.approx(1.4)
    # 8 of 100 clips took 4 seconds.
    assert plan.prepare_minutes == pytest.approx(4 * 100 / 8 / 60)
    # 11 saves, 5 evaluations of 10 instead of 2 clips, 3 drawings.
    assert plan.other_minutes == pytest.approx((11 * 2 + 5 * 1 * 5 + 3 * 5) / 60)
    assert told.disk_gb == pytest.approx((2 * 10**6 + 8000 * 100 / 8) / 1e9, rel=0.01)
    assert json.loads((in_tmp / "runs" / "r" / "plan.json").read_text())["predicted"] == {
        "step_s": 0.3,
        "minutes": told.minutes,
        "memory_gb": told.memory_gb,
        "disk_gb": told.disk_gb,
    }
    words = probed[0]
    assert words[words.index("train") + 1 :][:3] == ["r.toml", "-s", "a=1"]
    assert {"train.steps=4", "data.validation=2", "objective.clips=8"} <= set(words)


def test_a_plan_ends_where_the_recipe_ends_by_the_clock(probed: Any, in_tmp: Path) -> None:
    plan = planning.plan_run([], recipe(minutes=2.0), SilentReporter())
    assert plan.predicted.minutes == 2.0


def test_a_plan_tries_the_largest_bucket(
    probed: Any, in_tmp: Path, write_shard, clip_file, sprite_frames
) -> None:
    frames = sprite_frames(1)
    many = [clip_file(f"c{k}", sprite_frames(k)) for k in range(12)]
    wide = clip_file("w", frames.repeat(2, axis=2))
    write_shard(in_tmp / "s" / "0.tar", [*many, wide])
    given = recipe().model_dump(by_alias=True)
    options = {"shards": "s", "sizes": ["32x32", "64x32"], "frames": [2, 4], "views": 2}
    given["data"] = {"source": "shards", "validation": 1, "options": options}
    planning.plan_run([], Recipe.model_validate(given), SilentReporter())
    words = set(probed[0])
    assert {'data.options.sizes=["64x32"]', "data.options.frames=[4]"} <= words
    assert "data.options.max_clips=6" in words


@pytest.mark.slow
def test_a_real_plan_is_near_the_truth(fdream, in_tmp: Path) -> None:
    small = ["-s", "train.steps=6", "-s", "objective.clips=8", "--threads", "1"]
    told = json.loads(fdream("train", "smoke", *small, "--plan", "--json").out)
    assert fdream("train", "smoke", *small).code == 0
    folder = RunFolder(in_tmp / "runs" / "smoke")
    assert folder.bytes_on_disk / 1e9 == pytest.approx(told["predicted"]["disk_gb"], rel=0.1)
    report = (folder.root / "report.html").read_text()
    assert "What --plan had promised" in report
    assert "Of another recipe" not in report
    assert fdream("train", "smoke", *small, "-s", "train.steps=8").code == 0
    assert "since then train.steps changed" in (folder.root / "report.html").read_text()
