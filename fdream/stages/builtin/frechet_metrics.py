"""Metrics that compare sets of features: of videos (I3D, VideoMAE, SpriteWorld) and of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fdream.core.errors import UsageError, WeightsError
from fdream.models.known_weights import I3D, INCEPTION, find_folder, folder_hash, load_script
from fdream.models.sprite_features import (
    NUM_FEATURES,
    NUM_FRAMES,
    SIDE_PX,
    SpriteFeatures,
    weights_hash,
)
from fdream.stages.interfaces import ClipBatch, FigureSpec, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.metrics import ModelOptions, ScriptOptions

    Columns = dict[str, NDArray[np.floating[Any]]]

_I3D_FRAMES = 10
_VIDEOMAE_MEAN = (0.485, 0.456, 0.406)
_VIDEOMAE_STD = (0.229, 0.224, 0.225)


@final
class SpriteDistance(Metric):
    """``fvd-sprite``: features of the packaged SpriteWorld classifier; offline, and no FVD."""

    figures: ClassVar = (FigureSpec("fvd_sprite", "features", "frechet", "lower", temporal=True),)

    def __init__(self, options: object, *, device: DeviceManager) -> None:
        """Load the packaged weights."""
        del options
        self._device = device
        self._network = device.place(SpriteFeatures.load())

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``features``, (B, 32)."""
        count = clips.frames.shape[1]
        chosen = np.linspace(0, count - 1, min(count, NUM_FRAMES)).round().astype(int)
        video = _resized(_as_video(clips.frames[:, chosen]), SIDE_PX) / 127.5 - 1
        with self._device.inference():
            features = self._network(self._device.place(video))
        return {"features": features.float().cpu().numpy()}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return {
            "extractor": f"SpriteWorld classifier, {NUM_FEATURES} features, "
            f"sha256 {weights_hash()[:16]}",
            "sees": f"{NUM_FRAMES} frames evenly spaced, {SIDE_PX}x{SIDE_PX} antialiased bilinear",
        }


@final
class FrechetVideoDistance(Metric):
    """``fvd``: features of I3D, as StyleGAN-V and most papers since.

    Source: Unterthiner et al., arXiv 1812.01717; the network of StyleGAN-V (arXiv 2112.14683),
    which takes 0-255 and resizes to 224 by itself.
    """

    figures: ClassVar = (FigureSpec("fvd", "features", "frechet", "lower", temporal=True),)

    def __init__(self, options: ScriptOptions, *, device: DeviceManager) -> None:
        """Load the network."""
        self._device = device
        self._network = load_script(
            I3D, options.weights, download=options.download, metric="fvd"
        ).to(device.torch_device)

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``features``, (B, 400)."""
        if clips.frames.shape[1] < _I3D_FRAMES:
            raise UsageError(
                f"metric fvd: I3D needs {_I3D_FRAMES} frames or more, the clips have "
                f"{clips.frames.shape[1]}; set -s clips.frames=16."
            )
        video = _as_video(clips.frames).to(self._device.torch_device)
        # float32 whatever the device's format is: half precision changes published figures.
        with self._device.guard(), torch.inference_mode():
            features = self._network(video, rescale=True, resize=True, return_features=True)
        return {"features": features.float().cpu().numpy()}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return {
            "extractor": f"I3D Kinetics-400 TorchScript, features, sha256 {I3D.sha256[:16]}",
            "sees": "224x224, resized by the network (bilinear, not antialiased)",
        }


@final
class VideoMaeDistance(Metric):
    """``fvd-videomae``: features of a VideoMAE classifier, which weigh motion more than I3D's.

    Source: Ge et al., arXiv 2404.12391 (content-debiased FVD). Ours: any VideoMAE of transformers,
    since theirs is published as a pickle alone; the protocol names which.
    """

    figures: ClassVar = (FigureSpec("fvd_videomae", "features", "frechet", "lower", temporal=True),)

    def __init__(self, options: ModelOptions, *, device: DeviceManager) -> None:
        """Load the network from safetensors."""
        from transformers import VideoMAEModel

        folder = find_folder(options.weights, "fvd-videomae", download=options.download)
        self._hash = folder_hash(folder)
        try:
            network = VideoMAEModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"metric fvd-videomae: {folder} is no VideoMAE ({str(error).splitlines()[0]})."
            ) from error
        self._device = device
        self._network = device.place(network.eval())

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``features``, (B, D): the tokens' mean."""
        wanted, side = self._network.config.num_frames, self._network.config.image_size
        if clips.frames.shape[1] != wanted:
            raise UsageError(
                f"metric fvd-videomae: this network sees {wanted} frames, the clips have "
                f"{clips.frames.shape[1]}; set -s clips.frames={wanted}."
            )
        video = _resized(_as_video(clips.frames), side) / 255
        mean, std = (
            torch.tensor(values).view(1, 3, 1, 1, 1) for values in (_VIDEOMAE_MEAN, _VIDEOMAE_STD)
        )
        pixels = rearrange((video - mean) / std, "b c f h w -> b f c h w")
        with self._device.inference():
            tokens = self._network(pixel_values=self._device.place(pixels)).last_hidden_state
        return {"features": tokens.mean(dim=1).float().cpu().numpy()}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        side = self._network.config.image_size
        return {
            "extractor": f"VideoMAE, mean of tokens, sha256 {self._hash[:16]}",
            "sees": f"{side}x{side} antialiased bilinear",
        }


@final
class FrechetInceptionDistance(Metric):
    """``fid``: features of single frames; motion is not seen.

    Source: Heusel et al., arXiv 1706.08500; the network of StyleGAN2-ADA, which resizes itself.
    """

    figures: ClassVar = (FigureSpec("fid", "features", "frechet", "lower"),)

    def __init__(self, options: ScriptOptions, *, device: DeviceManager) -> None:
        """Load the network."""
        self._inception = _Inception(options, device, "fid")

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``features``, (B, F, 2048)."""
        return {"features": self._inception(clips, return_features=True)}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return {**_INCEPTION_PROTOCOL, "samples": "every frame of the clip"}


@final
class FrameInceptionScore(Metric):
    """``is-frame``: the Inception score of single frames; no video score of UCF-101.

    Source: Salimans et al., arXiv 1606.03498.
    """

    figures: ClassVar = (FigureSpec("is_frame", "classes", "inception", "higher"),)

    def __init__(self, options: ScriptOptions, *, device: DeviceManager) -> None:
        """Load the network."""
        self._inception = _Inception(options, device, "is-frame")

    def measure(self, clips: ClipBatch) -> Columns:
        """Return ``classes``, (B, F, 1008) probabilities."""
        return {"classes": self._inception(clips, no_output_bias=True)}

    def protocol(self) -> dict[str, str]:
        """Name the network."""
        return {**_INCEPTION_PROTOCOL, "samples": "every frame of the clip"}


_INCEPTION_PROTOCOL = {
    "extractor": f"Inception v3 TorchScript, sha256 {INCEPTION.sha256[:16]}",
    "sees": "299x299, resized by the network",
}


class _Inception:
    """Inception v3 over the frames of clips."""

    def __init__(self, options: ScriptOptions, device: DeviceManager, metric: str) -> None:
        self._device = device
        self._network = load_script(
            INCEPTION, options.weights, download=options.download, metric=metric
        ).to(device.torch_device)

    def __call__(self, clips: ClipBatch, **how: bool) -> NDArray[np.float32]:
        frames = rearrange(torch.from_numpy(clips.frames), "b f h w c -> b f c h w")
        with self._device.guard(), torch.inference_mode():
            found = [
                self._network(clip.contiguous().to(self._device.torch_device), **how)
                for clip in frames
            ]
        return np.stack([values.float().cpu().numpy() for values in found])


def _as_video(frames: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (B, F, H, W, 3) into float32 (B, 3, F, H, W) of 0..255."""
    video = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "b f h w c -> b c f h w")
    return video.float().contiguous()


def _resized(video: Tensor, side: int) -> Tensor:
    """Bring (B, 3, F, H, W) to a square; the same values where it is one already."""
    if tuple(video.shape[-2:]) == (side, side):
        return video
    frames = rearrange(video, "b c f h w -> (b f) c h w")
    small = F.interpolate(frames, (side, side), mode="bilinear", antialias=True)
    return rearrange(small, "(b f) c h w -> b c f h w", b=len(video))
