"""What the built-in supervisors teach, and what their loss answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import DataError, StageError
from fdream.models.conditions import FlowTarget, Prediction, VideoSample
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages import registry

SIDE = 96


def built(name: str, device: DeviceManager, **options: Any) -> Any:
    return registry.build("supervisor", name, options, device=device)


def texture(seed: int, cells: int = 24) -> Tensor:
    """A smooth random picture, (3, SIDE, SIDE) in [-1, 1]."""
    coarse = torch.rand(1, 3, cells, cells, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    return (fine[0] * 2 - 1).clamp(-1, 1)


def clip(frames: list[Tensor]) -> VideoSample:
    video = torch.stack(frames, dim=1)[None]
    return VideoSample(
        frames=video,
        flow=None,
        visibility=None,
        captions=[CaptionPair("", "")],
        fps=torch.tensor([8.0]),
    )


def with_flow(sample: VideoSample, pixels: float) -> VideoSample:
    batch, _, count, height, width = sample.frames.shape
    flow = torch.full((batch, 2, count - 1, height, width), pixels)
    return replace(sample, flow=flow)


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_dis_finds_how_far_a_picture_moved(preset: str, cpu: DeviceManager) -> None:
    still = texture(0, cells=12)
    moving = clip([still.roll((2 * i, -3 * i), dims=(1, 2)) for i in range(3)])
    target = built("predictnet", cpu, preset=preset).targets(moving)
    inner = target.flow[..., 12:-12, 12:-12]
    missed = (inner - torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1, 1)).norm(dim=1)
    assert float((missed < 0.25).float().mean()) > 0.98
    assert target.visibility[..., 12:-12, 12:-12].mean() > 0.98


def test_what_gets_covered_is_not_visible(cpu: DeviceManager) -> None:
    ground, patch = texture(1), texture(2)[:, :32, :32]
    frames = []
    for left in (16, 24):
        frame = ground.clone()
        frame[:, 32:64, left : left + 32] = patch
        frames.append(frame)
    visibility = built("predictnet", cpu).targets(clip(frames)).visibility[0, 0, 0]
    covered = visibility[35:61, 49:55]  # ground right of the patch, under it one frame later
    elsewhere = visibility[4:24, 8:88]
    assert covered.mean() < 0.2
    assert elsewhere.mean() > 0.95


def test_exact_flow_is_preferred_and_the_teacher_can_be_insisted_on(cpu: DeviceManager) -> None:
    sample = with_flow(clip([texture(0)] * 2), pixels=7)
    assert bool((built("predictnet", cpu).targets(sample).flow == 7).all())
    taught = built("predictnet", cpu, prefer_exact=False).targets(sample)
    assert float(taught.flow.abs().max()) < 0.1


def test_truth_knows_only_what_the_data_knows(cpu: DeviceManager) -> None:
    supervisor = built("truth", cpu)
    target = supervisor.targets(with_flow(clip([texture(0)] * 2), pixels=1))
    assert bool((target.visibility == 1).all())
    with pytest.raises(DataError, match="predictnet"):
        supervisor.targets(clip([texture(0)] * 2))


def test_frames_too_small_for_the_teacher_are_refused(cpu: DeviceManager) -> None:
    with pytest.raises(StageError, match="8x8 are too small"):
        built("predictnet", cpu).targets(clip([torch.zeros(3, 8, 8)] * 2))


@pytest.mark.parametrize("name", ["predictnet", "none"])
def test_a_single_frame_has_no_flow(name: str, cpu: DeviceManager) -> None:
    target = built(name, cpu).targets(clip([texture(0)]))
    assert target.flow.shape == (1, 2, 0, SIDE, SIDE)


def step(seed: int = 0) -> tuple[Prediction, FlowTarget]:
    generator = torch.Generator().manual_seed(seed)
    taps = [torch.randn(1, 8, 3, 6, 6, generator=generator)]
    flow = 4 * torch.randn(1, 2, 2, SIDE, SIDE, generator=generator)
    target = FlowTarget(flow=flow, visibility=torch.ones(1, 1, 2, SIDE, SIDE))
    return Prediction(output=torch.zeros(1, 4, 3, 6, 6), taps=taps), target


def test_the_loss_is_silent_where_there_is_only_noise(cpu: DeviceManager) -> None:
    supervisor = built("truth", cpu)
    supervisor.attach([8], NoiseSchedule.pocket())
    prediction, target = step()
    losses = [float(supervisor.loss(prediction, target, torch.tensor([t]))) for t in (0, 500, 999)]
    assert losses[0] > losses[1] > losses[2] == 0


def test_the_unit_is_learned_from_training_batches_only(cpu: DeviceManager) -> None:
    supervisor = built("truth", cpu)
    supervisor.attach([8], NoiseSchedule.pocket())
    prediction, target = step()
    t = torch.tensor([100])
    supervisor.eval()
    supervisor.loss(prediction, target, t)
    unit = supervisor.reader.predictnet.flow_rms
    assert float(unit) == 1
    supervisor.train()
    supervisor.loss(prediction, target, t)
    torch.testing.assert_close(unit, target.flow.square().mean().sqrt(), rtol=1e-4, atol=0)
    supervisor.reader.batches_seen.fill_(100)
    settled = float(unit)
    supervisor.loss(prediction, replace(target, flow=10 * target.flow), t)
    assert float(unit) == settled


def test_none_asks_for_nothing(cpu: DeviceManager) -> None:
    supervisor = built("none", cpu)
    supervisor.attach([8], NoiseSchedule.pocket())
    prediction, target = step()
    assert float(supervisor.loss(prediction, target, torch.tensor([0]))) == 0
    assert not list(supervisor.parameters())
