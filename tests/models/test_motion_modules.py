"""Motion modules are one file beside a base: it says what it is for, and refuses the rest."""

import tomllib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fdream.core.errors import RecipeError, WeightsError
from fdream.models.factorized_unet import FactorizedUNet
from fdream.models.motion_modules import MotionModules
from fdream.models.motion_text_encoder import fresh_motion_encoder
from fdream.models.temporal import TemporalAttention, TemporalConvolution

# The part of a parameter's name under which its residual branch lives, and the branch's last layer.
BRANCH_ENDS = {
    "condition_in": "conv_out",
    "recall": "conv_out",
    "text_image.attention": "to_out",
    "level": "to_time",
    "convolution": "conv_out",
    "pixel_aware": "to_out",
    "attention": "proj_out",
}


@pytest.mark.parametrize("family", ["sd15", "sdxl", "pocket"])
def test_each_branch_has_one_silent_layer_and_no_other(tiny, family):
    motion = tiny.motion(tiny.base(family), family, first_frame_recall=True)
    silent = defaultdict(list)
    for name, module in motion.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and not (weight != 0).any():
            silent[name.rpartition(".")[0]].append(name.rpartition(".")[2])
            assert not (module.bias != 0).any()
    branches = {"condition_in", "recall", "text_image.attention", "level"}
    for place, layer in motion.layers.items():
        parts = ("convolution", "pixel_aware", "attention")
        branches |= {f"layers.{place}.{p}" for p in parts if getattr(layer, p) is not None}
    assert set(silent) == branches
    for branch, layers in silent.items():
        end = branch.rpartition(".")[2] if branch.startswith("layers.") else branch
        assert layers == [BRANCH_ENDS[end]]


def test_every_residual_network_has_its_parts(tiny):
    """A convolution after every ResNet; attention in every block, those without text too."""
    motion = tiny.motion(tiny.base("sd15"), "sd15", temporal_attention_layers="last")
    assert len(motion.layers) == 4 * 2 + 2 + 4 * 3
    assert all(isinstance(x.convolution, TemporalConvolution) for x in motion.layers.values())
    attended = {
        name.rpartition("_")[0]
        for name, layer in motion.layers.items()
        if isinstance(layer.attention, TemporalAttention)
    }
    blocks = {"mid"} | {f"{way}_{i}" for way in ("down", "up") for i in range(4)}
    assert attended == blocks
    looking = {name for name, layer in motion.layers.items() if layer.pixel_aware is not None}
    assert looking == {f"up_{block}_{layer}" for block in range(4) for layer in range(3)}


def test_pixels_are_looked_up_only_on_grids_small_enough(tiny):
    base = tiny.base("pocket")
    motion = tiny.motion(base, pixel_aware_max_tokens=20)
    keys = motion.prepare(tiny.condition(base)).prepared.pixel_keys
    assert set(keys) == {f"up_{block}_{layer}" for block in (0, 1) for layer in range(3)}


SWITCHES = {
    "first_frame": False,
    "first_frame_recall": False,
    "adapter": "none",
    "pixel_aware": False,
    "temporal_convolution": False,
    "temporal_attention": False,
    "motion_text": False,
}


@pytest.mark.parametrize("name", SWITCHES)
def test_every_part_can_be_switched_off(tiny, name):
    base = tiny.base("pocket")
    whole = tiny.motion(base, first_frame_recall=True)
    options = {"first_frame_recall": True, name: SWITCHES[name]}
    motion = tiny.randomise(tiny.motion(base, **options))
    assert motion.num_parameters() < whole.num_parameters()
    net = FactorizedUNet(base, motion).train()
    output = net(torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700]), tiny.condition(base)).output
    output.square().mean().backward()
    assert all(parameter.grad is not None for parameter in motion.parameters())


def test_saved_motion_is_loaded_without_its_base(tiny, tmp_path):
    base = tiny.base("sdxl")
    motion = tiny.randomise(tiny.motion(base, "sdxl", temporal_conv_channels=[4, 8, 8]))
    motion.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    again = MotionModules.from_pretrained(tmp_path)
    condition, noisy = tiny.condition(base), torch.randn(2, 4, 3, 8, 8)
    t = torch.tensor([40, 700])
    with torch.no_grad():
        before = FactorizedUNet(base, motion).eval()(noisy, t, condition).output
        after = FactorizedUNet(base, again).eval()(noisy, t, condition).output
    assert torch.equal(before, after)
    assert again.schedule.table_hash == motion.schedule.table_hash


def test_a_motion_file_refuses_another_base(tiny, tmp_path):
    base = tiny.base("sd15")
    schedule = tiny.schedule("sd15")
    tiny.motion(base, "sd15", latent_scaling=0.18215).save_pretrained(tmp_path)
    motion = MotionModules.from_pretrained(tmp_path)
    motion.check_base(base, schedule, 0.18215)
    motion.check_base(tiny.base("sd15", seed=9), schedule, 0.18215)  # a fine-tune of the base
    with pytest.raises(WeightsError, match="prediction_type"):
        motion.check_base(base, tiny.schedule("pocket"), 0.18215)
    nudged = type(schedule).from_config(schedule.config | {"beta_end": 0.013})
    with pytest.raises(WeightsError, match="table_hash"):
        motion.check_base(base, nudged, 0.18215)
    with pytest.raises(WeightsError, match="latent_scaling"):
        motion.check_base(base, schedule, 0.13025)
    with pytest.raises(WeightsError, match=r"layout\.places"):
        FactorizedUNet(tiny.base("pocket"), motion)


def test_a_base_keeps_its_prediction_type_through_a_remap(tiny):
    with pytest.raises(RecipeError, match="prediction_type"):
        tiny.motion(
            tiny.base("sd15"),
            schedule=tiny.schedule("pocket"),
            base_schedule=tiny.schedule("sd15"),
        )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"adaptor": "none"}, "adaptor"),
        ({"adapter": "sum"}, "adapter = 'sum'"),
        ({"temporal_attention_layers": "first"}, "temporal_attention_layers"),
        ({"temporal_conv_channels": [4, 4]}, "3 resolutions"),
        ({"pixel_stem_channels": [4, 4]}, "pixel_stem_channels"),
    ],
)
def test_options_that_build_nothing_are_refused(tiny, options, says):
    with pytest.raises(RecipeError, match=says):
        tiny.motion(tiny.base("pocket"), **options)


def test_pocket_has_three_to_five_million_motion_parameters(tiny):
    base = tiny.base(
        "pocket",
        in_channels=16,
        out_channels=16,
        block_out_channels=(64, 96, 128),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=32,
    )
    recipe = Path(__file__).parents[2] / "recipes" / "pocket" / "video.toml"
    options = tomllib.loads(recipe.read_text(encoding="utf-8"))["objective"]["motion"]
    motion = MotionModules.for_base(base, tiny.schedule("pocket"), **options)
    assert 3e6 < motion.num_parameters() < 5e6


def test_a_fresh_motion_encoder_feeds_the_temporal_layers_and_learns(tiny):
    base = tiny.base("pocket")
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).train()
    encoder = fresh_motion_encoder(vocabulary=20, width=10, layers=1, heads=2)
    ids = torch.tensor([[5, 6, 1, 0], [7, 1, 0, 0]])
    tokens = encoder(input_ids=ids, attention_mask=ids != 0).last_hidden_state
    condition = replace(tiny.condition(base), motion_text=tokens, motion_mask=ids != 0)
    net(torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700]), condition).output.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.slow
def test_the_walk_compiles_whole(tiny):
    """No graph break, so that compilation sees the network as one."""
    base = tiny.base("pocket", layers_per_block=1)
    net = FactorizedUNet(base, tiny.randomise(tiny.motion(base))).eval()
    noisy, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([40, 700])
    with torch.no_grad():
        condition = net.motion.prepare(tiny.condition(base))
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(
            compiled(noisy, t, condition).output, net(noisy, t, condition).output
        )
