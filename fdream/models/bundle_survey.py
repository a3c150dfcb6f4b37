"""Which bundles this machine has, and what each is good for; nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fdream.core.errors import WeightsError
from fdream.models.bundle_folder import INDEX_NAME, BundleFolder

PACKAGED: Final = Path(__file__).parents[1] / "weights"
"""The folder of the bundles inside the package."""

Origin = Literal["packaged", "cache", "runs", "folder"]
Use = Literal["prior", "generator"]

_NEEDED: Final[dict[Use, frozenset[str]]] = {
    "prior": frozenset({"vae", "unet", "text_encoder", "tokenizer", "scheduler"}),
    "generator": frozenset({"vae", "unet", "text_encoder", "tokenizer", "scheduler", "motion"}),
}
# Stages that take any bundle, and the bundle that one of them takes when none is named.
_STAGE: Final[dict[Use, str]] = {"prior": "pocket", "generator": "dreamer"}
_DEFAULT: Final = "pocket"


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that holds a bundle, sound or not.

    Attributes:
        origin: where it was looked for.
        path: what a command takes: of a run, the run's folder.
        bundle: opened; None when it cannot be.
        fault: why not; empty when it can.
    """

    origin: Origin
    path: Path
    bundle: BundleFolder | None = None
    fault: str = ""

    @classmethod
    def at(cls, origin: Origin, path: Path) -> Found:
        """Open what lies at a path, or note why it cannot be opened."""
        try:
            return cls(origin, path, BundleFolder.open(path))
        except WeightsError as error:
            return cls(origin, path, fault=str(error))

    @property
    def written(self) -> str:
        """What names the bundle behind ``pocket:`` and ``dreamer:``."""
        return self.path.name if self.origin == "packaged" else str(self.path)

    @property
    def choices(self) -> dict[Use, str]:
        """What to write behind ``--prior`` and ``--generator``, for each that the bundle serves."""
        if self.bundle is None:
            return {}
        held = set(self.bundle.component_names)
        served = [use for use, needed in _NEEDED.items() if needed <= held]
        if self.origin == "packaged" and self.written == _DEFAULT:
            return dict.fromkeys(served, _DEFAULT)
        return {use: f"{_STAGE[use]}:{self.written}" for use in served}


def packaged(name: str) -> Path | None:
    """Return the folder of a bundle inside the package, or None."""
    folder = PACKAGED / name
    return folder if name.isidentifier() and (folder / INDEX_NAME).is_file() else None


def packaged_names() -> list[str]:
    """Return the names of the bundles inside the package."""
    return sorted(found.name for found in PACKAGED.iterdir() if packaged(found.name))


def find_bundles(cache: Path, folders: list[Path]) -> Iterator[Found]:
    """Look where bundles are kept: the package, the cache's models/, ./runs, and more folders.

    Args:
        cache: root of the cache.
        folders: each is a bundle, a run, or holds some.
    """
    yield from _inside("packaged", PACKAGED)
    yield from _inside("cache", cache / "models")
    yield from _inside("runs", Path("runs"))
    for folder in folders:
        if _holds_bundle(folder):
            yield Found.at("folder", folder)
        else:
            yield from _inside("folder", folder)


def _inside(origin: Origin, folder: Path) -> Iterator[Found]:
    if not folder.is_dir():
        return
    try:
        paths = [path for path in sorted(folder.iterdir()) if _holds_bundle(path)]
    except OSError as error:
        yield Found(origin, folder, fault=f"{folder}: cannot be read ({error.strerror}).")
        return
    for path in paths:
        yield Found.at(origin, path)


def _holds_bundle(path: Path) -> bool:
    return (path / INDEX_NAME).is_file() or (path / "bundle" / INDEX_NAME).is_file()
