"""Train the judges: ``python -m benchmarks.judges.train picture|motion``.

Both see real renderings and nothing that pocket made. All triples are drawn, the ones held out from
pocket's training too: a judge has to know what it is asked about; that pocket does not is the test.
Seeds begin at three thousand million, where neither pocket's training nor its scoring draws any.

Augmentation is mild, to bridge what pocket's own autoencoder does to a picture (round trip, with a
little noise on the latents, which are not pocket's drawing), slight blur, and a shift of colour.
A judge taught to name smears would call a smear a fox.

The committed judge of pictures learnt a world of 42 objects; the rows of those that are no more
were cut from its last layer. Its ceilings were measured after that.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.judges import motion_judge, picture_judge
from benchmarks.judges.ceilings import round_trip
from benchmarks.judges.motion_judge import NAMES, MotionJudge, to_features
from benchmarks.judges.picture_judge import CELL_PX, OBJECTS, PLACES, PictureJudge
from benchmarks.judges.tracking import Track, track
from fdream.core.report import Reporter, reporter
from fdream.data.spriteworld import motions
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.world import Facts, SpriteWorld
from fdream.stages.builtin.bundles import open_bundle
from fdream.stages.builtin.pixels import to_unit

FIRST_SEED = 3_000_000_000
FIRST_TRACK_SEED = 3_500_000_000
FRAMES_A_CLIP = 4


def angle(facts: Facts, u: float) -> float:
    """Return by how many degrees the sprite is turned from upright at ``u`` of the clip."""
    room = motions.Room.around(facts.x, facts.y, facts.size, 1, 1)
    return motions.MOTIONS[facts.motion][0](u, room, 0.5 if facts.slowly else 1.0).angle


def rows(first_seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Render frames for ever, each with all that the judge is asked about it."""
    worlds = {count: SpriteWorld(frames=count) for count in range(4, 17)}
    for seed in itertools.count(first_seed):
        # Clips of many lengths show many angles. A sprite that turns is rare among motions, and so
        # is a small one; every object must be known from all sides, and when it has shrunk.
        chance = Chance(f"judge/{seed}")
        count = 4 + chance.below(13)
        shown = worlds[count].describe(seed)
        luck = chance.between(0, 1)
        if luck < 0.45:
            motion = "spinning" if luck < 0.25 else "shrinking"
            shown = replace(shown, facts=replace(shown.facts, motion=motion))
        stride = count // FRAMES_A_CLIP
        clip = worlds[count].render(shown, stride)
        for k in range(FRAMES_A_CLIP):
            turn = np.radians(angle(clip.facts, k * stride / (count - 1)))
            yield {
                "frame": clip.frames[k],
                "mask": clip.mask[k],
                "label": np.array(
                    [OBJECTS.index(clip.facts.thing), PLACES.index(clip.facts.scene)]
                ),
                "turn": np.array([np.cos(turn), np.sin(turn)], np.float32),
            }


def batches(first_seed: int, batch: int, pool: int = 512) -> Iterator[dict[str, Tensor]]:
    """Batch frames of many clips: four of one clip in a row would teach one object at a time."""
    source = rows(first_seed)
    kept = [next(source) for _ in range(pool)]
    draws = np.random.default_rng(0)
    while True:
        chosen = []
        for place in draws.choice(pool, batch, replace=False):
            chosen.append(kept[place])
            kept[place] = next(source)
        stacked = {k: torch.from_numpy(np.stack([row[k] for row in chosen])) for k in chosen[0]}
        yield {
            "pictures": to_unit(stacked["frame"].numpy()),
            "mask": F.avg_pool2d(stacked["mask"].float(), CELL_PX),
            "label": stacked["label"],
            "turn": stacked["turn"],
        }


def worn(pictures: Tensor, codes: list[nn.Module], draws: torch.Generator) -> Tensor:
    """Wear pictures (B, 3, H, W) in [-1, 1] as a good generator would: see the module."""
    pictures = pictures.clone()
    count = len(pictures)
    part = count // 3
    with torch.no_grad():
        code = codes[int(torch.randint(len(codes), (1,), generator=draws))]
        latents = code.encode(pictures[:part])
        amount = 0.2 * torch.rand((part, 1, 1, 1), generator=draws)
        noise = torch.randn(latents.shape, generator=draws)
        pictures[:part] = code.decode(latents + amount * noise).clamp(-1, 1)
    sigma = 0.3 + 1.0 * float(torch.rand((), generator=draws))
    rest = slice(part, 2 * part)
    blurred = [
        cv2.GaussianBlur(rearrange(picture, "c h w -> h w c").numpy(), (0, 0), sigma)
        for picture in pictures[rest]
    ]
    pictures[rest] = rearrange(torch.from_numpy(np.stack(blurred)), "b h w c -> b c h w")
    gain = 1 + 0.16 * (torch.rand((count, 1, 1, 1), generator=draws) - 0.5)
    shift = 0.1 * (torch.rand((count, 3, 1, 1), generator=draws) - 0.5)
    grain = 0.03 * torch.rand((count, 1, 1, 1), generator=draws)
    grained = pictures + grain * torch.randn(pictures.shape, generator=draws)
    return (gain * grained + shift).clamp(-1, 1)


def picture_loss(seen: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
    """Add up what the four heads got wrong."""
    thing = F.cross_entropy(seen["object"], batch["label"][:, 0], label_smoothing=0.05)
    place = F.cross_entropy(seen["place"], batch["label"][:, 1], label_smoothing=0.05)
    mask = F.binary_cross_entropy_with_logits(seen["mask"], batch["mask"])
    return thing + 0.5 * place + 2 * mask + F.mse_loss(seen["turn"], batch["turn"])


def train_picture_judge(
    steps: int,
    batch: int,
    rate: float,
    bundles: list[str],
    start: Path | None,
    first_seed: int,
    out: Path,
    report: Reporter,
) -> None:
    """Train from nothing, or on from a checkpoint and other pictures, and save float16 weights."""
    torch.manual_seed(0)
    judge = PictureJudge() if start is None else PictureJudge.load(start).train()
    judge = judge.to(memory_format=torch.channels_last)
    codes = [open_bundle(name).load("vae").eval() for name in bundles]
    draws = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)
    source = batches(first_seed, batch)
    started = time.perf_counter()
    losses: list[float] = []
    right: list[float] = []
    for step in range(1, steps + 1):
        sample = next(source)
        seen = judge(
            worn(sample["pictures"], codes, draws).contiguous(memory_format=torch.channels_last)
        )
        loss = picture_loss(seen, sample)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        right.append((seen["object"].argmax(-1) == sample["label"][:, 0]).float().mean().item())
        if step % 100 == 0 or step == steps:
            report.say(
                f"step {step}: loss {np.mean(losses[-100:]):.3f}, "
                f"object right {np.mean(right[-100:]):.3f}, {time.perf_counter() - started:.0f} s"
            )
            save(judge, out)


def tracks(count: int, bundles: list[str], report: Reporter) -> tuple[list[Track], np.ndarray]:
    """Track rendered clips, half of them after the round trip; (count,) numbers of motions."""
    painter, judge = SpriteWorld(), PictureJudge.load()
    codes = [open_bundle(name).load("vae").eval() for name in bundles]
    found, labels = [], []
    with report.progress(count, "tracks") as bar:
        for k in range(count):
            clip = painter.clip(FIRST_TRACK_SEED + k)
            frames = clip.frames if k % 2 else round_trip(clip.frames, codes[k // 2 % len(codes)])
            found.append(track(frames, judge.look(frames)))
            labels.append(NAMES.index(clip.facts.motion))
            bar.update()
    return found, np.array(labels)


def shaken(found: Track, draws: np.random.Generator) -> Track:
    """Add to a track what an unsteady drawing would: each frame a little off, on its own."""
    amount = draws.uniform(0, 1)
    frames = len(found.size)
    angle = np.arctan2(found.turn[:, 1], found.turn[:, 0]) + 0.15 * amount * draws.normal(
        size=frames
    )
    return Track(
        found.camera,
        found.place + 0.008 * amount * draws.normal(size=(frames, 2)),
        found.size * np.exp(0.03 * amount * draws.normal(size=frames)),
        np.stack([np.cos(angle), np.sin(angle)], -1),
    )


def train_motion_judge(
    count: int, steps: int, batch: int, rate: float, bundles: list[str], out: Path, report: Reporter
) -> None:
    """Track ``count`` clips, train on nine in ten of them and tell how it does on the tenth."""
    found, labels = tracks(count, bundles, report)
    torch.manual_seed(0)
    draws = np.random.default_rng(0)
    judge = MotionJudge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)
    learned = count - count // 10
    for step in range(1, steps + 1):
        chosen = draws.integers(learned, size=batch)
        features = np.stack([to_features(shaken(found[k], draws)) for k in chosen])
        answer = judge(torch.from_numpy(features))
        loss = F.cross_entropy(answer, torch.from_numpy(labels[chosen]), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == steps:
            judge.eval()
            unseen = [NAMES[k] for k in labels[learned:]]
            right = np.mean(np.array(unseen) == np.array(judge.name(found[learned:])))
            judge.train()
            report.say(f"step {step}: loss {loss.item():.3f}, unseen clips right {right:.4f}")
            save(judge, out)


def save(judge: nn.Module, out: Path) -> None:
    """Save weights as float16; ``load`` makes them float32 again."""
    state = judge.state_dict()
    save_file(
        {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}, out
    )


def main() -> None:
    """Train one judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("judge", choices=["picture", "motion"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--clips", type=int, default=4000, help="tracked for the motion judge")
    parser.add_argument("--bundle", action="append", help="whose autoencoder wears pictures")
    parser.add_argument("--start", type=Path, help="a picture judge to go on from")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="another one to go on")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    bundles, report = asked.bundle or ["pocket"], reporter()
    if asked.judge == "picture":
        out = asked.out or picture_judge.WEIGHTS
        train_picture_judge(
            asked.steps or 2000,
            asked.batch,
            asked.rate,
            bundles,
            asked.start,
            asked.first_seed,
            out,
            report,
        )
    else:
        out = asked.out or motion_judge.WEIGHTS
        train_motion_judge(
            asked.clips, asked.steps or 6000, asked.batch, asked.rate, bundles, out, report
        )


if __name__ == "__main__":
    main()
