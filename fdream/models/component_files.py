"""The files of one component, looked at before any library opens them.

Libraries answer a truncated file, a pickle or a wrong configuration in a dozen ways, some of them
with an attempt to download; here each is one line that names the file. Nothing here needs torch.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from fdream.core.errors import WeightsError

_PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


def json_object(path: Path, place: str) -> dict[str, Any]:
    """Read a JSON file that anybody may have written.

    Args:
        path: the file.
        place: what to call its owner in messages.

    Raises:
        WeightsError: it cannot be read, is not JSON, or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(
            f"{place}: {path.name} cannot be read ({reason}); fetch or train it again."
        ) from error
    if not isinstance(value, dict):
        raise WeightsError(f"{place}: {path.name} is not a JSON object; fetch or train it again.")
    return value


def weight_files(folder: Path, place: str) -> list[Path]:
    """Return a component's safetensors files, each with a header that fits its length.

    Args:
        folder: of the component.
        place: what to call it in messages.

    Raises:
        WeightsError: there is none, there are pickles instead, one is cut off or damaged, or a
            part that the index of parts names is absent.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        if pickled:
            raise WeightsError(
                f"{place}: {pickled[0]} is a pickle, which can run code when it is opened; fdream "
                "opens safetensors alone, so convert it, or fetch another copy."
            )
        raise WeightsError(f"{place} holds no weights; fetch or train the bundle again.")
    for index in folder.glob("*.safetensors.index.json"):
        _refuse_absent_parts(index, {file.name for file in files}, place)
    for file in files:
        _open(file, place)
    return files


def num_elements(file: Path) -> int:
    """Count the numbers in a safetensors file, from its header."""
    with safe_open(file, "numpy") as tensors:
        names = tensors.keys()  # the opened file itself cannot be iterated
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)


def _refuse_absent_parts(index: Path, present: set[str], place: str) -> None:
    named = json_object(index, place).get("weight_map")
    parts = {str(part) for part in named.values()} if isinstance(named, dict) else {"no part"}
    absent = sorted(parts - present)
    if absent:
        raise WeightsError(
            f"{place}: {index.name} names {absent[0]!r}, which is not there; fetch or train the "
            "bundle again."
        )


def _open(file: Path, place: str) -> None:
    try:
        with safe_open(file, "numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{place}: {file.name} is cut off or damaged ({error}); fetch or train the bundle "
            "again."
        ) from error
