"""Ready-made pipelines of diffusers: found, opened without trusting them, and put on the device.

Only safetensors are read and no code that lies beside weights is run. What lies in the local cache
of the Hub is used as it is; what does not is fetched once, unless ``HF_HUB_OFFLINE`` says no or it
is for the answer to a question.
"""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import diffusers
import numpy as np
import torch
from diffusers.utils.logging import disable_progress_bar
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from fdream.core.asking import is_asked
from fdream.core.errors import StageError, WeightsError
from fdream.models.memory_demand import WeightCount, demand_of
from fdream.models.single_files import is_single_file, pipeline_folder
from fdream.stages.builtin.known_models import known
from fdream.stages.builtin.pipeline_families import INDEX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.fit import Demand
    from fdream.core.sizes import Size

_REFUSED: Final = (OSError, ValueError, TypeError, RuntimeError, ImportError, AttributeError)
"""What diffusers and transformers raise on folders that are damaged, incomplete or unfit."""


class ReadyPipeline:
    """A pipeline folder, opened when first used.

    Args:
        source: a short name of ``known_models``, a folder, ``owner/name`` on the Hub, or a
            checkpoint of Stable Diffusion in a single file.
        device: where it works.

    Attributes:
        name: what an output's record says; never a path.
    """

    def __init__(self, source: str, *, device: DeviceManager) -> None:
        found = known(source)
        self._source = source if found is None else found.repository
        self._device = device
        self._opened: Any = None
        here = Path(self._source).expanduser().is_dir() or is_single_file(self._source)
        self.name = Path(self._source).name if here else self._source

    @cached_property
    def class_name(self) -> str:
        """The pipeline class that the folder's index names.

        Raises:
            WeightsError: there is no such folder, or it holds no pipeline.
        """
        name = self._read(INDEX).get("_class_name")
        if name is None:
            raise WeightsError(
                f"{self.name}: {INDEX} names no pipeline class, so this is no pipeline in "
                "diffusers form, or half of one; fetch the folder again."
            )
        if not isinstance(name, str) or not hasattr(diffusers, name):
            raise WeightsError(
                f"{self.name}: {INDEX} names the pipeline {name!r}, which this diffusers "
                f"({diffusers.__version__}) does not have; a newer one may."
            )
        return name

    def config(self, component: str) -> dict[str, Any]:
        """Return the configuration of a component, without loading it; empty where it is absent.

        Args:
            component: a name in the index, or ``INDEX`` for the pipeline's own.
        """
        if component == INDEX:
            return self._read(INDEX)
        if not (self.folder / component / "config.json").is_file():
            return {}
        return self._read(f"{component}/config.json")

    def demand(self, size: Size, frames: int) -> Demand:
        """Estimate the memory that a call takes, from headers and configurations.

        Raises:
            WeightsError: it is not on this machine, or damaged.
        """
        index = [name for name, entry in self._read(INDEX).items() if _is_component(entry)]
        counts = [
            WeightCount.of(files)
            for name in index
            if name != "safety_checker" and (files := self._weights(name))
        ]
        found = demand_of(counts, self.config, size, frames)
        return replace(found, offloads=frozenset({"none", "model", "group", "sequential"}))

    def _weights(self, component: str) -> list[Path]:
        files = sorted((self.folder / component).glob("*.safetensors"))
        whole = [file for file in files if ".fp16." not in file.name]
        return whole or files

    def default(self, argument: str) -> Any:
        """Return the default of an argument of the pipeline's call; None where it has none."""
        call = getattr(diffusers, self.class_name).__call__
        parameter = inspect.signature(call).parameters.get(argument)
        if parameter is None or parameter.default is inspect.Parameter.empty:
            return None
        return parameter.default

    def _read(self, file: str) -> dict[str, Any]:
        try:
            value = json.loads((self.folder / file).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WeightsError(
                f"{self.name}: there is no {file} in it, so this is no pipeline in diffusers form; "
                "give a folder or a Hub id that is."
            ) from error
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{self.name}: no readable {file} ({_first_line(error)}), so this is no pipeline "
                "in diffusers form; give a folder or a Hub id that is."
            ) from error
        if not isinstance(value, dict):
            raise WeightsError(f"{self.name}: {file} is no JSON object; fetch the folder again.")
        return value

    @cached_property
    def folder(self) -> Path:
        """Where its files are; fetched, or converted, once if they are not here.

        Raises:
            WeightsError: there is no such folder or repository, or it cannot be fetched, or a
                question may not fetch or convert it.
        """
        if is_single_file(self._source):
            return pipeline_folder(self._source)
        path = Path(self._source).expanduser()
        if path.is_dir():
            return path
        if path.is_absolute() or self._source.startswith((".", "~")):
            raise WeightsError(f"{self._source}: no such folder; give one in diffusers form.")
        attempts = (True,) if is_asked() else (True, False)
        for offline in attempts:
            try:
                return Path(
                    diffusers.DiffusionPipeline.download(
                        self._source, local_files_only=offline, use_safetensors=True
                    )
                )
            except (HfHubHTTPError, *_REFUSED) as error:
                if offline == attempts[-1] or isinstance(error, HFValidationError):
                    raise self._not_here(error) from error
        raise AssertionError("the last attempt returns or raises")

    def _not_here(self, error: BaseException) -> WeightsError:
        entry = known(self._source)
        size = f" ({entry.size_gb:g} GB)" if entry else ""
        switched_off = bool(os.environ.get("HF_HUB_OFFLINE"))
        if is_asked() and not switched_off and not isinstance(error, HFValidationError):
            return WeightsError(
                f"{self._source}: not on this machine{size}, and nothing is fetched for an answer; "
                f"a run fetches it from the Hub, as does `hf download {self._source}`."
            )
        why = "HF_HUB_OFFLINE is set" if switched_off else _first_line(error)
        return WeightsError(
            f"{self._source}: not on this machine and not to be had ({why}); fetch it{size} where "
            f"there is a network with `hf download {self._source}`, or name a folder."
        )

    def open(self, loader: Callable[..., Any]) -> Any:
        """Load the pipeline once and place it.

        Args:
            loader: a ``from_pretrained`` of diffusers.

        Raises:
            WeightsError: files are missing, damaged, not safetensors, or need code of their own.
        """
        if self._opened is not None:
            return self._opened
        # Its bars ignore every setting of the environment, and stderr is ours.
        disable_progress_bar()
        folder = self.folder
        try:
            # What is loaded inside an inference context could never take part in training.
            with torch.inference_mode(False):
                pipeline = loader(
                    folder,
                    dtype=self._device.dtype,
                    use_safetensors=True,
                    local_files_only=True,
                    variant=_variant(folder),
                )
        except _REFUSED as error:
            raise WeightsError(f"{self.name}: cannot be opened ({_first_line(error)}).") from error
        pipeline.set_progress_bar_config(disable=True)
        self._opened = self._placed(pipeline)
        return self._opened

    def _placed(self, pipeline: Any) -> Any:
        device = self._device
        with device.guard():
            if device.tiling:
                for save in ("enable_tiling", "enable_slicing"):
                    getattr(pipeline.vae, save, lambda: None)()
            if device.offload == "none" or device.kind == "cpu":
                return pipeline.to(device.torch_device)
            if device.offload == "model":
                pipeline.enable_model_cpu_offload(device=device.torch_device)
            elif device.offload == "group":
                pipeline.enable_group_offload(device.torch_device, num_blocks_per_group=1)
            else:
                pipeline.enable_sequential_cpu_offload(device=device.torch_device)
            return pipeline

    def call(self, pipeline: Any, **arguments: Any) -> Any:
        """Run the pipeline, passing on what it takes and leaving out what it does not know.

        Raises:
            StageError: the pipeline refuses its input.
            DeviceError: out of memory.
        """
        taken = inspect.signature(pipeline.__call__).parameters
        given = {key: value for key, value in arguments.items() if key in taken}
        with self._device.guard(), torch.inference_mode(), self._explained():
            return pipeline(**given, output_type="np")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NameError as error:
            # Some pipelines import what cleans a prompt only if it is there, and use it regardless.
            raise StageError(
                f"{self.name}: needs a package that is not installed ({error.name}); install it "
                "with `pip install 'fdream[models]'`."
            ) from error
        except (ValueError, TypeError) as error:
            raise StageError(
                f"{self.name}: refused by the model ({_first_line(error)})."
            ) from error

    def provenance(self) -> dict[str, Any]:
        """What identifies the weights in a record: name, class, and the Hub's revision if any."""
        folder = self.folder
        revision = folder.name if folder.parent.name == "snapshots" else None
        identity = {"model": self.name, "pipeline": self.class_name}
        return identity if revision is None else {**identity, "revision": revision}


def noise_generator(seed: int) -> torch.Generator:
    """Return a CPU generator: a seed then means the same noise on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def step_callback(on_step: Callable[[int, int], None] | None, total: int) -> dict[str, Any]:
    """Return the argument that makes a pipeline report its steps, or none."""
    if on_step is None:
        return {}

    def ended(pipeline: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        del pipeline, t
        on_step(min(step + 1, total), total)
        return tensors

    return {"callback_on_step_end": ended}


def to_pixels(pictures: Any) -> NDArray[np.uint8]:
    """Round pictures of a pipeline, float (..., H, W, 3) in [0, 1], to uint8."""
    values = np.asarray(pictures, dtype=np.float32)
    # Half precision can overflow to NaN; black is what a failed pixel is shown as.
    return (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)


def _is_component(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and entry[1] is not None


def _variant(folder: Path) -> str | None:
    """Return the variant to load where a folder holds its weights in half precision alone."""
    names = [path.name for path in folder.glob("*/*.safetensors")]
    halves = [name for name in names if ".fp16." in name]
    return "fp16" if halves and len(halves) == len(names) else None


def _first_line(error: BaseException) -> str:
    return textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
