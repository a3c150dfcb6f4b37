"""Bases of the Stable Diffusion family as diffusers keeps them, seen as bundles without motion.

Nothing is copied: each component stays where it is, and a bundle trained on such a base names it.
Two components are ours to choose, because a text-to-image model lacks them: the encoder that looks
at the first frame, and the T5 encoder that reads what moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fdream.core.errors import WeightsError
from fdream.models.bundle import Bundle
from fdream.models.bundle_folder import INDEX_NAME, SCHEMA
from fdream.models.component_files import json_object
from fdream.models.single_files import is_single_file
from fdream.models.weight_places import find_place, how_to_get, missing_places

_OURS: Final = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
    "tokenizer": "CLIPTokenizer",
    "tokenizer_2": "CLIPTokenizer",
    "scheduler": "NoiseSchedule",
}
_NEEDED: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")

# How released CLIP models were trained to be fed; padding is encoded unmasked, as their users do.
_ENCODERS: Final = {
    "mask_padding": False,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

_FAMILIES: Final = {
    "image_encoder": (("clip", "clip_vision_model"), "a CLIP model with an image tower"),
    "motion_text_encoder": (("t5", "mt5"), "a T5 model"),
}


@dataclass(frozen=True, slots=True)
class ForeignBase:
    """What a run takes from models of other people; each a folder, or ``owner/name`` on the Hub.

    Attributes:
        base: a text-to-image pipeline in diffusers form, or a checkpoint in a single file.
        image_encoder: a CLIP model with an image tower; None: no image tokens.
        motion_text: a T5 model; None: no motion caption.
        vae: an ``AutoencoderKL`` in place of the base's own.
    """

    base: str
    image_encoder: str | None = None
    motion_text: str | None = None
    vae: str | None = None

    @property
    def places(self) -> list[str]:
        """All models, in the order of their size, usually."""
        named = (self.base, self.image_encoder, self.motion_text, self.vae)
        return [name for name in named if name is not None]

    def open(self) -> Bundle:
        """See it as a bundle.

        Raises:
            WeightsError: something is not on this machine, or is no such pipeline.
        """
        absent = missing_places(self.places)
        if absent:
            raise WeightsError(
                f"{' and '.join(repr(name) for name in absent)}: not on this machine; "
                f"{how_to_get(absent)}"
            )
        index: dict[str, Any] = {"_class_name": "FactorizedDreamer"}
        elsewhere: dict[str, list[str]] = {}
        for name, class_name in _components(find_place(self.base), self.base).items():
            index[name] = ["elsewhere", class_name]
            elsewhere[name] = [self.base, name]
        chosen = {
            "image_encoder": (self.image_encoder, "CLIPVisionModelWithProjection"),
            "motion_text_encoder": (self.motion_text, "T5EncoderModel"),
            "motion_tokenizer": (self.motion_text, "T5Tokenizer"),
            "vae": (self.vae, "AutoencoderKL"),
        }
        for name, (place, class_name) in chosen.items():
            if place is not None:
                _check_kind(name, place)
                index[name] = ["elsewhere", class_name]
                elsewhere[name] = [place, ""]
        index["fdream"] = {
            "schema": SCHEMA,
            "name": Path(self.base).name,
            "encoders": _ENCODERS,
            "elsewhere": elsewhere,
        }
        return Bundle(find_place(self.base), index)


def _check_kind(component: str, named: str) -> None:
    """Make sure that an encoder is of the family it is loaded as.

    Raises:
        WeightsError: it is another model, or none.
    """
    if component not in _FAMILIES:
        return
    families, wanted = _FAMILIES[component]
    family = json_object(find_place(named) / "config.json", repr(named)).get("model_type")
    if family not in families:
        raise WeightsError(
            f"{named!r}: {wanted} is wanted; this is of type {family!r}. Name another with "
            f"objective.{component}."
        )


def rebased(bundle: Bundle, base: str) -> Bundle:
    """See the motion of a bundle on another base; whether it fits is seen when it is loaded.

    Args:
        bundle: holds motion modules and what they read: all but the base is kept.
        base: a pipeline in diffusers form, a single file, or a bundle with a base of its own.

    Raises:
        WeightsError: the base is not on this machine, or is none.
    """
    if (find_place(base) / INDEX_NAME).is_file() and not is_pipeline(find_place(base)):
        under = Bundle.open(base)
    else:
        under = ForeignBase(base).open()
    replaced = [name for name in _OURS if under.has(name)]
    kept = [name for name in bundle.component_names if name not in _OURS]
    index: dict[str, Any] = {name: bundle.index[name] for name in kept}
    index |= {name: ["elsewhere", under.class_of(name)] for name in replaced}
    elsewhere = {name: [at.name, at.subfolder] for name, at in bundle.elsewhere.items()}
    elsewhere = {name: at for name, at in elsewhere.items() if name in kept}
    for name in replaced:
        at = under.elsewhere.get(name)
        elsewhere[name] = [str(under.path), name] if at is None else [at.name, at.subfolder]
    # How captions are fed to a base's encoders is a matter of the base.
    encoders = {"encoders": under.information.get("encoders", {})}
    index["fdream"] = {**bundle.information, **encoders, "elsewhere": elsewhere}
    return Bundle(bundle.path, index)


def is_pipeline(folder: Path) -> bool:
    """Whether a folder or a single file holds a pipeline, and no bundle of ours."""
    if is_single_file(str(folder)):
        return True
    if not (folder / INDEX_NAME).is_file():
        return False
    return "fdream" not in json_object(folder / INDEX_NAME, str(folder))


def _components(folder: Path, named: str) -> dict[str, str]:
    """Return the components we use and the classes we read them with.

    Raises:
        WeightsError: one is missing, or of a class that the video network cannot stand on.
    """
    if not (folder / INDEX_NAME).is_file():
        raise WeightsError(
            f"{named!r}: no {INDEX_NAME} there, so it is neither a bundle nor a pipeline in "
            "diffusers form, nor a whole checkpoint in a single .safetensors file."
        )
    index = json_object(folder / INDEX_NAME, repr(named))
    found: dict[str, str] = {}
    for name, ours in _OURS.items():
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            continue
        if name != "scheduler" and entry[1] != ours and not _alike(str(entry[1]), ours):
            raise WeightsError(
                f"{named!r}: its {name} is a {entry[1]}; the video network stands on a base of "
                f"the Stable Diffusion family, whose {name} is a {ours}."
            )
        found[name] = str(entry[1]) if name.startswith("text_encoder") else ours
    absent = [name for name in _NEEDED if name not in found]
    if absent:
        raise WeightsError(
            f"{named!r}: {INDEX_NAME} names no {absent[0]}; the video network stands on a base of "
            "the Stable Diffusion family."
        )
    return found


def _alike(found: str, ours: str) -> bool:
    """Whether a class is read as another: with or without a projection, fast or not."""
    return found.removesuffix("Fast").removesuffix("WithProjection") == ours.removesuffix(
        "WithProjection"
    )
