"""Bundles: a whole Factorized-Dreamer on disk, one subfolder a component.

A bundle is a diffusers-style folder: ``model_index.json`` names each component's class, every
component is saved by its own ``save_pretrained`` (safetensors and JSON, never pickle), and our own
facts stand under the key ``fdream`` of the index. Components load one by one, when they are asked
for: a command that only draws an image never reads the motion weights.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from fdream.core.errors import RecipeError, WeightsError
from fdream.models.bundle_folder import INDEX_NAME, SCHEMA, BundleFolder
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.spatial_adapter import SpatialAdapter
from fdream.models.weight_places import Place

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

# What the libraries raise on configurations and weights that do not fit; a bundle may be anybody's.
_UNFIT: Final = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    SafetensorError,
    StrictDataclassError,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A component that a bundle names and does not hold.

    Attributes:
        place: where it lies.
        class_name: of the component.
    """

    place: Place
    class_name: str


class Bundle(BundleFolder):
    """A bundle whose components can be loaded, and the one way to write another."""

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
                the folder of another bundle's component, which is copied unchanged, or a
                ``Reference`` to a component that stays where it is.
            information: the index's ``fdream`` table; ``schema`` is added.
            dtype: cast modules to this type on the way; None keeps each as it is.
        """
        partial = folder.with_name(folder.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        index: dict[str, Any] = {"_class_name": "FactorizedDreamer"}
        elsewhere: dict[str, list[str]] = {}
        for name, component in components.items():
            place = partial / name
            if isinstance(component, Reference):
                index[name] = ["elsewhere", component.class_name]
                elsewhere[name] = [component.place.name, component.place.subfolder]
            elif isinstance(component, Path):
                shutil.copytree(component, place)
                index[name] = _class_of_saved(component)
            elif isinstance(component, NoiseSchedule):
                component.save(place)
                index[name] = ["fdream", "NoiseSchedule"]
            else:
                _save(component, place, dtype)
                index[name] = [type(component).__module__.split(".")[0], _class_name(component)]
        stated = {key: value for key, value in information.items() if key != "elsewhere"}
        index["fdream"] = {**stated, "schema": SCHEMA}
        if elsewhere:
            index["fdream"]["elsewhere"] = elsewhere
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

    def carried(self, name: str) -> Path | Reference:
        """Return a component as ``write`` takes it for another bundle: its folder, or its place."""
        place = self.elsewhere.get(name)
        return self.folder(name) if place is None else Reference(place, self.class_of(name))

    def load(self, name: str) -> Any:
        """Load one component.

        Returns:
            A module on the CPU, in float32 and evaluation mode; a tokenizer; or the schedule.

        Raises:
            WeightsError: the component is missing, of a class we do not know, or does not load.
        """
        self.check(name)
        try:
            if name == _SCHEDULE:
                return NoiseSchedule.from_pretrained(self.folder(name))
            loader = self._loader(name)
            is_module = isinstance(loader, type) and issubclass(loader, nn.Module)
            options = {"use_safetensors": True, "torch_dtype": torch.float32} if is_module else {}
            folder = str(self.folder(name))
            component = loader.from_pretrained(folder, local_files_only=True, **options)
        except (RecipeError, *_UNFIT) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise WeightsError(
                f"bundle {self.path.name!r}: {name} does not load ({reason}); fetch or train it "
                "again."
            ) from error
        return component.eval() if is_module else component

    def skeleton(self, name: str) -> nn.Module:
        """Build a component of diffusers' kind whose weights hold nothing: to be measured, not run.

        Raises:
            WeightsError: see ``load``.
        """
        from accelerate import init_empty_weights  # no run without --fit pays for it

        self.check(name)
        try:
            with init_empty_weights():
                found: nn.Module = self._loader(name).from_config(self.config(name))
        except (RecipeError, *_UNFIT) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise WeightsError(
                f"bundle {self.path.name!r}: {name} cannot be built ({reason}); fetch or train it "
                "again."
            ) from error
        return found

    def _loader(self, name: str) -> Any:
        class_name = self.class_of(name)
        if class_name not in _CLASSES:
            raise WeightsError(
                f"bundle {self.path.name!r}: {name} is a {class_name}, which fdream does not load; "
                f"known: {', '.join(sorted(_CLASSES))}."
            )
        _hide_progress()
        return getattr(importlib.import_module(_CLASSES[class_name]), class_name)


def _hide_progress() -> None:
    """Switch off the loading bars of diffusers and transformers: what goes on is told by us."""
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        importlib.import_module(library).disable_progress_bar()


def _save(component: Any, place: Path, dtype: torch.dtype | None) -> None:
    # An adapter knows its base, which is no part of it and must not be copied.
    if isinstance(component, nn.Module) and not isinstance(component, SpatialAdapter):
        _hide_progress()
        # A copy: casting in place would change the weights that are still being trained.
        # torch documents `to(memory_format=...)` alone, its annotations do not know it.
        component = deepcopy(component).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if dtype is not None:
            component = component.to(dtype)
        component.save_pretrained(str(place), safe_serialization=True, max_shard_size=MAX_SHARD)
        _forget_origin(place / "config.json")
    else:
        component.save_pretrained(str(place))


def _forget_origin(config: Path) -> None:
    """Drop the folder a component was loaded from: a bundle travels, and no path does."""
    table = json.loads(config.read_text(encoding="utf-8"))
    if table.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _class_name(component: Any) -> str:
    # transformers 5 renamed this class and kept the old name as an alias: every version knows it.
    name = type(component).__name__
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name


def _class_of_saved(folder: Path) -> list[str]:
    index = json.loads((folder.parent / INDEX_NAME).read_text(encoding="utf-8"))
    found: list[str] = index[folder.name]
    return found
