"""How often the judges are right about real renderings: ``python -m benchmarks.judges.ceilings``.

Renders the very cases that pocket is asked for, judges them as they are and after the round trip
through pocket's autoencoder, and writes ``ceilings.json``. No score can be higher than these for
another reason than chance. Beside them stands what a blob scores, a disc of the sprite's mean
colour: a judge has to name something, and colour and scene alone tell much. Needs the emoji font;
scoring does not. To be run again when the judges or pocket's autoencoder change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.judges import motion_judge, picture_judge
from benchmarks.judges.protocol import CLIPS, cases, world
from benchmarks.judges.score import Verdict, figures
from benchmarks.judges.tables import table
from benchmarks.judges.verdicts import Bench
from fdream.core.report import Reporter, reporter
from fdream.stages.builtin.bundles import open_bundle
from fdream.stages.builtin.pixels import to_uint8, to_unit

CEILINGS: Final = Path(__file__).parent / "ceilings.json"


@torch.inference_mode()
def round_trip(frames: np.ndarray, vae: nn.Module, chunk: int = 16) -> np.ndarray:
    """Encode and decode pictures, uint8 (N, H, W, 3)."""
    parts = [frames[k : k + chunk] for k in range(0, len(frames), chunk)]
    return np.concatenate([to_uint8(vae(to_unit(part))) for part in parts])


def measure(count: int, vae: nn.Module, report: Reporter) -> dict[str, Any]:
    """Judge real renderings of the first ``count`` cases, with and without the round trip."""
    painter, bench = world(), Bench()
    verdicts: dict[str, dict[str, list[Verdict]]] = {
        "still": {"real": [], "round_trip": [], "blob": []},
        "clip": {"real": [], "round_trip": []},
    }
    with report.progress(count, "ceilings") as bar:
        for case in cases(count):
            clip = painter.render(case.shown)
            frames = clip.frames
            blob = as_blob(frames[0], clip.mask[0])
            verdicts["still"]["blob"].append(bench.still(case, blob))
            for kind, shown in (("real", frames), ("round_trip", round_trip(frames, vae))):
                verdicts["still"][kind].append(bench.still(case, shown[0]))
                verdicts["clip"][kind].append(bench.clip(case, shown))
            bar.update()
    return {
        shape: {kind: figures(found) for kind, found in kinds.items()}
        for shape, kinds in verdicts.items()
    }


def as_blob(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Put a disc of the sprite's mean colour, of its area, in its place.

    Args:
        picture: uint8 (H, W, 3) RGB.
        mask: bool (H, W), the sprite.
    """
    ys, xs = mask.nonzero()
    radius = round(math.sqrt(len(ys) / math.pi))
    colour = [float(value) for value in picture[mask].mean(0)]
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    bare = cv2.inpaint(picture, rim, 3, cv2.INPAINT_TELEA)
    return cv2.circle(bare, (round(xs.mean()), round(ys.mean())), radius, colour, -1)


def sha256(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="pocket", help="whose autoencoder makes the round trip")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--out", type=Path, default=CEILINGS)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = open_bundle(asked.bundle)
    (coder,) = (bundle.path / "vae").glob("*.safetensors")
    record = {
        "cases": asked.clips,
        "judges_sha256": {
            "picture": sha256(picture_judge.WEIGHTS),
            "motion": sha256(motion_judge.WEIGHTS),
        },
        "autoencoder_sha256": sha256(coder),
        **measure(asked.clips, bundle.load("vae").eval(), reporter()),
    }
    asked.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for shape in ("still", "clip"):
        for line in table(shape, record[shape]["round_trip"], record[shape]):
            print(line)


if __name__ == "__main__":
    main()
