"""Bundles: a whole Factorized-Dreamer on disk, one subfolder a component.

A bundle is a diffusers-style folder: ``model_index.json`` names each component's class, every
component is saved by its own ``save_pretrained`` (safetensors and JSON, never pickle), and our own
facts stand under the key ``fdream`` of the index. Components load one by one, when they are asked
for: a command that only draws an image never reads the motion weights.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdream.core.errors import WeightsError
from fdream.models.noise_schedule import NoiseSchedule

SCHEMA = 1
INDEX_NAME = "model_index.json"
MAX_SHARD = "15MB"

_CLASSES = {
    "PatchAutoencoder": "fdream.models.patch_autoencoder",
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl",
    "UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition",
    "MotionModules": "fdream.models.motion_modules",
    "CLIPTextModel": "transformers.models.clip.modeling_clip",
    "CLIPTextModelWithProjection": "transformers.models.clip.modeling_clip",
    "CLIPVisionModelWithProjection": "transformers.models.clip.modeling_clip",
    "T5EncoderModel": "transformers.models.t5.modeling_t5",
    "CLIPTokenizer": "transformers",
    "T5Tokenizer": "transformers",
    "PreTrainedTokenizerFast": "transformers",
}
"""Every class an index may name, and its module: an index chooses, it never imports."""

_SCHEDULE = "scheduler"
_COMPONENT_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle folder.

    Attributes:
        path: the folder.
        index: its parsed ``model_index.json``.
    """

    path: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle, or the bundle that a run folder holds.

        Raises:
            WeightsError: there is no bundle, its index is damaged, or a newer fdream wrote it.
        """
        folder = Path(path)
        if not (folder / INDEX_NAME).is_file() and (folder / "bundle" / INDEX_NAME).is_file():
            folder = folder / "bundle"
        try:
            index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise WeightsError(
                f"bundle {str(path)!r}: no {INDEX_NAME} there; give a bundle folder or a run "
                "folder of `fdream train`."
            ) from None
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"bundle {str(path)!r}: {INDEX_NAME} cannot be read ({error}); fetch or train it "
                "again."
            ) from error
        table = index.get("fdream") if isinstance(index, dict) else None
        schema = table.get("schema") if isinstance(table, dict) else None
        if not isinstance(schema, int):
            raise WeightsError(
                f"bundle {str(path)!r}: {INDEX_NAME} has no fdream.schema, so it is not one of "
                "ours; give a bundle folder or a run folder of `fdream train`."
            )
        if schema > SCHEMA:
            raise WeightsError(
                f"bundle {str(path)!r}: schema {schema}, and this fdream reads up to {SCHEMA}; "
                "update with pip install -U fdream."
            )
        bundle = cls(folder, index)
        for name in bundle.component_names:
            # Names become folders to read and to copy: one that climbs out would reach any file.
            if not _COMPONENT_NAME.fullmatch(name):
                raise WeightsError(
                    f"bundle {str(path)!r}: {INDEX_NAME} names a component {name!r}, which is no "
                    "plain folder name; fetch it again from where you trust it."
                )
        return bundle

    @staticmethod
    def write(
        folder: Path,
        components: Mapping[str, Any],
        information: Mapping[str, Any],
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write a bundle, complete or not at all.

        Args:
            folder: where; an older bundle there is replaced once the new one is whole.
            components: by name: modules and tokenizers with ``save_pretrained``, a NoiseSchedule,
                or the folder of another bundle's component, which is copied unchanged.
            information: the index's ``fdream`` table; ``schema`` is added.
            dtype: cast modules to this type on the way; None keeps each as it is.
        """
        partial = folder.with_name(folder.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        index: dict[str, Any] = {"_class_name": "FactorizedDreamer"}
        for name, component in components.items():
            place = partial / name
            if isinstance(component, Path):
                shutil.copytree(component, place)
                index[name] = _class_of_saved(component)
            elif isinstance(component, NoiseSchedule):
                component.save(place)
                index[name] = ["fdream", "NoiseSchedule"]
            else:
                _save(component, place, dtype)
                index[name] = [type(component).__module__.split(".")[0], _class_name(component)]
        index["fdream"] = {**information, "schema": SCHEMA}
        (partial / INDEX_NAME).write_text(
            json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
        retired = folder.with_name(folder.name + ".old")
        if folder.exists():
            if retired.exists():  # a kill came between the last two renames and the removal
                shutil.rmtree(retired)
            folder.rename(retired)
        partial.rename(folder)
        if retired.exists():
            shutil.rmtree(retired)

    @property
    def information(self) -> Mapping[str, Any]:
        """The index's ``fdream`` table: name, defaults, sprites, licence."""
        table: Mapping[str, Any] = self.index["fdream"]
        return table

    @property
    def component_names(self) -> list[str]:
        return sorted(k for k, v in self.index.items() if isinstance(v, list))

    def has(self, name: str) -> bool:
        return name in self.component_names

    def folder(self, name: str) -> Path:
        """Return a component's subfolder.

        Raises:
            WeightsError: the bundle lacks it.
        """
        if not self.has(name):
            held = ", ".join(self.component_names)
            raise WeightsError(
                f"bundle {self.path.name!r} has no {name!r} (it holds {held}); train that stage or "
                "choose another bundle."
            )
        return self.path / name

    @cached_property
    def hash(self) -> str:
        """sha256 over names and bytes of all component files, hexadecimal."""
        return self.hash_of(*self.component_names)

    def hash_of(self, *names: str) -> str:
        """Return the sha256 over names and bytes of some components' files, hexadecimal."""
        digest = hashlib.sha256()
        for name in names:
            for file in sorted(self.folder(name).rglob("*")):
                if file.is_file():
                    digest.update(f"{file.relative_to(self.path).as_posix()}\0".encode())
                    digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def load(self, name: str) -> Any:
        """Load one component.

        Returns:
            A module on the CPU, in float32 and evaluation mode; a tokenizer; or the schedule.

        Raises:
            WeightsError: the component is missing, of a class we do not know, or does not load.
        """
        folder = self.folder(name)
        if name == _SCHEDULE:
            return NoiseSchedule.from_pretrained(folder)
        class_name = str(self.index[name][1])
        if class_name not in _CLASSES:
            raise WeightsError(
                f"bundle {self.path.name!r}: {name} is a {class_name}, which fdream does not load; "
                f"known: {', '.join(sorted(_CLASSES))}."
            )
        _hide_progress()
        loader = getattr(importlib.import_module(_CLASSES[class_name]), class_name)
        is_module = isinstance(loader, type) and issubclass(loader, nn.Module)
        options = {"use_safetensors": True, "torch_dtype": torch.float32} if is_module else {}
        try:
            component = loader.from_pretrained(str(folder), local_files_only=True, **options)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(
                f"bundle {self.path.name!r}: {name} does not load ({reason}); fetch or train it "
                "again."
            ) from error
        return component.eval() if is_module else component


def _hide_progress() -> None:
    """Switch off the loading bars of diffusers and transformers: what goes on is told by us."""
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        importlib.import_module(library).disable_progress_bar()


def _save(component: Any, place: Path, dtype: torch.dtype | None) -> None:
    if isinstance(component, nn.Module):
        _hide_progress()
        # A copy: casting in place would change the weights that are still being trained.
        # torch documents `to(memory_format=...)` alone, its annotations do not know it.
        component = deepcopy(component).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if dtype is not None:
            component = component.to(dtype)
        component.save_pretrained(str(place), safe_serialization=True, max_shard_size=MAX_SHARD)
    else:
        component.save_pretrained(str(place))


def _class_name(component: Any) -> str:
    # transformers 5 renamed this class and kept the old name as an alias: every version knows it.
    name = type(component).__name__
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name


def _class_of_saved(folder: Path) -> list[str]:
    index = json.loads((folder.parent / INDEX_NAME).read_text(encoding="utf-8"))
    found: list[str] = index[folder.name]
    return found
