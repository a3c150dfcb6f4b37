"""What an output says about its own making; see ``data.metadata`` for how files carry it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], *, seed: bool) -> list[str]:
    """Name the parts of a recipe that a record, read back from a file, does not share.

    Compared is what decides how a sample comes out: prompt, captions, seed, index, fps, stages with
    the hash of their weights, options, encoding. Versions and the machine are not: a batch that is
    half done stays so after an update, and on another computer.

    Args:
        found: a record; anybody may have written it.
        wanted: ``generation.recipe``, with what else has to be the same.
        seed: whether the seed counts; not where nobody asked for one.
    """
    # Through JSON, as the record has gone: it knows no tuples.
    plain = json.loads(json.dumps(wanted))
    keys = [key for key in plain if seed or key != "seed"]
    # A prompt that was given and one that was not are two recipes, too.
    keys += [key for key in ("prompt",) if key in found and key not in plain]
    return [key for key in keys if _unversioned(found.get(key)) != _unversioned(plain.get(key))]


def _unversioned(part: Any) -> Any:
    """Drop the versions of stages: the hash of their weights says what they are."""
    if not isinstance(part, Mapping):
        return part
    return {key: _unversioned(value) for key, value in part.items() if key != "version"}


def environment_record(device: DeviceManager) -> dict[str, Any]:
    """What a bit-equal repetition needs to be the same; no path, no host name, no user."""
    # Versions from metadata: importing a library to ask its version would cost seconds.
    versions = {"fdream": fdream.__version__}
    versions |= {name: metadata.version(name) for name in _LIBRARIES}
    described = device.describe()
    kept = {key: described[key] for key in ("device", "dtype", "threads")}
    return {"versions": versions, **kept, "device_name": described["name"]}
