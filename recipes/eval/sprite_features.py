"""Train the classifier whose features are the figure ``fvd_sprite``; half an hour on two cores.

    python recipes/eval/sprite_features.py --minutes 30 --out sprite_features.safetensors

It sees renderings of SpriteWorld and nothing that a generator made, at seeds that no training, no
judge and no evaluation draws. All triples are drawn, the held-out ones too: it is a measure, and
has to know what it measures. Pictures are changed a little in light and contrast, so that the
features speak of shapes and motion too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from fdream.core.report import reporter
from fdream.core.sizes import Size
from fdream.data.spriteworld.motions import CAMERAS, MOTIONS
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.sprites import NOTO
from fdream.data.spriteworld.world import SpriteWorld
from fdream.models.sprite_features import NUM_FRAMES, SIDE_PX, SpriteFeatures

FIRST_SEED = 4_000_000_000
CHECK_SEED = 5_000_000_000
QUESTIONS = (tuple(NOTO), tuple(SCENES), tuple(MOTIONS), tuple(CAMERAS))
NAMES = ("object", "scene", "motion", "camera")
WORLD = SpriteWorld(size=Size(SIDE_PX, SIDE_PX), frames=NUM_FRAMES)


def batch(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Render clips: (B, 3, F, 64, 64) in [-1, 1] and (B, 4) answers."""
    clips = [WORLD.clip(seed) for seed in range(first, first + count)]
    frames = rearrange(
        torch.from_numpy(np.stack([c.frames for c in clips])), "b f h w c -> b c f h w"
    )
    facts = [(c.facts.thing, c.facts.scene, c.facts.motion, c.facts.camera) for c in clips]
    answers = [[q.index(a) for q, a in zip(QUESTIONS, fact, strict=True)] for fact in facts]
    return frames.float() / 127.5 - 1, torch.tensor(answers)


def losses(network: SpriteFeatures, clips: Tensor, answers: Tensor) -> Tensor:
    """Return the cross entropy of each question, (4,)."""
    logits = network.answers(network(clips))
    return torch.stack([F.cross_entropy(x, answers[:, k]) for k, x in enumerate(logits)])


@torch.no_grad()
def accuracy(network: SpriteFeatures, count: int = 512) -> dict[str, float]:
    """Return how often each question is answered rightly, on clips never trained on."""
    network.eval()
    right = torch.zeros(len(NAMES))
    for begin in range(0, count, 64):
        clips, answers = batch(CHECK_SEED + begin, 64)
        found = torch.stack([x.argmax(-1) for x in network.answers(network(clips))], 1)
        right += (found == answers).sum(0)
    network.train()
    return {name: round(float(r) / count, 3) for name, r in zip(NAMES, right, strict=True)}


def main() -> None:
    """Train for a while, the learning rate falling to nothing, and save in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    report = reporter()
    torch.manual_seed(0)
    network = SpriteFeatures(tuple(len(q) for q in QUESTIONS)).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=asked.rate, weight_decay=0.02)
    begin, step = time.monotonic(), 0
    while (spent := (time.monotonic() - begin) / (60 * asked.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = asked.rate * min(1.0, (step + 1) / 50) * (1 - spent)
        clips, answers = batch(FIRST_SEED + step * asked.batch, asked.batch)
        light = 0.1 * torch.randn(len(clips), 3, 1, 1, 1)
        contrast = 1 + 0.1 * torch.randn(len(clips), 1, 1, 1, 1)
        found = losses(network, contrast * clips + light, answers)
        optimizer.zero_grad()
        found.sum().backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            told = " ".join(f"{n} {x:.2f}" for n, x in zip(NAMES, found.tolist(), strict=True))
            report.say(f"step {step}, {spent:.0%}: {told}")
    report.say(f"{step * asked.batch} clips; right on {accuracy(network)}")
    halves = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(halves, asked.out)


if __name__ == "__main__":
    main()
