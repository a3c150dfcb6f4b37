"""What an output says about its own making; see ``data.metadata`` for how files carry it."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import fdream
from fdream.core.captions import CaptionPair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager

_LIBRARIES: Final = ("torch", "diffusers", "transformers", "numpy")


def frames_hash(frames: NDArray[np.uint8]) -> str:
    """sha256 of RGB bytes, (H, W, 3) or (F, H, W, 3): what ``replay`` compares."""
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()


def captions_record(captions: CaptionPair) -> dict[str, str]:
    """Both halves of a caption."""
    return {"appearance": captions.appearance, "motion": captions.motion}


def environment_record(device: DeviceManager) -> dict[str, Any]:
    """What a bit-equal repetition needs to be the same; no path, no host name, no user."""
    # Versions from metadata: importing a library to ask its version would cost seconds.
    versions = {"fdream": fdream.__version__}
    versions |= {name: metadata.version(name) for name in _LIBRARIES}
    described = device.describe()
    kept = {key: described[key] for key in ("device", "dtype", "threads")}
    return {"versions": versions, **kept, "device_name": described["name"]}
