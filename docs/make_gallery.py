"""Make the pictures of the README and docs/gallery.md again, with the model that ships.

    python docs/make_gallery.py

Nothing is picked: prompt number k has seed k. Each row shows the first, a middle and the last frame
of what ``fdream t2v PROMPT --seed k`` writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fdream.core.device import DeviceManager
from fdream.core.report import SilentReporter, reporter
from fdream.pipelines.generation import ClipSettings, Sample, StillSettings, text_to_video
from fdream.pipelines.given import prompt_captions
from fdream.pipelines.workshop import StageChoices, Workshop

HERE = Path(__file__).parent
README_PROMPTS = 6
PROMPTS = (
    "a corgi surfing",
    "a red balloon flying in the desert",
    "a penguin bouncing in the snow",
    "a robot spinning in space",
    "a duck moving left in a meadow",
    "an octopus growing on a beach",
    "a cat circling in the forest",
    "a rocket flying in space",
    "a car moving right in the city",
    "a pig standing still in a meadow",
    "a basketball falling on a beach",
    "an elephant shrinking in the desert",
    "a whale moving left in the sea",
    "a frog shaking in the city",
    "a unicorn surfing in the sea",
    "a star spinning in space",
    "an apple standing still in the snow, the camera zooms in",
    "a parrot flying in the forest",
    "a turtle moving down in the sea",
    "a burger growing in space",
    "a cow moving right in the city",
    "a fox bouncing in the forest",
    "a ladybug moving left on a beach",
    "a mushroom circling in a meadow",
    "a dinosaur moving up in the desert",
    "a pizza moving right in a meadow",
    "an owl standing still in the forest, the camera pans left",
    "a basketball bouncing in the city",
    "a cactus shaking in the desert",
    "a fish surfing in the sea",
)


def main() -> None:
    """Write docs/strip.png, docs/gallery.png and docs/gallery.md."""
    shop = Workshop(StageChoices(), DeviceManager.choose(), SilentReporter())
    rows = []
    with reporter().progress(len(PROMPTS), "gallery") as bar:
        for seed, prompt in enumerate(PROMPTS):
            sample = Sample(seed, prompt=prompt)
            clip = text_to_video(
                prompt_captions(prompt, shop), sample, StillSettings(), ClipSettings(), shop
            )
            shown = clip.frames[[0, len(clip.frames) // 2, -1]]
            rows.append(np.concatenate(list(shown), 1))
            bar.update()
    strip = np.concatenate([rows[k] for k in range(README_PROMPTS // 2)], 1)
    below = np.concatenate([rows[k] for k in range(README_PROMPTS // 2, README_PROMPTS)], 1)
    Image.fromarray(np.concatenate([strip, below])).save(HERE / "strip.png", optimize=True)
    lanes = [np.concatenate(rows[k::3]) for k in range(3)]
    Image.fromarray(np.concatenate(lanes, 1)).save(HERE / "gallery.png", optimize=True)
    lines = [
        "# Gallery",
        "",
        "Thirty prompts, seeds 0 to 29, nothing picked: first, middle, last frame,",
        "three prompts a row, as `python docs/make_gallery.py` makes them with the packaged model.",
        "One of them alone: `fdream t2v PROMPT --seed NUMBER -o out.mp4`.",
        "",
        "![thirty videos](gallery.png)",
        "",
        *(f"{seed}. {prompt}" for seed, prompt in enumerate(PROMPTS)),
    ]
    (HERE / "gallery.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
