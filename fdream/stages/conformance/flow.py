"""Checks for supervisors: their targets, their loss, and the gradients it sends."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from fdream.core.captions import CaptionPair
from fdream.models.conditions import Prediction, VideoSample
from fdream.models.noise_schedule import NoiseSchedule
from fdream.stages.conformance.subject import NotApplicable, Subject, expect
from fdream.stages.conformance.weights import expect_placed, expect_reloads

_FRAMES: Final = 4
_SIDE: Final = 32
_TAP_CHANNELS: Final = (12, 8)
_SHIFT: Final = (2, 1)  # pixels right, pixels down


def targets_have_the_promised_form(subject: Subject) -> None:
    """Flow and visibility have their shapes and ranges, and carry no gradient."""
    sample = moving_texture(subject)
    target = subject.stage.targets(sample)
    flow, visibility = target.flow, target.visibility
    pairs = (_FRAMES - 1, _SIDE, _SIDE)
    expect(tuple(flow.shape) == (2, 2, *pairs), f"flow is {tuple(flow.shape)}")
    expect(tuple(visibility.shape) == (2, 1, *pairs), f"visibility is {tuple(visibility.shape)}")
    expect(bool(flow.isfinite().all()), "flow holds inf or nan")
    within = bool((visibility >= 0).all() and (visibility <= 1).all())
    expect(within, "visibility leaves [0, 1]")
    expect(not (flow.requires_grad or visibility.requires_grad), "targets carry a gradient")
    expect(flow.device.type == sample.frames.device.type, f"flow is on {flow.device}")


def targets_repeat(subject: Subject) -> None:
    """The same clips have the same targets."""
    first, second = (subject.stage.targets(moving_texture(subject)) for _ in range(2))
    expect(torch.equal(first.flow, second.flow), "targets gave another flow for the same clips")


def a_batch_may_be_split(subject: Subject) -> None:
    """A clip's targets do not depend on its neighbours in the batch."""
    together = subject.stage.targets(moving_texture(subject))
    alone = subject.stage.targets(_only(moving_texture(subject), 1))
    apart = float((together.flow[1:] - alone.flow).abs().max())
    expect(apart <= 1e-4, f"in a batch and alone the flow differs by {apart:.2g} px")


def the_loss_reaches_every_tap(subject: Subject) -> None:
    """The loss is a finite scalar; where it learns, every tap and weight gets a gradient."""
    stage = attached(subject)
    prediction, target = _prediction(subject), stage.targets(moving_texture(subject))
    loss = stage.loss(prediction, target, _steps(subject))
    expect(loss.shape == (), f"loss is {tuple(loss.shape)}, expected a scalar")
    expect(bool(loss.isfinite()), f"loss is {float(loss)}")
    if not any(True for _ in stage.parameters()):
        raise NotApplicable("it has nothing to learn")
    loss.backward()
    for index, tap in enumerate(prediction.taps):
        reached = tap.grad is not None and bool((tap.grad != 0).any())
        expect(reached, f"no gradient reaches tap {index}")
    unreached = [name for name, p in stage.named_parameters() if p.grad is None]
    expect(not unreached, f"no gradient reaches {unreached[:3]}")


def weights_are_on_the_device(subject: Subject) -> None:
    """What ``attach`` builds is where the device manager says."""
    expect_placed(subject, attached(subject))


def weights_survive_a_file(subject: Subject) -> None:
    """The state dict loads strictly into a fresh supervisor, which then computes the same loss."""
    stage, other = attached(subject), attached(subject)
    expect_reloads(stage, other)
    target = stage.targets(moving_texture(subject))
    losses = [s.loss(_prediction(subject), target, _steps(subject)) for s in (stage, other)]
    expect(torch.equal(*losses), "the reloaded supervisor computes another loss")


def attached(subject: Subject) -> Any:
    """Build a supervisor and attach it to features of two widths."""
    stage = subject.another()
    stage.attach(_TAP_CHANNELS, NoiseSchedule.pocket())
    return stage


def moving_texture(subject: Subject) -> VideoSample:
    """Two clips of a smooth texture that moves evenly and wraps round, with their exact flow."""
    waves = torch.arange(_SIDE) * (2 * torch.pi / _SIDE)
    clips = []
    for phase in (0.0, 1.0):
        texture = torch.sin(3 * waves[:, None] + phase) * torch.cos(2 * waves[None] - phase)
        texture = 0.7 * texture + 0.3 * torch.sin(5 * waves[None] + 4 * waves[:, None])
        moved = [texture.roll((_SHIFT[1] * i, _SHIFT[0] * i), dims=(0, 1)) for i in range(_FRAMES)]
        clips.append(torch.stack(moved).expand(3, -1, -1, -1))
    shape = (2, 1, _FRAMES - 1, _SIDE, _SIDE)
    flow = torch.tensor(_SHIFT, dtype=torch.float32).reshape(1, 2, 1, 1, 1)
    where = subject.device.torch_device
    return VideoSample(
        frames=torch.stack(clips).to(where),
        captions=[CaptionPair("a texture", "moving right")] * 2,
        fps=torch.full((2,), 8.0, device=where),
        flow=flow.expand(2, 2, *shape[2:]).contiguous().to(where),
        visibility=torch.ones(shape, device=where),
    )


def _prediction(subject: Subject) -> Prediction:
    generator = torch.Generator().manual_seed(0)
    taps = [
        torch.randn(2, channels, _FRAMES, side, side, generator=generator)
        .to(subject.device.torch_device)
        .requires_grad_()
        for channels, side in zip(_TAP_CHANNELS, (4, 8), strict=True)
    ]
    output = torch.zeros(2, 4, _FRAMES, 8, 8, device=subject.device.torch_device)
    return Prediction(output=output, taps=taps)


def _steps(subject: Subject) -> Tensor:
    return torch.tensor([10, 500], device=subject.device.torch_device)


def _only(sample: VideoSample, index: int) -> VideoSample:
    one = slice(index, index + 1)
    assert sample.flow is not None
    assert sample.visibility is not None
    return VideoSample(
        frames=sample.frames[one],
        captions=list(sample.captions)[one],
        fps=sample.fps[one],
        flow=sample.flow[one],
        visibility=sample.visibility[one],
    )
