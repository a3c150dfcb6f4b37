"""Networks of other people that metrics look through: found by name, known by hash.

TorchScript executes code, so a file is opened only if its sha256 is one of these; there is no
switch to open another. Everything else is safetensors.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from fdream.core.errors import WeightsError
from fdream.core.paths import cache_root


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of weights that is known by its hash.

    Attributes:
        name: of the file.
        sha256: of its bytes.
        size: in bytes.
        address: where it can be had.
        repository: on the Hub, or nothing.
    """

    name: str
    sha256: str
    size: int
    address: str
    repository: str = ""


I3D: Final = KnownFile(
    name="i3d_torchscript.pt",
    sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    size=51_235_320,
    address="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
    repository="flateon/FVD-I3D-torchscript",
)
"""I3D of Kinetics-400 as StyleGAN-V uses it; what is meant by FVD."""

INCEPTION: Final = KnownFile(
    name="inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    size=95_607_719,
    address="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt",
)
"""Inception v3 as StyleGAN's FID uses it."""


def load_script(known: KnownFile, given: str | None, *, download: bool, metric: str) -> nn.Module:
    """Load a TorchScript network, ready to measure.

    Args:
        known: which file.
        given: where the user says it is; None: looked for in the caches.
        download: whether it may be fetched from the Hub.
        metric: which metric asks, for messages.

    Raises:
        WeightsError: it is not here, or is another file than its name says.
    """
    path = _find(known, given, download, metric)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != known.sha256:
                raise WeightsError(
                    f"metric {metric}: {path} is not {known.name}: its sha256 is {found[:16]}..., "
                    f"expected {known.sha256[:16]}.... TorchScript runs code, so no other file is "
                    f"opened. Get it from {known.address}"
                )
            file.seek(0)  # the very bytes that were checked
            script: Any = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise WeightsError(f"metric {metric}: {path} cannot be loaded ({reason}).") from error
    return script.eval()  # type: ignore[no-any-return]


def _find(known: KnownFile, given: str | None, download: bool, metric: str) -> Path:
    if given is not None:
        path = Path(given).expanduser()
        path = path / known.name if path.is_dir() else path
        if path.is_file():
            return path
        raise WeightsError(
            f"metric {metric}: {given} is not there. It should be {known.name} "
            f"({known.size / 1e6:.0f} MB), to be had from {known.address}"
        )
    kept = cache_root() / "weights" / known.name
    if kept.is_file():
        return kept
    if known.repository:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(known.repository, known.name)
        if isinstance(cached, str):
            return Path(cached)
        if download:
            return _fetch(known, metric)
    elsewhere = f" or hf download {known.repository} {known.name}" if known.repository else ""
    raise WeightsError(
        f"metric {metric}: needs {known.name} ({known.size / 1e6:.0f} MB), which is not here. Get "
        f"it from {known.address}{elsewhere}, and put it into {kept.parent} or name it: "
        f"-s measure.options.{metric}.weights=PATH"
    )


def _fetch(known: KnownFile, metric: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(known.repository, known.name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"metric {metric}: {known.name} could not be fetched from {known.repository} "
            f"({str(error).partition(chr(10))[0]}). Get it from {known.address}"
        ) from error


def find_folder(named: str, metric: str, *, download: bool) -> Path:
    """Find a transformers model: a folder, or a Hub id in the cache.

    Args:
        named: what the user wrote.
        metric: which metric asks, for messages.
        download: whether it may be fetched.

    Raises:
        WeightsError: it is not here.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt"]
    try:
        return Path(snapshot_download(named, allow_patterns=wanted, local_files_only=not download))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"metric {metric}: the model {named} is neither a folder nor in the Hub's cache. Fetch "
            f"it with `hf download {named}`, let it be fetched with "
            f"-s measure.options.{metric}.download=true, or name a folder: "
            f"-s measure.options.{metric}.weights=PATH"
        ) from error


def folder_hash(folder: Path) -> str:
    """Return the sha256 over the weights of a folder, in the order of their names.

    Raises:
        WeightsError: it holds no safetensors.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(
            f"{folder}: holds no *.safetensors; pickled weights are not opened. Convert them with "
            "transformers' save_pretrained."
        )
    for file in files:
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()
