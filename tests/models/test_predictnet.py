"""The flow loss teaches the temporal layers, and nothing that only draws."""

import pytest
import torch

from fdream.core.errors import RecipeError
from fdream.models.conditions import FlowTarget, Prediction
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.predictnet import PredictNet

FRAMES, T = 4, torch.tensor([40, 300])


def target(size=64):
    generator = torch.Generator().manual_seed(6)
    flow = torch.randn(2, 2, FRAMES - 1, size, size, generator=generator) * 20
    return FlowTarget(flow, torch.ones(2, 1, FRAMES - 1, size, size))


def backward_flow_loss(tiny, family, *, detach):
    base = tiny.base(family)
    net = FactorizedUNet(base, tiny.motion(base, family)).train()
    predictnet = PredictNet.for_motion(net.motion)
    noisy = torch.randn(2, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(7))
    prediction = net(noisy, T, tiny.condition(base))
    if detach:
        prediction = Prediction(prediction.output, [tap.detach() for tap in prediction.taps])
    signal, _ = net.motion.schedule.signal_and_noise(T)
    predictnet.loss(prediction, target(), signal.square()).backward()
    return net


def temporal_outputs(motion):
    """Name and parameter of the last layer of every temporal branch."""
    for name, parameter in motion.named_parameters():
        if "convolution.conv_out" in name or "attention.proj_out" in name:
            yield name, parameter


@pytest.mark.parametrize("family", ["sd15", "sdxl", "pocket"])
def test_flow_alone_teaches_every_temporal_output_and_no_spatial_weight(tiny, family):
    net = backward_flow_loss(tiny, family, detach=False)
    outputs = dict(temporal_outputs(net.motion))
    assert any(name.startswith("layers.up_") for name in outputs)
    unreached = [n for n, p in outputs.items() if p.grad is None or not (p.grad != 0).any()]
    assert unreached == []
    assert all(parameter.grad is None for parameter in net.spatial.parameters())


def test_with_detached_taps_flow_teaches_nothing_but_itself(tiny):
    net = backward_flow_loss(tiny, "pocket", detach=True)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_it_reads_frame_i_alone_or_both_frames():
    taps = [torch.randn(1, 6, FRAMES, 4, 4), torch.randn(1, 5, FRAMES, 8, 8)]
    changed = [tap.clone() for tap in taps]
    for tap in changed:
        tap[:, :, 2] += 1
    for pairs, affected in (("single", [2]), ("concat", [1, 2])):
        torch.manual_seed(0)
        net = PredictNet([6, 5], hidden=8, pairs=pairs)
        flow = net(taps)
        assert flow.shape == (1, 2, FRAMES - 1, 8, 8)
        difference = (net(changed) - flow).abs().amax(dim=(0, 1, 3, 4))
        assert difference.nonzero().flatten().tolist() == affected


def test_it_answers_in_pixels_whatever_their_usual_size():
    torch.manual_seed(0)
    net = PredictNet([6], hidden=8)
    tap, small = [torch.randn(1, 6, FRAMES, 8, 8)], net.flow_rms.clone()
    answer = net(tap)
    flow = torch.zeros(1, 2, 1, 8, 8)
    flow[:, :, :, :2] = 12
    net.observe(flow)
    assert small == 1
    assert net.flow_rms.item() == pytest.approx(12)
    torch.testing.assert_close(net(tap), answer * 12)
    net.observe(torch.zeros(1, 2, 1, 8, 8))
    assert net.flow_rms.item() == pytest.approx(12)


def test_the_unit_is_that_of_all_flow_seen():
    together, apart = PredictNet([6]), PredictNet([6])
    flow = torch.randn(4, 2, 3, 8, 8) * torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1, 1)
    together.observe(flow)
    for part in flow.split(1):
        apart.observe(part)
    torch.testing.assert_close(together.flow_rms, apart.flow_rms)


def test_one_frame_has_no_flow_to_learn():
    net = PredictNet([6])
    loss = net.loss(Prediction(torch.randn(1, 4, 1, 8, 8), []), target(), torch.ones(1))
    assert loss == 0


def test_it_is_saved_with_its_unit(tmp_path):
    net = PredictNet([6, 5], hidden=8, pairs="concat")
    net.observe(torch.full((1, 2, 1, 8, 8), 3.0))
    net.save_pretrained(tmp_path)
    again = PredictNet.from_pretrained(tmp_path)
    taps = [torch.randn(1, 6, FRAMES, 4, 4), torch.randn(1, 5, FRAMES, 8, 8)]
    torch.testing.assert_close(again(taps), net(taps))
    with pytest.raises(RecipeError, match="pairs"):
        PredictNet([6], pairs="triple")
