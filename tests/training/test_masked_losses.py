"""Where a clip carries an overlay, or cannot be read, it teaches nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch.nn import functional as F

from fdream.core.device import DeviceManager
from fdream.core.report import SilentReporter
from fdream.models.bundle import Bundle
from fdream.models.foreign_base import ForeignBase
from fdream.models.latents import encode_latents
from fdream.stages import registry
from fdream.stages.builtin.pixels import to_unit
from fdream.training.clips.sprites import SpriteClips
from fdream.training.objective import Share
from fdream.training.objectives.cell_weights import changed_weights, mean_square
from fdream.training.objectives.video import ClipBatch, VideoObjective
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.pictures import ClipSource, SpriteWorldOptions

MASKED = (..., slice(0, 1), slice(None))


@pytest.fixture
def drawn(foreign, tmp_path: Path) -> tuple[VideoObjective, ClipBatch]:
    """An objective, and a batch whose upper latent cells do not count."""
    device = DeviceManager.choose("cpu").for_training()
    world = SpriteWorldOptions(sprites="plain", size=(32, 32), frames=4)
    options = VideoOptions(clips=2, frames=4, motion={"head_width": 8, "level_width": 16})
    what = VideoObjective(
        options,
        SpriteClips(ClipSource(world, validation=1), options.clips, options.frames),
        ForeignBase(str(foreign("sd15").base)).open(),
        registry.build("supervisor", "truth", {}, device=device),
        device,
    )
    what.prepare(tmp_path, Share(), SilentReporter())
    batch = what.draw(0, 2, Share(), torch.Generator().manual_seed(0))
    counts = torch.ones(2, 1, 1, 4, 4)
    counts[MASKED] = 0
    return what, replace(batch, views=replace(batch.views, counts=counts))


def with_flow(batch: ClipBatch, extra: float, place: tuple) -> ClipBatch:
    flow = batch.views.target.flow.clone()
    flow[place] += extra
    return replace(batch, views=replace(batch.views, target=replace(batch.views.target, flow=flow)))


def test_flow_under_an_overlay_is_not_asked_for(drawn) -> None:
    what, batch = drawn
    own = what._errors(batch)[1]
    assert what._errors(with_flow(batch, 9.0, MASKED))[1] == own
    elsewhere = (..., slice(2, 3), slice(None))
    assert what._errors(with_flow(batch, 9.0, elsewhere))[1] != own


def test_denoising_under_an_overlay_is_not_asked_for() -> None:
    output = torch.randn(2, 4, 3, 4, 4, requires_grad=True)
    wanted, counts = torch.randn(2, 4, 3, 4, 4), torch.ones(2, 1, 1, 4, 4)
    counts[MASKED] = 0
    loss = mean_square(output, wanted, counts)
    loss.backward()
    assert not output.grad[MASKED].any()
    assert output.grad[..., 1:, :].all()
    rest = torch.nn.functional.mse_loss(output[..., 1:, :], wanted[..., 1:, :])
    assert torch.allclose(loss, rest)
    assert torch.equal(
        mean_square(output, wanted, torch.ones_like(counts)).round(decimals=5),
        mean_square(output, wanted, None).round(decimals=5),
    )


def test_a_batch_of_which_nothing_counts_changes_nothing(drawn) -> None:
    what, batch = drawn
    none = replace(batch, views=replace(batch.views, counts=torch.zeros(2, 1, 1, 4, 4)))
    loss, _ = what.loss(none)
    assert loss == 0
    loss.backward()
    assert all(
        p.grad is None or not p.grad.any() for m in what.modules.values() for p in m.parameters()
    )


def test_changed_cells_count_more_and_each_clip_keeps_its_weight() -> None:
    latents = torch.randn(2, 3, 1, 4, 4).repeat(1, 1, 4, 1, 1)
    latents[0, :, 1, 2, 3] += 100.0
    weights = changed_weights(latents, 8.0)
    assert weights.shape == (2, 1, 4, 4, 4)
    assert torch.allclose(weights.mean(dim=(1, 2, 3, 4)), torch.ones(2))
    changed, same = weights[0, 0, 1, 2, 3], weights[0, 0, 0, 0, 0]
    assert torch.isclose(changed / same, torch.tensor(9.0), rtol=0.01)
    assert weights[0, 0, 2, 2, 3] == same
    assert torch.equal(weights[1], torch.ones_like(weights[1]))


@pytest.mark.parametrize("camera", ["pan left", "pan right", "zoom in", "zoom out"])
def test_a_sprite_that_stands_still_before_a_moving_camera_counts_more(camera: str) -> None:
    world = SpriteWorldOptions(sprites="plain").world("train")
    wanted = ("standing still", camera)
    facts = ((seed, world.facts(seed)) for seed in count())
    seed = next(seed for seed, f in facts if (f.motion, f.camera) == wanted)
    clip = world.render(world.describe(seed))
    vae = Bundle.open(Path(__file__).parents[2] / "fdream/weights/pocket").load("vae").eval()
    video = rearrange(to_unit(clip.frames), "f c h w -> 1 c f h w")
    with torch.inference_mode():
        latents = encode_latents(vae, video)
    sprite = rearrange(torch.from_numpy(clip.mask).float(), "f h w -> f 1 h w")
    on_sprite = F.avg_pool2d(sprite, 8)[8:, 0] > 0.5
    weights = changed_weights(latents, 8.0)[0, 0, 8:]
    assert weights[on_sprite].mean() > 1.3 * weights[~on_sprite].mean()


def test_the_recipe_decides_whether_changed_cells_count_more(drawn) -> None:
    what, batch = drawn
    alike = what._errors(batch)[0]
    what.options = what.options.model_copy(update={"changed_weight": 8.0})
    assert what._errors(batch)[0] != alike
    # What an overlay hides teaches nothing, however it changes.
    counts = torch.zeros(2, 1, 1, 4, 4)
    hidden = replace(batch, views=replace(batch.views, counts=counts))
    assert what._errors(hidden)[0] == 0
