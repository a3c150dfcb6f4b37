"""Low-rank changes of the frozen spatial network (LoRA, by peft), kept apart from its weights.

Two uses: a style or subject that a person's own clips teach, which is drawn with; and the domain
adapter, which learns what bad clips look like, so that the motion modules need not, and is dropped
when videos are drawn.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from torch import nn

from fdream.core.errors import StageError, WeightsError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

ATTENTION_LAYERS: Final = ("to_q", "to_k", "to_v", "to_out.0")
_INSTALL: Final = "pip install 'fdream[train]'"


class SpatialAdapter(nn.Module):
    """The trainable parts of one adapter; the layers they change stay in the base.

    Args:
        base: changed in place: its layers are wrapped, its own weights are not touched.
        name: of the adapter; several may share a base.
        rank: of the change.
        alpha: its scale times the rank; None is the rank, a scale of one.
        layers: endings of the names of the layers to change.

    Raises:
        StageError: peft is not installed.
        WeightsError: no layer of the base has such a name.

    Source: Hu et al., arXiv 2106.09685 (LoRA); the domain adapter of AnimateDiff, arXiv 2307.04725.
    """

    def __init__(
        self,
        base: UNet2DConditionModel,
        name: str,
        rank: int,
        alpha: float | None = None,
        layers: Sequence[str] = ATTENTION_LAYERS,
    ) -> None:
        super().__init__()
        peft = _peft()
        config = peft.LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=list(layers))
        trained = {p for p in base.parameters() if p.requires_grad}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
                peft.inject_adapter_in_model(config, base, adapter_name=name)
        except ValueError as error:
            raise WeightsError(
                f"LoRA {name!r}: the base has no layer named {', '.join(layers)}; choose others."
            ) from error
        self.name = name
        self._config = config
        # Not a submodule: its weights belong to somebody else.
        self.__dict__["_base"] = base
        self.parts = nn.ModuleDict()
        for path, layer in _wrapped(base):
            if name in layer.lora_A:
                pair = {"down": layer.lora_A[name], "up": layer.lora_B[name]}
                self.parts[path.replace(".", "/")] = nn.ModuleDict(pair)
            layer.set_adapter([other for other in base.peft_config if other in layer.lora_A])
        # What was injected before, and the base's own weights, stay as they were.
        for parameter in base.parameters():
            parameter.requires_grad_(parameter in trained)
        self.requires_grad_(True)

    @contextmanager
    def dropped(self) -> Iterator[None]:
        """Be without this adapter inside the block."""
        base: nn.Module = self.__dict__["_base"]
        layers = [layer for _, layer in _wrapped(base) if self.name in layer.scaling]
        before = [layer.scaling[self.name] for layer in layers]
        for layer in layers:
            layer.scaling[self.name] = 0.0
        try:
            yield
        finally:
            for layer, scale in zip(layers, before, strict=True):
                layer.scaling[self.name] = scale

    def save_pretrained(self, folder: str, **_: Any) -> None:
        """Write the adapter in peft's own format."""
        from safetensors.torch import save_file

        peft = _peft()
        self._config.save_pretrained(folder)
        state = peft.get_peft_model_state_dict(self._base, adapter_name=self.name)
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        save_file(tensors, Path(folder) / "adapter_model.safetensors")
        # Bundles look at every component's config.json; peft has its own beside it.
        own = json.dumps({"_class_name": type(self).__name__, "rank": self._config.r})
        (Path(folder) / "config.json").write_text(own + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str, base: UNet2DConditionModel, name: str) -> Self:
        """Put a saved adapter onto a base.

        Raises:
            StageError: peft is not installed.
            WeightsError: it does not fit the base.
        """
        from safetensors.torch import load_file

        peft = _peft()
        config = peft.LoraConfig.from_pretrained(folder)
        layers = sorted(config.target_modules)
        adapter = cls(base, name, config.r, config.lora_alpha, layers)
        state = load_file(Path(folder) / "adapter_model.safetensors")
        found = peft.set_peft_model_state_dict(base, state, adapter_name=name)
        if found.unexpected_keys:
            raise WeightsError(
                f"LoRA {folder}: {found.unexpected_keys[0]} is in the file and not in this base; "
                "use it with the base it was trained on."
            )
        return adapter


def _wrapped(base: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(path, layer) for path, layer in base.named_modules() if isinstance(layer, LoraLayer)]


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise StageError(f"LoRA needs peft, which is not installed: {_INSTALL}") from error
    return peft
