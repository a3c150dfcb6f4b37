"""Metrics of motion and of steadiness, measured in the pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import cv2
import numpy as np
import torch
from einops import rearrange
from PIL import Image

from fdream.core.errors import DataError, StageError
from fdream.core.limits import MAX_PIXELS
from fdream.models.motion_measures import moves, warping_error
from fdream.stages.builtin.dis_flow import teach_flow
from fdream.stages.interfaces import ClipBatch, FigureSpec, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.metrics import FlowMetricOptions, WatermarkOptions

    Columns = dict[str, NDArray[np.floating[Any]]]

_ROUNDING: Final = 1 / 12 / 255**2
"""Mean square error of rounding to 8 bits: frames nearer than that count as equal."""


@final
class Motion(Metric):
    """``flow``: how much moves, and how well each frame follows from the one before.

    Source: the rule of VBench's dynamic degree (arXiv 2311.17982): the fastest twentieth of the
    pixels, 6 px a frame at 256, in a quarter of the frames. Ours: OpenCV's DIS in place of RAFT,
    every frame of the clip, so the share is no VBench score.
    """

    figures: ClassVar = (
        FigureSpec("dynamic_degree", "moves", "share", "neither"),
        FigureSpec("flow_magnitude", "magnitude", "mean", "neither", unit="px/frame"),
        FigureSpec("warping_error", "warping", "mean", "lower", consistency=True),
    )

    def __init__(self, options: FlowMetricOptions, *, device: DeviceManager) -> None:
        """Remember how to estimate flow; it is computed on the CPU."""
        del device
        self._preset = options.preset

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``moves`` (0 or 1), ``magnitude`` (pixels a frame) and ``warping``, all (B,)."""
        found: dict[str, list[float]] = {"moves": [], "magnitude": [], "warping": []}
        for clip in clips.frames:
            video = _unit_video(clip)
            target = teach_flow(video, self._preset)
            speed = target.flow[0].norm(dim=0)
            found["moves"].append(float(moves(speed)))
            found["magnitude"].append(float(speed.mean()))
            found["warping"].append(warping_error(video[0], target.flow[0], target.visibility[0]))
        return {name: np.array(values, np.float32) for name, values in found.items()}

    def protocol(self) -> dict[str, str]:
        """Say how flow is estimated."""
        return {"flow": f"OpenCV {cv2.__version__} DIS, {self._preset}"}


@final
class FlowError(Metric):
    """``flow-error``: the clip's flow against the flow that the data knows.

    The mean length of the difference over points that stay visible, and the same for a frozen
    clip beside it in the reference.
    """

    figures: ClassVar = (FigureSpec("flow_error", "error", "mean", "lower", unit="px/frame"),)
    needs: ClassVar = frozenset({"flow"})

    def __init__(self, options: FlowMetricOptions, *, device: DeviceManager) -> None:
        """Remember how to estimate flow; it is computed on the CPU."""
        del device
        self._preset = options.preset

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``error``, (B,) pixels a frame."""
        if clips.flow is None or clips.visible is None:
            raise StageError("metric flow-error: these clips come without known flow.")
        errors = []
        for clip, flow, visible in zip(clips.frames, clips.flow, clips.visible, strict=True):
            found = rearrange(
                teach_flow(_unit_video(clip), self._preset).flow[0], "c f h w -> f h w c"
            )
            apart = np.linalg.norm(found.numpy() - flow, axis=-1)
            errors.append(float(apart[visible].mean()) if visible.any() else 0.0)
        return {"error": np.array(errors, np.float32)}

    def protocol(self) -> dict[str, str]:
        """Say how flow is estimated."""
        return {"flow": f"OpenCV {cv2.__version__} DIS, {self._preset}; visible points"}


@final
class PixelConsistency(Metric):
    """``pixel-consistency``: how near the later frames stay to the first."""

    figures: ClassVar = (
        FigureSpec("psnr_first_frame", "psnr", "mean", "higher", unit="dB", consistency=True),
        FigureSpec("ssim_first_frame", "ssim", "mean", "higher", consistency=True),
    )

    def __init__(self, options: object, *, device: DeviceManager) -> None:
        """Keep nothing."""
        del options, device

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``psnr`` (decibels, at most 58.9) and ``ssim``, (B,)."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        psnr, ssim = [], []
        for clip in clips.frames:
            frames = rearrange(torch.from_numpy(clip), "f h w c -> f c h w").float() / 255
            first = frames[:1].expand_as(frames[1:])
            errors = (frames[1:] - first).square().mean((1, 2, 3)).clamp(min=_ROUNDING)
            psnr.append(float((-10 * errors.log10()).mean()))
            alike: Any = structural_similarity_index_measure(frames[1:], first, data_range=1.0)
            ssim.append(float(alike))
        return {"psnr": np.array(psnr, np.float32), "ssim": np.array(ssim, np.float32)}

    def protocol(self) -> dict[str, str]:
        """Say how they are computed."""
        return {"psnr": "mean over frames, at most 58.9 dB", "ssim": "torchmetrics, Gaussian 11x11"}


@final
class WatermarkLeakage(Metric):
    """``watermark``: how much of a known overlay is in the clips, -1 to 1; 0 is none.

    Ours: the correlation of the edges of the clip's mean picture with the overlay's.
    """

    figures: ClassVar = (FigureSpec("watermark_leakage", "leakage", "mean", "lower"),)

    def __init__(self, options: WatermarkOptions, *, device: DeviceManager) -> None:
        """Read the overlay."""
        del device
        self._overlay = _read_overlay(Path(options.overlay).expanduser())

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``leakage``, (B,)."""
        height, width = clips.frames.shape[2:4]
        wanted = _edges(cv2.resize(self._overlay, (width, height), interpolation=cv2.INTER_AREA))
        if not wanted.any():
            raise DataError("metric watermark: the overlay shows nothing at the clips' size.")
        scores = []
        for clip in clips.frames:
            seen = _edges(clip.mean(axis=(0, 3), dtype=np.float64).astype(np.float32))
            length = float(np.linalg.norm(seen) * np.linalg.norm(wanted))
            scores.append(float((seen * wanted).sum() / length) if length else 0.0)
        return {"leakage": np.array(scores, np.float32)}

    def protocol(self) -> dict[str, str]:
        """Identify the overlay."""
        return {"overlay": f"sha256 {hashlib.sha256(self._overlay.tobytes()).hexdigest()[:16]}"}


def _unit_video(clip: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (F, H, W, 3) into (1, 3, F, H, W) in [-1, 1]."""
    return rearrange(torch.from_numpy(clip), "f h w c -> 1 c f h w").float() / 127.5 - 1


def _read_overlay(path: Path) -> NDArray[np.float32]:
    """Read an overlay's opacity: a picture's alpha, or its brightness where it has none."""
    if path.is_dir():
        path = path / "overlay" / "overlay.png"  # as prep leaves it beside its shards
    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"above the limit of {MAX_PIXELS // 1_000_000} megapixels")
            band = picture.getchannel("A") if "A" in picture.getbands() else picture.convert("L")
            return np.asarray(band, np.float32)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"metric watermark: {path}: no overlay picture ({error}).") from error


def _edges(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep what changes within a few pixels: letters and lines, not scenery."""
    blurred: NDArray[np.float32] = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2.0), np.float32)
    return picture - blurred
