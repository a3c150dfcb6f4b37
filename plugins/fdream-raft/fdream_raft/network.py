"""torchvision's RAFT and its weights: imported with care, found, checked, and never unpickled."""

from __future__ import annotations

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fdream.core.errors import StageError, WeightsError

if TYPE_CHECKING:
    from fdream_raft.specs import RaftOptions

_UNFIT: Final = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    UnpicklingError,
    SafetensorError,
)
"""What torch and safetensors raise on files that are damaged or hold something else."""


def optical_flow() -> Any:
    """Import torchvision's optical flow models.

    Raises:
        StageError: torchvision does not load beside this torch, as none from PyPI does beside a
            torch without CUDA.
    """
    try:
        from torchvision.models import optical_flow as models
    except (ImportError, RuntimeError, OSError) as error:
        raise StageError(
            f"fdream-raft: torchvision does not load beside torch {torch.__version__} "
            f"({_first_line(error)}). Both have to be built alike: install torch and torchvision "
            "from PyPI, which brings CUDA, or both from https://download.pytorch.org/whl/cpu."
        ) from error
    return models


def load_raft(options: RaftOptions) -> tuple[nn.Module, str]:
    """Build RAFT with its weights, frozen.

    Returns:
        The network on the CPU, and the sha256 of its weights' file.

    Raises:
        StageError: see ``optical_flow``.
        WeightsError: the weights are not here, damaged, or of another network.
    """
    models = optical_flow()
    name = f"raft_{options.size}"
    known = {"large": models.Raft_Large_Weights, "small": models.Raft_Small_Weights}[options.size]
    path = _find(known.DEFAULT, options)
    network: nn.Module = getattr(models, name)(weights=None)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if options.weights is None and not digest.startswith(_hash_in(known.DEFAULT.url)):
        raise WeightsError(f"{path}: damaged, its sha256 is {digest[:16]}...; remove and refetch.")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except _UNFIT as error:
        raise WeightsError(f"{path}: no weights of {name} ({_first_line(error)}).") from error
    return network.eval().requires_grad_(False), digest


def _find(known: Any, options: RaftOptions) -> Path:
    if options.weights is not None:
        given = Path(options.weights).expanduser()
        if not given.is_file():
            raise WeightsError(f"{options.weights}: no such file; name one of RAFT's weights.")
        return given
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(known.url).name
    if not path.is_file() and options.download:
        try:
            known.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{path.name}: cannot be fetched ({_first_line(error)}). {_by_hand(known, path)}"
            ) from error
    if not path.is_file():
        raise WeightsError(
            f"RAFT's weights {path.name} are not here; set the option download, or fetch them "
            f"once. {_by_hand(known, path)}"
        )
    return path


def _by_hand(known: Any, path: Path) -> str:
    return f"Get {known.url} and put it into {path.parent}, or name the file as option weights."


def _hash_in(url: str) -> str:
    """Return the first digits of the sha256, which torchvision writes into its file names."""
    return Path(url).stem.rpartition("-")[2]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__
