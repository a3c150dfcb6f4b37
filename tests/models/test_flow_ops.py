"""Flow points forward, in pixels, x first; the loss asks for motion where there is some."""

import pytest
import torch

from fdream.models.conditions import FlowTarget
from fdream.models.flow_ops import flow_loss, flow_rms, resize_flow, visibility_of, warp


def shift(x, y, size=(9, 12), batch=1):
    return torch.tensor([float(x), float(y)]).reshape(1, 2, 1, 1).expand(batch, 2, *size).clone()


def test_warp_by_a_whole_shift_reads_the_shifted_pixels():
    frame = torch.randn(1, 3, 9, 12)
    warped = warp(frame, shift(2, -1))
    torch.testing.assert_close(warped[..., 1:, :-2], frame[..., :-1, 2:], atol=1e-5, rtol=0)
    assert warped[..., -2:].abs().max() < 1e-5
    assert warped[..., 0, :].abs().max() < 1e-5


def test_warp_by_nothing_changes_nothing_and_passes_gradients():
    frame, flow = torch.randn(2, 1, 5, 5), torch.zeros(2, 2, 5, 5, requires_grad=True)
    warped = warp(frame, flow)
    torch.testing.assert_close(warped, frame, atol=1e-5, rtol=0)
    warped.square().sum().backward()
    assert flow.grad.abs().sum() > 0


def test_resized_flow_keeps_pixels_or_counts_cells():
    flow = shift(8, 4, (32, 64))[:, :, None]
    kept = resize_flow(flow, (4, 16), rescale=False)
    assert kept.shape == (1, 2, 1, 4, 16)
    torch.testing.assert_close(kept, shift(8, 4, (4, 16))[:, :, None])
    cells = resize_flow(flow, (4, 16), rescale=True)
    torch.testing.assert_close(cells, shift(2, 0.5, (4, 16))[:, :, None])
    torch.testing.assert_close(resize_flow(cells, (32, 64), rescale=True), flow)


def test_visibility_is_lost_where_flows_disagree():
    forward, backward = shift(1, 0), shift(-1, 0)
    visible = visibility_of(forward, backward)
    assert visible.shape == (1, 1, 9, 12)
    assert visible[..., :-1].min() == 1
    assert visible[..., -1].max() == 0  # leaves the frame
    backward[..., 4, 6] = torch.tensor([3.0, 3.0])
    assert visibility_of(forward, backward)[0, 0, 4, 5] == 0


def test_rms_counts_what_moves():
    flow = torch.zeros(1, 2, 1, 4, 4)
    assert flow_rms(flow) == 0
    flow[:, 0, :, 0] = 3
    flow[:, 1, :, 0] = 4
    assert flow_rms(flow).item() == pytest.approx((25 / 2) ** 0.5)


def target_with_a_moving_corner(size=8):
    flow = torch.zeros(1, 2, 1, size, size)
    flow[:, 0, :, : size // 4, : size // 4] = 4
    return FlowTarget(flow, torch.ones(1, 1, 1, size, size))


def loss_of(predicted, target, alpha_bar=1.0, scale=1.0):
    return flow_loss(predicted, target, torch.tensor([alpha_bar]), torch.tensor(scale))


def test_the_truth_costs_nothing_and_noise_does_not_count():
    target = target_with_a_moving_corner()
    assert loss_of(target.flow, target).item() == pytest.approx(0, abs=1e-6)
    still = torch.zeros_like(target.flow)
    full = loss_of(still, target)
    assert full > 0
    torch.testing.assert_close(loss_of(still, target, alpha_bar=0.25), full / 4)
    assert loss_of(still, target, alpha_bar=0.0) == 0


def test_moving_and_still_cells_count_half_each():
    """The moving corner is a sixteenth of the frame and half of the loss."""
    target = target_with_a_moving_corner()
    missed, invented = target.flow.clone(), target.flow.clone()
    moving = (target.flow[:, :1] > 0).expand_as(missed)
    missed[moving] += 2
    invented[~moving] += 2
    torch.testing.assert_close(loss_of(missed, target), loss_of(invented, target))


def test_hidden_cells_do_not_count():
    target = target_with_a_moving_corner()
    hidden = FlowTarget(target.flow, target.visibility.clone())
    hidden.visibility[..., 4:, :] = 0
    wrong = target.flow.clone()
    wrong[..., 4:, :] = 9
    assert loss_of(wrong, target) > 0.1
    assert loss_of(wrong, hidden).item() == pytest.approx(0, abs=1e-6)
    nothing = FlowTarget(target.flow, torch.zeros_like(target.visibility))
    assert loss_of(wrong, nothing) == 0


def test_a_larger_target_is_averaged_onto_the_prediction():
    target = target_with_a_moving_corner(32)
    coarse = resize_flow(target.flow, (8, 8), rescale=False)
    assert loss_of(coarse, target).item() == pytest.approx(0, abs=1e-6)
