"""Speed of generation against diffusers: ``python benchmarks/generate.py [--repeats N]``.

Builds a base of Stable Diffusion's layout at a fraction of its width, with random weights, and on
it two video pipelines of nearly the same number of parameters: AnimateDiff of diffusers
(``UNetMotionModel``) and ``dreamer``. Both make the same video (size, frames, steps, guidance) from
their captions, one after the other in turn, in one process. JSON on stdout: for each the seconds of
a video and of one guided step, medians, and how many times faster ``dreamer`` is. On a CPU these
are seconds of processor time, which other processes do not change. Bar: 1.0.

Both run as they come, and both with what costs no quality: channels last, and on a GPU the
compiler.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.models.bundle import Bundle
from fdream.models.foreign_base import ForeignBase
from fdream.models.latents import latent_scaling
from fdream.models.motion_modules import MotionModules
from fdream.stages import registry
from fdream.stages.interfaces import SampleOptions

LETTERS = [chr(code) for code in range(97, 123)]


@dataclass(frozen=True)
class Task:
    """What is made, and of which width.

    Attributes:
        width: channels at the finest level; Stable Diffusion has 320.
        side: of the square frames, in pixels.
        frames: of the video.
        steps: sampling steps.
        guidance: scale of guidance.
        motion: options of our motion modules.
    """

    width: int
    side: int
    frames: int
    steps: int
    guidance: float = 7.5
    motion: dict[str, Any] = field(default_factory=dict)


def random_base(folder: Path, width: int) -> None:
    """Save a text-to-image pipeline of Stable Diffusion's layout."""
    import diffusers as d
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    crossed, plain = "CrossAttn{}Block2D", "{}Block2D"
    unet = d.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        down_block_types=(*[crossed.format("Down")] * 3, plain.format("Down")),
        up_block_types=(plain.format("Up"), *[crossed.format("Up")] * 3),
        cross_attention_dim=2 * width,
        attention_head_dim=8,
    )
    vae = d.AutoencoderKL(
        block_out_channels=(32, 64, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    tokenizer = CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=2 * width,
            intermediate_size=4 * width,
            num_hidden_layers=2,
            num_attention_heads=8,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    d.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=d.DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def animatediff(folder: Path, task: Task, device: DeviceManager) -> tuple[Any, Any]:
    """Open the base with diffusers' motion; return the pipeline and its network."""
    import diffusers as d

    width = task.width
    adapter = d.MotionAdapter(block_out_channels=(width, 2 * width, 4 * width, 4 * width))
    pipeline = d.AnimateDiffPipeline.from_pretrained(
        folder, motion_adapter=adapter, dtype=device.dtype
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device.torch_device)
    return pipeline, pipeline.unet


def dreamer(folder: Path, options: dict[str, Any], device: DeviceManager) -> Any:
    """Open the base with fresh motion modules, all of them switched on but the encoders."""
    base = ForeignBase(str(folder)).open()
    unet, vae = base.load("unet"), base.load("vae")
    motion = MotionModules.for_base(
        unet,
        base.load("scheduler"),
        latent_scaling=latent_scaling(vae),
        adapter="none",
        motion_text=False,
        **options,
    )
    parts = {name: base.carried(name) for name in base.component_names}
    place = folder.parent / "dreamer"
    Bundle.write(place, {**parts, "motion": motion}, base.information)
    return registry.build("generator", f"dreamer:{place}", {}, device=device)


def seconds(work: Callable[[], object], device: DeviceManager) -> float:
    """Return what one call takes: processor time on a CPU, wall time on a GPU."""
    if device.kind == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def makers(folder: Path, task: Task, device: DeviceManager) -> dict[str, Any]:
    """Return both pipelines as functions of the number of steps, and their networks."""
    generator = dreamer(folder, task.motion, device)
    pipeline, network = animatediff(folder, task, device)
    first = np.zeros((1, task.side, task.side, 3), np.uint8)
    captions = [CaptionPair("a corgi", "surfing")]

    def ours(steps: int) -> object:
        options = SampleOptions(steps=steps, guidance=task.guidance)
        return generator.animate(first, captions, task.frames, 8.0, [0], options)

    def theirs(steps: int) -> object:
        return pipeline(
            prompt="a corgi surfing",
            height=task.side,
            width=task.side,
            num_frames=task.frames,
            num_inference_steps=steps,
            guidance_scale=task.guidance,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
        )

    return {
        "dreamer": (ours, generator.network),
        "diffusers": (theirs, network),
    }


def compare(folder: Path, task: Task, device: DeviceManager, repeats: int) -> dict[str, Any]:
    """Measure both in turn."""
    made = makers(folder, task, device)
    report: dict[str, Any] = {
        "parameters": {
            name: sum(p.numel() for p in network.parameters())
            for name, (_, network) in made.items()
        }
    }
    for setting in ("as_it_comes", "lossless"):
        if setting == "lossless":
            for _, network in made.values():
                network.to(memory_format=torch.channels_last)
                if device.kind == "cuda":
                    network.compile()
        taken: dict[str, dict[str, list[float]]] = {n: {"video": [], "step": []} for n in made}
        for make, _ in made.values():
            make(1)
        for _ in range(repeats):
            for name, (make, _) in made.items():
                one = seconds(lambda make=make: make(1), device)  # type: ignore[misc]
                whole = seconds(lambda make=make: make(task.steps), device)  # type: ignore[misc]
                taken[name]["video"].append(whole)
                taken[name]["step"].append((whole - one) / (task.steps - 1))
        median = {
            name: {what: round(statistics.median(values), 4) for what, values in rows.items()}
            for name, rows in taken.items()
        }
        report[setting] = {
            **median,
            "times_faster": {
                what: round(median["diffusers"][what] / median["dreamer"][what], 3)
                for what in ("video", "step")
            },
        }
    return report


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--motion", action="append", default=[], metavar="KEY=VALUE", help="a motion option of ours"
    )
    asked = parser.parse_args()
    torch.manual_seed(0)
    device = DeviceManager.choose(asked.device, threads=asked.threads)
    motion = tomllib.loads("\n".join(asked.motion))
    task = Task(asked.width, asked.side, asked.frames, asked.steps, motion=motion)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "base"
        random_base(folder, task.width)
        report = compare(folder, task, device, asked.repeats)
    facts = {"device": device.describe(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "generate", "task": vars(task), **report, **facts}, indent=2))


if __name__ == "__main__":
    main()
