"""How fast SpriteWorld renders: ``python benchmarks/spriteworld.py [--repeats N]``.

Renders clips of 16 frames of 128x128 with flow, mask and visibility in one thread, scenes and
sprites warm, and writes JSON to stdout: clips a second, median of the repeats. Bar: 40.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import cv2

from fdream.data.spriteworld.world import SpriteWorld

CLIPS = 100


def clips_per_second(world: SpriteWorld, first_seed: int) -> float:
    """Render ``CLIPS`` clips and return the rate."""
    started = time.perf_counter()
    for seed in range(first_seed, first_seed + CLIPS):
        world.clip(seed)
    return CLIPS / (time.perf_counter() - started)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sprites", choices=["noto", "plain"], default="plain")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    world = SpriteWorld(cast=arguments.sprites)
    clips_per_second(world, 0)
    rates = [clips_per_second(world, CLIPS * (k + 1)) for k in range(arguments.repeats)]
    report = {
        "benchmark": "spriteworld",
        "sprites": arguments.sprites,
        "median_clips_per_s": round(statistics.median(rates), 1),
        "clips_per_s": [round(rate, 1) for rate in rates],
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
