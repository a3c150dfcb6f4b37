"""The last step of pocket: cast a finished run to half precision and put it into the package.

    python recipes/pocket/package.py runs/pocket-video-16 [BASE]

With BASE, another run or bundle, only motion is taken from the run, and all else from there.
Weights are written as float16 (the wheel carries them; they load as float32), the defaults of the
commands are stated in the index, and the model card that stands in the folder is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from fdream.models.bundle import Bundle

TARGET = Path(__file__).parents[2] / "fdream" / "weights" / "pocket"
LARGEST_BYTES = 40_000_000

INFORMATION = {
    "name": "pocket",
    "licence": "Apache-2.0",
    "defaults": {
        "prior": {
            "scheduler": "ancestral",
            "steps": 20,
            "guidance": 3.5,
            "rescale": 0.3,
            "size": [128, 128],
        },
        "generator": {"steps": 8, "guidance": 3.5, "size": [128, 128], "frames": 16, "fps": 8.0},
    },
}


def main(run: str, base: str | None = None) -> None:
    """Package the bundle of a run folder, or its motion with the other parts of ``base``."""
    bundle = Bundle.open(run)
    card = TARGET / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    others = bundle if base is None else Bundle.open(base)
    components = {
        name: (bundle if name.startswith("motion") else others).load(name)
        for name in bundle.component_names
    }
    information = {**bundle.information, **INFORMATION}
    Bundle.write(TARGET, components, information, dtype=torch.float16)
    if text is not None:
        card.write_text(text, encoding="utf-8")
    sizes = {p: p.stat().st_size for p in TARGET.rglob("*") if p.is_file()}
    total = sum(sizes.values())
    if total > LARGEST_BYTES:
        raise SystemExit(f"{TARGET}: {total} bytes, and the wheel may carry {LARGEST_BYTES}.")
    for name, component in components.items():
        if isinstance(component, torch.nn.Module):
            count = sum(p.numel() for p in component.parameters())
            print(f"{name:20} {count / 1e6:6.2f} M parameters")
    print(f"{'in all':20} {total / 1e6:6.2f} MB, {Bundle.open(TARGET).hash[:16]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
