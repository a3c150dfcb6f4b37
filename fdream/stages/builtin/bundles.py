"""What the built-in prior and generator ask of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.utils.logging import disable_progress_bar

from fdream.core.errors import WeightsError
from fdream.models.bundle import Bundle
from fdream.models.bundle_survey import packaged, packaged_names
from fdream.models.weight_places import find_place


def open_bundle(name: str) -> Bundle:
    """Open a bundle: a packaged name, the path of one or of a run, or a name in the Hub's cache.

    A bare name means the packaged bundle even where a folder of that name stands by, so that a
    command does the same everywhere; ``./name`` is the folder.

    Raises:
        WeightsError: there is none, or it cannot be read.
    """
    # Its bars for shards of weights ignore every setting of the environment, and stderr is ours.
    disable_progress_bar()
    if name.isidentifier():
        inside = packaged(name)
        if inside is not None:
            return Bundle.open(inside)
        if not Path(name).exists():
            names = packaged_names()
            holds = f"packaged is {', '.join(names)}" if names else "it holds none: reinstall it"
            raise WeightsError(
                f"bundle {name!r}: neither packaged with this fdream ({holds}) nor a folder here; "
                "give the path of a bundle or of a run of `fdream train`, or see `fdream models`."
            )
    if _on_hub(name):
        return Bundle.open(find_place(name))
    # No shell opens a ~ that stands behind the colon of dreamer:~/runs/mine.
    return Bundle.open(str(Path(name).expanduser()) if name.startswith("~") else name)


def _on_hub(name: str) -> bool:
    """Whether a name may be ``owner/name``; what lies here goes before, and a path is none."""
    owner, slash, rest = name.partition("/")
    # The folder of a run that is not there yet reads like one too.
    local = owner in ("", ".", "..", "~", "runs") or "/" in rest or Path(name).exists()
    return bool(slash and rest) and not local


def bundle_provenance(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies a bundle in an output's record; never its path."""
    return {"bundle": bundle.name, "sha256": bundle.hash}
