"""What the built-in prior and generator ask of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.utils.logging import disable_progress_bar

from fdream.core.errors import WeightsError
from fdream.models.bundle import Bundle
from fdream.models.bundle_survey import packaged


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
        inside = packaged(name)
        if inside is not None:
            return Bundle.open(inside)
        if not Path(name).exists():
            raise WeightsError(
                f"bundle {name!r}: neither packaged with this fdream nor a folder here; reinstall "
                "fdream, or give the path of a bundle or of a run of `fdream train`."
            )
    return Bundle.open(name)


def bundle_provenance(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies a bundle in an output's record; never its path."""
    return {"bundle": bundle.name, "sha256": bundle.hash}
