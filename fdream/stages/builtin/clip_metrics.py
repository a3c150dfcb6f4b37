"""Metrics that look through CLIP: agreement with the caption, and steadiness over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fdream.core.errors import WeightsError
from fdream.models.known_weights import find_folder, folder_hash
from fdream.stages.interfaces import ClipBatch, FigureSpec, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.metrics import ModelOptions

    Columns = dict[str, NDArray[np.floating[Any]]]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@final
class CaptionAgreement(Metric):
    """``clipsim``: mean cosine of a caption and every frame.

    Source: Wu et al., arXiv 2104.14806 (GODIVA), with ViT-B/32 as in most papers.
    """

    figures: ClassVar = (FigureSpec("clipsim", "agreement", "mean", "higher"),)
    needs: ClassVar = frozenset({"captions"})

    def __init__(self, options: ModelOptions, *, device: DeviceManager) -> None:
        """Load CLIP."""
        self._clip = _Clip(options, device, "clipsim")

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``agreement``, (B,) in [-1, 1]."""
        frames = self._clip.frames(clips.frames)
        captions = self._clip.captions(clips.captions)
        return {"agreement": torch.einsum("bfd,bd->bf", frames, captions).mean(1).numpy()}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return self._clip.protocol()


@final
class ClipConsistency(Metric):
    """``clip-consistency``: cosine of each frame with the first, and with the one before.

    Source: the temporal measures of EvalCrafter (arXiv 2310.11440) and many others.
    """

    figures: ClassVar = (
        FigureSpec("clip_first_frame", "first", "mean", "higher", consistency=True),
        FigureSpec("clip_frame_to_frame", "steps", "mean", "higher", consistency=True),
    )

    def __init__(self, options: ModelOptions, *, device: DeviceManager) -> None:
        """Load CLIP."""
        self._clip = _Clip(options, device, "clip-consistency")

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``first`` and ``steps``, (B,) in [-1, 1]."""
        frames = self._clip.frames(clips.frames)
        first = (frames[:, 1:] * frames[:, :1]).sum(-1).mean(1)
        steps = (frames[:, 1:] * frames[:, :-1]).sum(-1).mean(1)
        return {"first": first.numpy(), "steps": steps.numpy()}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return self._clip.protocol()


class _Clip:
    """A CLIP of transformers: unit vectors of frames and captions."""

    def __init__(self, options: ModelOptions, device: DeviceManager, metric: str) -> None:
        from transformers import AutoTokenizer, CLIPModel

        folder = find_folder(options.weights, metric, download=options.download)
        self._hash = folder_hash(folder)
        try:
            model = CLIPModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True
            )
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise WeightsError(
                f"metric {metric}: {folder} is no CLIP ({str(error).splitlines()[0]})."
            ) from error
        self._device = device
        self._model = device.place(model.eval())
        self._side = model.config.vision_config.image_size
        self._words = model.config.text_config.max_position_embeddings

    def frames(self, clips: NDArray[np.uint8]) -> Tensor:
        """Return (B, F, D) unit vectors of uint8 (B, F, H, W, 3), on the CPU."""
        pixels = rearrange(torch.from_numpy(clips), "b f h w c -> (b f) c h w").float() / 255
        pixels = _square(pixels, self._side)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        with self._device.inference():
            found = self._model.vision_model(pixel_values=self._device.place((pixels - mean) / std))
            vectors = self._model.visual_projection(found.pooler_output)
        return rearrange(_unit(vectors), "(b f) d -> b f d", b=len(clips))

    def captions(self, captions: list[str]) -> Tensor:
        """Return (B, D) unit vectors, on the CPU; words beyond CLIP's window are cut."""
        tokens = self._tokenizer(
            captions, padding="max_length", truncation=True, max_length=self._words,
            return_tensors="pt",
        )  # fmt: skip
        device = self._device.torch_device
        with self._device.inference():
            found = self._model.text_model(
                input_ids=tokens["input_ids"].to(device),
                attention_mask=tokens["attention_mask"].to(device),
            )
            vectors = self._model.text_projection(found.pooler_output)
        return _unit(vectors)

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return {
            "extractor": f"CLIP, patch {self._model.config.vision_config.patch_size}, "
            f"sha256 {self._hash[:16]}",
            "sees": f"{self._side}x{self._side}, short side resized, centre crop, antialiased "
            "bicubic",
        }


def _square(pixels: Tensor, side: int) -> Tensor:
    """Resize the short side of (N, 3, H, W) and cut the long one evenly."""
    height, width = pixels.shape[-2:]
    if (height, width) != (side, side):
        scale = side / min(height, width)
        size = (max(side, round(height * scale)), max(side, round(width * scale)))
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        pixels = pixels[..., top : top + side, left : left + side]
    return pixels


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=-1).cpu()
