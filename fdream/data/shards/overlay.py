"""The overlay, such as a watermark, beside shards: ``prep`` finds it, training masks it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from fdream.core.paths import atomic_write
from fdream.data.images import open_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDER: Final = "overlay"


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay that clips share.

    Attributes:
        mask: bool (H, W), where it is.
        alpha: float32 (H, W) in [0, 1], its opacity; 0 outside the mask.
        colour: uint8 (H, W, 3), RGB.
        clips: how many were looked at.
    """

    mask: NDArray[np.bool_]
    alpha: NDArray[np.float32]
    colour: NDArray[np.uint8]
    clips: int

    @property
    def area(self) -> float:
        """Share of the picture that it covers."""
        return float(self.mask.mean())


def read_overlay(shards: Path) -> Overlay | None:
    """Read the overlay that stands beside shards; None where none was found."""
    place = shards / _FOLDER
    if not (place / "overlay.json").is_file():
        return None
    mask, rgba = _pixels(place / "mask.png", "L"), _pixels(place / "overlay.png", "RGBA")
    facts = json.loads((place / "overlay.json").read_text(encoding="utf-8"))
    alpha = (rgba[..., 3] / np.float32(255)).astype(np.float32)
    return Overlay(mask > 0, alpha, rgba[..., :3].copy(), int(facts["clips"]))


def _pixels(path: Path, mode: str) -> NDArray[np.uint8]:
    with path.open("rb") as stream, open_image(stream, str(path)) as picture:
        return np.asarray(picture.convert(mode), np.uint8)


def write_overlay(shards: Path, overlay: Overlay | None) -> None:
    """Write the overlay beside shards, whole or not at all; None removes the one that is there.

    ``overlay/mask.png`` is white where it is, ``overlay/overlay.png`` is the overlay itself with
    its opacity, ``overlay/overlay.json`` says how it was found.
    """
    place = shards / _FOLDER
    if place.is_dir():
        shutil.rmtree(place)
    if overlay is None:
        return
    height, width = overlay.mask.shape
    facts = {
        "height": height,
        "width": width,
        "clips": overlay.clips,
        "area": round(overlay.area, 6),
        "mean_alpha": round(float(overlay.alpha[overlay.mask].mean()), 6),
    }
    rgba = np.dstack([overlay.colour, (overlay.alpha * 255).round().astype(np.uint8)])
    with atomic_write(place) as aside:
        aside.mkdir()
        Image.fromarray(overlay.mask.astype(np.uint8) * 255).save(aside / "mask.png")
        Image.fromarray(rgba).save(aside / "overlay.png")
        text = json.dumps(facts, indent=2, sort_keys=True)
        (aside / "overlay.json").write_text(text + "\n", encoding="utf-8")
