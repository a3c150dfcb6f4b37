"""The loop resumes exactly, averages, samples and saves; a checkpoint is whole or absent."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from fdream.core.device import DeviceManager
from fdream.core.errors import FdreamError, WeightsError
from fdream.core.recipe import TrainTable
from fdream.core.report import SilentReporter
from fdream.models.bundle import Bundle
from fdream.training import checkpoints
from fdream.training.checkpoints import Progress
from fdream.training.loop import TrainingLoop
from fdream.training.objective import Batch, Share
from fdream.training.objectives.autoencoder import (
    AutoencoderObjective,
    AutoencoderOptions,
    StillBatch,
)
from fdream.training.optim import WeightAverage, learning_rate
from fdream.training.pictures import SpriteWorldOptions, StillSource
from fdream.training.run_folder import RunFolder
from fdream.training.stopping import Stopped

WORLD = SpriteWorldOptions(sprites="plain", size=(32, 32), frames=4)
CPU = DeviceManager.choose("cpu")
TABLE = TrainTable(
    objective="autoencoder",
    steps=6,
    batch_size=4,
    lr=1e-3,
    warmup_steps=2,
    log_every=1,
    save_every=3,
    sample_every=6,
    eval_every=6,
)


def tiny_autoencoder(width: int = 16) -> AutoencoderObjective:
    torch.manual_seed(0)
    options = AutoencoderOptions(width=width, depth=1, fit_pictures=16)
    return AutoencoderObjective(options, StillSource(WORLD, validation=8), CPU)


def loop(
    folder: Path,
    steps: int = 6,
    objective: AutoencoderObjective | None = None,
    workers: int = 0,
    **changes: object,
) -> TrainingLoop:
    table = TABLE.model_copy(update={"steps": steps, **changes})
    what = objective or tiny_autoencoder()
    return TrainingLoop(what, table, RunFolder(folder), 0, SilentReporter(), CPU, workers)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    vae: torch.nn.Module = Bundle.open(folder).load("vae")
    return vae.state_dict()


def test_a_run_leaves_log_sheet_checkpoint_and_a_bundle_that_opens(tmp_path: Path) -> None:
    progress = loop(tmp_path).run()
    assert (progress.step, progress.samples) == (6, 24)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert any("held_out_psnr" in row for row in rows)
    assert (tmp_path / "sheets" / "step-00000006.png").stat().st_size > 500
    assert Bundle.open(tmp_path).component_names == ["vae"]


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    # A constant rate: the cosine is a function of the planned length, which differs here on
    # purpose.
    loop(tmp_path / "whole", schedule="constant").run()
    loop(tmp_path / "halves", steps=3, schedule="constant").run()
    resumed = loop(tmp_path / "halves", schedule="constant").run()
    assert resumed.step == 6
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_batches_gathered_ahead_change_nothing(tmp_path: Path) -> None:
    loop(tmp_path / "none").run()
    loop(tmp_path / "two", workers=2).run()
    one, two = weights(tmp_path / "none"), weights(tmp_path / "two")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_half_precision_trains_float32_weights(tmp_path: Path) -> None:
    half = DeviceManager.choose("cpu", "bfloat16")
    objective = tiny_autoencoder()
    objective.device = half.for_training()
    TrainingLoop(objective, TABLE, RunFolder(tmp_path), 0, SilentReporter(), half).run()
    assert all(p.dtype == torch.float32 for p in objective.vae.parameters())
    loop(tmp_path / "full").run()
    rows = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, tmp_path / "full")
    ]
    ours, exact = ([row["loss"] for row in part if "loss" in row] for part in rows)
    assert ours == pytest.approx(exact, rel=0.05)
    assert ours != exact


def test_training_lowers_the_held_out_error(tmp_path: Path) -> None:
    objective = tiny_autoencoder()
    objective.prepare(tmp_path, Share(), SilentReporter())
    with torch.no_grad():
        before = objective.validate()["psnr"]
    loop(tmp_path, steps=150, objective=objective, lr=3e-3, ema_decay=0.9, save_every=1000).run()
    with torch.no_grad():
        assert objective.validate()["psnr"] > before + 0.2


def test_sigterm_saves_and_the_same_command_continues(tmp_path: Path) -> None:
    objective = tiny_autoencoder()
    original = objective.draw

    def stop_at_two(step: int, size: int, share: Share, generator: torch.Generator) -> Batch:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(step, size, share, generator)

    objective.draw = stop_at_two  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped) as caught:
        loop(tmp_path, objective=objective, save_every=1000).run()
    assert caught.value.exit_code == 143
    assert loop(tmp_path, save_every=1000).run().step == 6


def test_a_half_written_checkpoint_is_never_read(tmp_path: Path) -> None:
    loop(tmp_path, steps=3).run()
    broken = tmp_path / "checkpoints" / "step-00000009.partial"
    broken.mkdir()
    (broken / "weights.safetensors").write_bytes(b"half")
    newest = checkpoints.latest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "step-00000003"
    loop(tmp_path).run()
    assert not broken.exists()


def test_tied_weights_are_saved_and_stay_tied(tmp_path: Path) -> None:
    def tied() -> torch.nn.Module:
        module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        module[1].weight = module[0].weight
        return module

    first, second = tied(), tied()
    optimizer = torch.optim.AdamW(first.parameters())
    average = WeightAverage({"net": first}, 0.9)
    saved = checkpoints.save(tmp_path, Progress(1), {"net": first}, average.shadow, optimizer)
    checkpoints.load(saved, {"net": second}, torch.optim.AdamW(second.parameters()))
    assert torch.equal(second[1].weight, first[0].weight)
    assert second[0].weight is second[1].weight


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    loop(tmp_path, save_every=1).run()
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000005", "step-00000006"]


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    loop(tmp_path, steps=3).run()
    with pytest.raises(WeightsError, match="another run folder"):
        loop(tmp_path, objective=tiny_autoencoder(width=32)).run()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(tmp_path: Path, value: float) -> None:
    objective = tiny_autoencoder()
    original = objective.loss

    def explode(batch: StillBatch) -> object:
        loss, figures = original(batch)
        return (loss * value if "still 17" in batch.names else loss), figures

    objective.loss = explode  # type: ignore[method-assign, assignment]
    with pytest.raises(FdreamError, match=r"still 16, still 17, .*train\.lr"):
        loop(tmp_path, objective=objective).run()
    newest = checkpoints.latest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "step-00000003"


def test_the_bundle_holds_the_averaged_weights(tmp_path: Path) -> None:
    running = loop(tmp_path)
    running.run()
    saved = weights(tmp_path)
    for key, value in running.average.shadow.items():
        assert torch.equal(saved[key.removeprefix("vae.")], value)
    live = dict(running.objective.modules["vae"].named_parameters())
    assert any(not torch.equal(saved[key], value) for key, value in live.items())


def test_swapping_twice_changes_nothing() -> None:
    layer = torch.nn.Linear(3, 2)
    average = WeightAverage({"layer": layer}, 0.9)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    average.update()
    average.swap()
    assert not torch.equal(layer.weight, before + 1)
    average.swap()
    assert torch.equal(layer.weight, before + 1)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_warms_up_and_ends_where_it_should(schedule: str) -> None:
    table = TABLE.model_copy(
        update={"schedule": schedule, "warmup_steps": 10, "final_lr_scale": 0.1}
    )
    assert learning_rate(table, 0, 0.0) == pytest.approx(1e-4)
    assert learning_rate(table, 50, 0.0) == pytest.approx(1e-3)
    end = 1e-3 if schedule == "constant" else 1e-4
    assert learning_rate(table, 1000, 1.0) == pytest.approx(end)
