"""Steps of `fdream train` against a plain loop of diffusers, and against the limit.

    python benchmarks/train.py                       # CPU: a small network of SD 2.1's form
    python benchmarks/train.py --full --device cuda  # SD 2.1's size, 16 frames; --compile as well

Random weights and shards made on the spot, so that nothing is fetched. In turns, some rounds of:

- ``ours``: whole steps of the loop on cached latents: data, loss, optimizer, average, log;
- ``limit``: forward and backward alone of the same model on a batch that is already there;
- ``plain``: a loop over diffusers' ``UNetMotionModel``, its motion modules trained on latents of
  the same size and batch: noise, loss, clipping, AdamW.

Writes JSON: the middle seconds a step, by the clock and by the processor, and ratios of steps a
second, ours over each. The processor's seconds hardly depend on what else the machine does; on a
GPU only the clock means something. Bars: limit 0.95, plain 1. With CUDA also memory and MFU: the
floating-point operations that torch counts, over what ``--peak-tflops`` says that the GPU can do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.recipe_io import load_recipe
from fdream.core.report import SilentReporter
from fdream.pipelines.assembly import build_objective
from fdream.training.checkpoints import Progress
from fdream.training.loop import TrainingLoop
from fdream.training.objective import Share
from fdream.training.run_folder import RunFolder

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"
SMALL = {
    "block_out_channels": (64, 128, 128, 128),
    "attention_head_dim": (2, 4, 4, 4),
    "cross_attention_dim": 128,
    "norm_num_groups": 16,
    "layers_per_block": 1,
}
SD21 = {
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "norm_num_groups": 32,
    "layers_per_block": 2,
}
FORM = {
    "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
    "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
    "use_linear_projection": True,
    "sample_size": 64,
}


def write_base(folder: Path, shape: dict[str, Any]) -> None:
    """Write a random pipeline of SD 2.1's form."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    width = shape["cross_attention_dim"]
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for letter in (chr(code) for code in range(97, 123)):
        words[letter] = len(words)
        words[letter + "</w>"] = len(words)
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            norm_num_groups=2,
            scaling_factor=0.18215,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(vocab=words, merges=[], model_max_length=77),
        unet=UNet(**FORM, **shape),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            prediction_type="v_prediction",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def write_shards(folder: Path, clips: int, frames: int, height: int, width: int) -> None:
    """Write moving clips as a shard."""
    from fdream.core.sizes import Size
    from fdream.data.encoding import Encoding
    from fdream.data.shards.writer import json_bytes, write_tar
    from fdream.data.spriteworld.world import SpriteWorld
    from fdream.data.writers import encode_video

    world = SpriteWorld("plain", Size(height, width), frames=frames, split="all")
    facts = {"height": height, "width": width, "num_frames": frames, "fps": 8.0}
    samples = []
    for number in range(clips):
        video = encode_video(world.clip(number).frames, 8.0, Encoding("mp4"))
        words = world.describe(number)
        samples.append(
            (
                f"{number:05d}",
                {
                    "mp4": video,
                    "json": json_bytes(facts),
                    "appearance.txt": words.pair.appearance.encode(),
                    "motion.txt": words.pair.motion.encode(),
                },
            )
        )
    folder.mkdir(parents=True)
    write_tar(folder / "00000.tar", samples)


class Timer:
    """Collects seconds by the clock and by the processor; a GPU is waited for."""

    def __init__(self, device: DeviceManager) -> None:
        self._cuda = device.kind == "cuda"
        self.clock: list[float] = []
        self.processor: list[float] = []

    def time(self, function: Callable[[], Any]) -> Any:
        self._wait()
        clock, processor = time.perf_counter(), time.process_time()
        found = function()
        self._wait()
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)
        return found

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


class TimedLoop(TrainingLoop):
    """The loop, with each step on a timer."""

    timer: Timer

    def _step(self, *arguments: Any) -> Any:
        step = super()._step
        return self.timer.time(lambda: step(*arguments))


def ours(loop: TimedLoop, steps: int) -> Timer:
    loop.timer = Timer(loop.device)
    progress: Progress = loop.run()
    assert progress.step == steps
    return loop.timer


def limit(loop: TimedLoop, steps: int) -> Timer:
    """Forward and backward of the model that the loop has trained, on one batch."""
    objective, timer, device = loop.objective, Timer(loop.device), loop.device
    drawn = objective.draw(0, loop.table.batch_size, Share(), torch.Generator().manual_seed(0))
    batch = drawn.to(device.torch_device)

    def step() -> None:
        with device.autocast():
            loss, _ = objective.loss(batch)
        loss.backward()

    for _ in range(steps):
        timer.time(step)
        for module in objective.modules.values():
            module.zero_grad(set_to_none=True)
    return timer


class PlainLoop:
    """What people write over diffusers: frozen UNet, motion modules, AdamW."""

    def __init__(self, loop: TimedLoop, checkpointing: bool) -> None:
        from diffusers import DDIMScheduler, MotionAdapter, UNetMotionModel

        objective, self.device = loop.objective, loop.device
        spatial = objective.network.spatial
        adapter = MotionAdapter(
            block_out_channels=spatial.config.block_out_channels,
            motion_layers_per_block=spatial.config.layers_per_block,
            motion_num_attention_heads=4,
            motion_norm_num_groups=spatial.config.norm_num_groups,
            motion_max_seq_length=32,
        )
        torch.manual_seed(0)
        self.model = UNetMotionModel.from_unet2d(spatial, adapter).to(self.device.torch_device)
        self.model.requires_grad_(False)
        self.trained = [p for n, p in self.model.named_parameters() if "motion_modules" in n]
        for parameter in self.trained:
            parameter.requires_grad_(True)
        if checkpointing:
            self.model.enable_gradient_checkpointing()
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4)
        self.schedule = DDIMScheduler(prediction_type="v_prediction")
        drawn = objective.draw(0, loop.table.batch_size, Share(), torch.Generator().manual_seed(0))
        here = self.device.torch_device
        self.latents = drawn.views.latents.to(here)
        captions = [CaptionPair("a thing", "") for _ in range(len(self.latents))]
        tokens = objective.generator.appearance_tokens([c.appearance for c in captions], (64, 64))
        # It wants the text of every frame.
        text = tokens["text"].to(here).detach()
        self.text = text.repeat_interleave(self.latents.shape[2], dim=0)

    def step(self) -> None:
        noise = torch.randn_like(self.latents)
        t = torch.randint(0, 1000, (len(self.latents),), device=self.latents.device)
        noisy = self.schedule.add_noise(self.latents, noise, t)
        with self.device.autocast():
            found = self.model(noisy, t, encoder_hidden_states=self.text).sample
        loss = F.mse_loss(found.float(), self.schedule.get_velocity(self.latents, noise, t))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def run(self, steps: int) -> Timer:
        timer = Timer(self.device)
        for _ in range(steps):
            timer.time(self.step)
        return timer


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--full", action="store_true", help="SD 2.1's size")
    parser.add_argument("--size", default=None, help="WIDTHxHEIGHT; 64x64, with --full 256x256")
    parser.add_argument("--frames", type=int, default=None, help="8, with --full 16")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak-tflops", type=float, default=None)
    parser.add_argument(
        "--motion", action="append", default=[], metavar="KEY=VALUE", help="a motion option of ours"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        json.dump(measure(asked, Path(place)), sys.stdout, indent=1)
        sys.stdout.write("\n")


def measure(asked: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Run the rounds."""
    import os

    os.environ["FDREAM_CACHE"] = str(place / "cache")
    frames = asked.frames or (16 if asked.full else 8)
    size = asked.size or ("256x256" if asked.full else "64x64")
    width, height = map(int, size.split("x"))
    device = DeviceManager.choose(asked.device, asked.dtype, threads=asked.threads).for_training()
    write_base(place / "base", SD21 if asked.full else SMALL)
    write_shards(place / "shards", 2 * asked.batch + 1, frames, height, width)
    never = 10**9
    sets = {
        "train.init_from": str(place / "base"),
        "data.options.shards": str(place / "shards"),
        "data.options.sizes": f'["{size}"]',
        "data.options.frames": f"[{frames}]",
        "data.options.stride": "[1, 1]",
        "data.validation": 1,
        "data.workers": 2,
        "train.batch_size": asked.batch,
        "train.steps": asked.steps,
        "train.trackers": "[]",
        "train.log_every": 1,
        "train.probe_every": 0,
        "train.compile": str(asked.compile).lower(),
        "train.gradient_checkpointing": str(asked.checkpointing).lower(),
        **dict.fromkeys(("train.eval_every", "train.sample_every", "train.save_every"), never),
        "objective.sheet_steps": 1,
        "objective.sheet_clips": 1,
        **({} if asked.full else {"objective.motion.head_width": 32}),
    }
    changes = [f"{key}={value}" for key, value in sets.items()]
    changes += [f"objective.motion.{change}" for change in asked.motion]
    recipe = load_recipe(
        "webvid", changes, ["objective.image_encoder", "objective.motion_text_encoder"]
    ).recipe
    spent: dict[str, list[Timer]] = {"ours": [], "limit": [], "plain": []}
    for number in range(asked.rounds):
        torch.manual_seed(0)
        objective = build_objective(recipe, device)
        folder = RunFolder(place / f"run-{number}")
        loop = TimedLoop(objective, recipe.train, folder, 0, SilentReporter(), device, 2)
        spent["ours"].append(ours(loop, asked.steps))
        spent["limit"].append(limit(loop, asked.steps))
        plain = PlainLoop(loop, asked.checkpointing)
        spent["plain"].append(plain.run(asked.steps))
    found = {name: summary(timers) for name, timers in spent.items()}
    which = "clock_s" if device.kind == "cuda" else "processor_s"
    motion = sum(p.numel() for p in objective.modules["motion"].parameters())
    result: dict[str, Any] = {
        "setting": vars(asked) | {"frames": frames, "size": size},
        "device": device.describe(),
        "parameters": {
            "spatial": sum(p.numel() for p in objective.network.spatial.parameters()),
            "motion": motion,
            "motion_plain": sum(p.numel() for p in plain.trained),
        },
        "seconds_a_step": found,
        "data_wait": data_wait(place),
        "ratio": {
            f"ours_over_{name}": {
                kind: round(found[name][kind] / found["ours"][kind], 3)
                for kind in ("clock_s", "processor_s")
            }
            for name in ("limit", "plain")
        },
        "judged_by": which,
    }
    if device.kind == "cuda":
        result["peak_memory_gb"] = round((device.memory().peak or 0) / 1e9, 2)
        result["mfu"] = mfu(loop, found["ours"]["clock_s"], asked.peak_tflops)
    return result


def summary(timers: list[Timer]) -> dict[str, float]:
    """The middle of all steps but the first two of each round, which are never like the others."""
    return {
        "clock_s": round(statistics.median(s for t in timers for s in t.clock[2:]), 5),
        "processor_s": round(statistics.median(s for t in timers for s in t.processor[2:]), 5),
    }


def data_wait(place: Path) -> float:
    """The middle share of a step that was spent waiting for data."""
    rows = [json.loads(line) for log in place.glob("run-*/log.jsonl") for line in log.open()]
    return round(statistics.median(row["data_wait"] for row in rows if "data_wait" in row), 5)


def mfu(loop: TimedLoop, step_s: float, peak_tflops: float | None) -> float | None:
    """Counted operations of forward and backward a second, over what the GPU can do."""
    from torch.utils.flop_counter import FlopCounterMode

    if peak_tflops is None:
        return None
    counter = FlopCounterMode(display=False)
    with counter:
        limit(loop, 1)
    return round(counter.get_total_flops() / step_s / (peak_tflops * 1e12), 4)


if __name__ == "__main__":
    main()
