"""What the objectives minimise means what it says, on networks that train in a blink."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from pydantic import ValidationError

from fdream.core.device import DeviceManager
from fdream.core.errors import RecipeError, WeightsError
from fdream.core.recipe import TrainTable
from fdream.core.report import SilentReporter
from fdream.data.spriteworld.captions import article
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.scenes import SCENES
from fdream.models.bundle import Bundle
from fdream.models.patch_autoencoder import PatchAutoencoder
from fdream.stages import registry
from fdream.training.clips.sprites import SpriteClips
from fdream.training.loop import TrainingLoop
from fdream.training.objective import Batch, Objective, Share
from fdream.training.objectives.autoencoder import AutoencoderObjective, AutoencoderOptions
from fdream.training.objectives.contrastive import (
    Agreement,
    ContrastiveObjective,
    ContrastiveOptions,
)
from fdream.training.objectives.decoder import DecoderObjective, DecoderOptions
from fdream.training.objectives.image import ImageObjective, ImageOptions, partial_caption
from fdream.training.objectives.video import VideoObjective
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.pictures import (
    ClipSource,
    SpriteWorldOptions,
    StillSource,
    contact_sheet,
)
from fdream.training.run_folder import RunFolder

CPU = DeviceManager.choose("cpu")
STILLS = StillSource(SpriteWorldOptions(sprites="plain", size=(32, 32), frames=4), validation=6)
RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "pocket").glob("*.toml"))
TABLE = TrainTable(objective="image", steps=2, batch_size=3, lr=1e-3, warmup_steps=1, log_every=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An untrained autoencoder and CLIP pair, as the image stage finds them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    options = AutoencoderOptions(
        width=8, depth=1, latent_channels=4, fit_pictures=16, correct_encoder=False
    )
    vae = AutoencoderObjective(options, STILLS, CPU)
    vae.prepare(folder, Share(), SilentReporter())
    Bundle.write(folder / "vae", vae.components(), vae.information())
    pair = tiny_pair(Bundle.open(folder / "vae"))
    Bundle.write(folder / "clip", pair.components(), pair.information())
    return Bundle.open(folder / "clip")


def tiny_pair(base: Bundle) -> ContrastiveObjective:
    options = ContrastiveOptions(
        width=16, text_layers=1, image_layers=1, heads=2, image_size=16, image_patch=8
    )
    return ContrastiveObjective(options, STILLS, base, CPU)


def tiny_image(base: Bundle, cache: Path) -> ImageObjective:
    torch.manual_seed(0)
    options = ImageOptions(channels=(16, 32), layers=1, heads=2, stills=12, sheet_steps=2)
    objective = ImageObjective(options, STILLS, base, CPU)
    objective.prepare(cache, Share(), SilentReporter())
    return objective


def draw(objective: Objective, step: int, size: int, seed: int) -> Batch:
    return objective.draw(step, size, Share(), torch.Generator().manual_seed(seed))


def test_positives_share_the_probability() -> None:
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    shared = torch.where(same, 50.0, -50.0)
    # Two equals cannot be told apart: the best that is left is one half each, log 2 for both rows.
    best = 2 / 3 * torch.log(torch.tensor(2.0))
    assert Agreement().loss(shared, same).item() == pytest.approx(best.item(), abs=1e-4)
    only_itself = torch.diag(torch.full((3,), 100.0)) - 50
    assert Agreement().loss(only_itself, same) > Agreement().loss(shared, same) + 1


def test_with_one_positive_it_is_the_plain_symmetric_loss() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5)
    plain = [torch.nn.functional.cross_entropy(way, labels) for way in (logits, logits.T)]
    loss = Agreement().loss(logits, torch.eye(5).bool())
    assert loss.item() == pytest.approx(sum(plain).item() / 2, abs=1e-6)


def test_the_loss_is_lower_for_matching_pairs() -> None:
    right, agreement = torch.eye(4), Agreement()
    matched = agreement.loss(agreement(right), right.bool())
    assert matched < agreement.loss(agreement(right.roll(1, 0)), right.bool()) - 1
    assert matched < agreement.loss(agreement(torch.zeros(4, 4)), right.bool()) - 1


def test_the_pair_learns_and_both_encoders_hear_it(base: Bundle) -> None:
    torch.manual_seed(0)
    pair = tiny_pair(base)
    pair.prepare(Path(), Share(), SilentReporter())
    parameters = [p for module in pair.modules.values() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(12):
        loss, figures = pair.loss(pair.draw(0, 8, Share(), torch.Generator()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert 0 <= figures["matched"] <= 1
    for encoder in (pair.text_encoder, pair.image_encoder):
        assert all(p.grad is not None for p in encoder.parameters())
    assert set(pair.validate()) == {"object_matched", "scene_matched"}


def test_the_image_objective_trains_and_leaves_a_bundle_to_draw_from(
    base: Bundle, tmp_path: Path
) -> None:
    objective = tiny_image(base, tmp_path)
    start = {key: value.clone() for key, value in objective.unet.state_dict().items()}
    progress = TrainingLoop(objective, TABLE, RunFolder(tmp_path), 0, SilentReporter(), CPU).run()
    assert (progress.step, progress.samples) == (2, 6)
    saved = Bundle.open(tmp_path)
    assert saved.component_names == sorted([*base.component_names, "scheduler", "unet"])
    trained = saved.load("unet").state_dict()
    assert any(not torch.equal(trained[key], value) for key, value in start.items())
    assert saved.load("scheduler").zero_terminal_snr
    frozen = [*objective.vae.parameters(), *objective.text_encoder.parameters()]
    assert all(p.grad is None for p in frozen)


def test_the_image_objective_goes_on_from_a_base_that_has_a_unet(
    base: Bundle, tmp_path: Path
) -> None:
    first = tiny_image(base, tmp_path)
    Bundle.write(tmp_path / "bundle", first.components(), first.information())
    second = tiny_image(Bundle.open(tmp_path), tmp_path)
    ours, theirs = first.unet.state_dict(), second.unet.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("width", [None, 16], ids=["the base's", "larger"])
def test_the_decoder_learns_what_its_base_draws_amiss_and_no_latent_changes(
    base: Bundle, tmp_path: Path, width: int | None
) -> None:
    image = tiny_image(base, tmp_path)
    Bundle.write(tmp_path / "bundle", image.components(), image.information())
    options = DecoderOptions(width=width, stills=48, steps=4, from_step=(1, 2), redrawn=0.5)
    objective = DecoderObjective(options, STILLS, Bundle.open(tmp_path), CPU)
    run = RunFolder(tmp_path / "run")
    table = TABLE.model_copy(update={"objective": "decoder", "steps": 60, "batch_size": 4})
    TrainingLoop(objective, table, run, 0, SilentReporter(), CPU).run()
    saved = Bundle.open(run.root).load("vae")
    assert saved.config["width"] == (width or 8)
    pictures = objective.held_out
    assert torch.equal(saved.encode(pictures), image.vae.encode(pictures))
    fresh = DecoderObjective(options, STILLS, Bundle.open(tmp_path), CPU)
    fresh.prepare(run.cache, Share(), SilentReporter())
    before, after = fresh.validate(), objective.validate()
    assert after["psnr_redrawn"] > before["psnr_redrawn"] + 0.1
    # What the base redraws is not what it was shown: there is something to mend.
    assert before["psnr_redrawn"] < before["psnr"] - 0.5


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"from_step": (6, 3)}, "two steps in order, from 0 to 7"),
        ({"from_step": (3, 8)}, "two steps in order, from 0 to 7"),
        ({"guidance": (4.0, 1.5)}, "two scales in order"),
    ],
)
def test_ranges_of_the_decoder_objective_are_in_order(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DecoderOptions(**wrong)


def test_a_decoder_does_not_grow_beside_a_corrected_encoder(base: Bundle, tmp_path: Path) -> None:
    image = tiny_image(base, tmp_path)
    corrected = PatchAutoencoder(latent_channels=4, width=8, depth=1, correct_encoder=True)
    parts = {**image.components(), "vae": corrected}
    Bundle.write(tmp_path / "bundle", parts, image.information())
    with pytest.raises(RecipeError, match="corrects its encoder"):
        DecoderObjective(DecoderOptions(width=16), STILLS, Bundle.open(tmp_path), CPU)


def test_the_decoder_objective_wants_an_autoencoder_of_patches(
    base: Bundle, tmp_path: Path
) -> None:
    image = tiny_image(base, tmp_path)
    other = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2)
    Bundle.write(tmp_path / "bundle", {**image.components(), "vae": other}, image.information())
    with pytest.raises(WeightsError, match="AutoencoderKL; objective decoder teaches a Patch"):
        DecoderObjective(DecoderOptions(), STILLS, Bundle.open(tmp_path), CPU)


def tiny_video(base: Bundle, folder: Path, supervisor: str = "truth") -> VideoObjective:
    torch.manual_seed(0)
    device = DeviceManager.choose("cpu")
    folder.mkdir(exist_ok=True)
    still = tiny_image(base, folder)
    Bundle.write(folder / "image" / "bundle", still.components(), still.information())
    motion = {
        "image_width": 16,
        "motion_width": 16,
        "adapter_depth": 1,
        "head_width": 8,
        "level_width": 16,
        "pixel_patch": 4,
        "pixel_stem_channels": [8, 8],
    }
    return VideoObjective(
        VideoOptions(clips=6, frames=4, motion=motion, motion_text_layers=1, sheet_steps=2),
        SpriteClips(ClipSource(STILLS.options, validation=2), 6, 4),
        Bundle.open(folder / "image"),
        registry.build("supervisor", supervisor, {}, device=device),
        device,
    )


def test_the_video_objective_moves_motion_and_leaves_space_alone(
    base: Bundle, tmp_path: Path
) -> None:
    objective = tiny_video(base, tmp_path)
    spatial = {k: v.clone() for k, v in objective.network.spatial.state_dict().items()}
    start = {k: v.clone() for k, v in objective.model.motion.state_dict().items()}
    run = RunFolder(tmp_path / "run")
    table = TABLE.model_copy(update={"objective": "video", "batch_size": 2, "steps": 5})
    TrainingLoop(objective, table, run, 0, SilentReporter(), CPU).run()
    after = objective.network.spatial.state_dict()
    assert all(torch.equal(after[key], value) for key, value in spatial.items())
    saved = Bundle.open(run.root)
    learned = saved.load("motion").state_dict()
    assert all(key in learned for key in start)
    assert any(not torch.equal(learned[key], value) for key, value in start.items())
    assert "supervisor" not in saved.component_names
    assert (run.root / "supervisor" / "weights.safetensors").is_file()


def test_the_supervisor_teaches_the_flow_it_is_asked_for(base: Bundle, tmp_path: Path) -> None:
    flows = []
    for supervisor in ("truth", "none"):
        objective = tiny_video(base, tmp_path / supervisor, supervisor)
        objective.prepare(tmp_path / supervisor, Share(), SilentReporter())
        flows.append(objective.clips.flow)
    clip = objective.clips.source.draw(2)
    taught = flows[0][2, :2]
    mean = torch.from_numpy(clip.flow).mean((1, 2)).T
    torch.testing.assert_close(
        torch.from_numpy(taught).float().mean((2, 3)), mean, atol=0.02, rtol=0.02
    )
    assert (flows[1] == 0).all()


def test_recomputing_in_backward_changes_no_gradient(base: Bundle, tmp_path: Path) -> None:
    objective = tiny_video(base, tmp_path)
    objective.prepare(tmp_path, Share(), SilentReporter())
    gradients = []
    for recompute in (False, True):
        objective.network.gradient_checkpointing = recompute
        objective.model.motion.zero_grad()
        objective.loss(draw(objective, 0, 2, seed=0))[0].backward()
        gradients.append(
            [p.grad.clone() for p in objective.model.motion.parameters() if p.grad is not None]
        )
    assert gradients[0]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_a_sheet_may_have_a_shorter_row() -> None:
    sheet = contact_sheet([torch.ones(3, 3, 4, 5), torch.ones(1, 3, 4, 5), torch.ones(0, 3, 4, 5)])
    assert sheet.shape == (12, 15, 3)
    assert (sheet[4:8, :5] == 255).all()
    assert not sheet[4:8, 5:].any()
    assert not sheet[8:].any()


@torch.no_grad()
def test_validation_is_the_same_every_time(base: Bundle, tmp_path: Path) -> None:
    objective = tiny_image(base, tmp_path)
    objective.unet.eval()
    first = objective.validate()
    torch.rand(3)  # nobody's random numbers may leak into it
    assert objective.validate() == first
    again = tiny_image(base, tmp_path)
    again.unet.eval()
    assert again.validate() == first


def test_a_step_draws_from_its_generator_alone(base: Bundle, tmp_path: Path) -> None:
    objective = tiny_image(base, tmp_path)

    def loss(step: int, seed: int) -> float:
        return objective.loss(draw(objective, step, 3, seed))[0].item()

    assert loss(4, 9) == loss(4, 9)
    assert loss(4, 9) != loss(4, 10)


def test_captions_are_dropped_as_often_as_documented() -> None:
    counts: Counter[str] = Counter()
    total = 4000
    for row in range(total):
        shown = STILLS.words(row % 50)
        said = partial_caption(shown, Chance(f"test/{row}"))
        # A whole caption may equal its half; the order below is that of the shares.
        kinds = {
            "empty": ("",),
            "object": (article(shown.facts.thing),),
            "place": SCENES[shown.facts.scene],
            "whole": (shown.caption,),
            "appearance": (shown.pair.appearance,),
        }
        counts[next(kind for kind, wordings in kinds.items() if said in wordings)] += 1
    shares = {"empty": 0.10, "object": 0.08, "place": 0.08, "whole": 0.45, "appearance": 0.29}
    for kind, share in shares.items():
        assert counts[kind] / total == pytest.approx(share, abs=0.025), kind


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem != "base"], ids=lambda p: p.stem)
def test_pockets_recipes_are_what_train_takes(path: Path, fdream, in_tmp: Path) -> None:
    # In place of the stage before, which has not been trained here; the first one has none.
    start = () if path.stem == "vae" else ("--init-from", "pocket")
    ran = fdream("train", str(path), *start, "--dry-run")
    assert ran.code == 0, ran.err
    assert 'source = "spriteworld"' in ran.out
    assert list(in_tmp.iterdir()) == []
