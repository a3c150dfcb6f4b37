"""What the built-in prior and generator ask of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.utils.logging import disable_progress_bar

from fdream.core.errors import WeightsError
from fdream.core.sizes import Size
from fdream.models.bundle import INDEX_NAME, Bundle


def open_bundle(name: str) -> Bundle:
    """Open a bundle by packaged name, or by the path of a bundle or run folder.

    A bare name means the packaged bundle even where a folder of that name stands by, so that a
    command does the same everywhere; ``./name`` is the folder.

    Raises:
        WeightsError: there is none, or it cannot be read.
    """
    # Its bars for shards of weights ignore every setting of the environment, and stderr is ours.
    disable_progress_bar()
    if name.isidentifier():
        packaged = Path(__file__).parents[2] / "weights" / name
        if (packaged / INDEX_NAME).is_file():
            return Bundle.open(packaged)
        if not Path(name).exists():
            raise WeightsError(
                f"bundle {name!r}: neither packaged with this fdream nor a folder here; reinstall "
                "fdream, or give the path of a bundle or of a run of `fdream train`."
            )
    return Bundle.open(name)


class Defaults:
    """The defaults a bundle states for one of its uses, with ours where it states none.

    Args:
        bundle: whose index may hold ``fdream.defaults.<use>``.
        use: ``"prior"`` or ``"generator"``.
    """

    def __init__(self, bundle: Bundle, use: str) -> None:
        stated: dict[str, Any] = bundle.information.get("defaults", {}).get(use, {})
        size = stated.get("size", 128)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        self.size = Size(int(height), int(width))
        self.steps = int(stated.get("steps", 25))
        self.guidance = float(stated.get("guidance", 3.0))
        self.rescale = float(stated.get("rescale", 0.0))
        self.frames = int(stated.get("frames", 16))
        self.fps = float(stated.get("fps", 8.0))


def bundle_provenance(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies a bundle in an output's record; never its path."""
    return {"bundle": bundle.information.get("name", "unnamed"), "sha256": bundle.hash}
