"""Figures of an evaluation."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from fdream.stages.builtin.specs import LICENCE
from fdream.stages.spec import StageOptions, StageSpec


class ScriptOptions(StageOptions):
    """Options of metrics that look through one known TorchScript file."""

    weights: str | None = Field(None, description="the file, or its folder; None: the caches")
    download: bool = Field(False, description="fetch it from the Hub where it is not here")


class ModelOptions(StageOptions):
    """Options of metrics that look through a transformers model of safetensors."""

    weights: str = Field(description="a folder, or a Hub id in the cache")
    download: bool = Field(False, description="fetch it from the Hub where it is not here")


class ClipModelOptions(ModelOptions):
    """Options of metrics that look through CLIP; ViT-B/32 is what papers report."""

    weights: str = Field("openai/clip-vit-base-patch32", description="a folder, or a Hub id")


class VideoMaeOptions(ModelOptions):
    """Options of ``fvd-videomae``."""

    weights: str = Field("MCG-NJU/videomae-base-ssv2", description="a folder, or a Hub id")


class FlowMetricOptions(StageOptions):
    """Options of metrics that estimate flow."""

    preset: Literal["ultrafast", "fast", "medium"] = Field(
        "medium", description="OpenCV DIS preset: speed against accuracy"
    )


class WatermarkOptions(StageOptions):
    """Options of ``watermark``."""

    overlay: str = Field(description="picture of the overlay, or prep's shards that have one")


FVD_METRIC: Final = StageSpec(
    kind="metric",
    name="fvd",
    summary="Frechet video distance: I3D features, as StyleGAN-V and most papers",
    options=ScriptOptions,
    factory="fdream.stages.builtin.frechet_metrics:FrechetVideoDistance",
    requires=("torch", "einops"),
    downloads=("i3d_torchscript.pt (51 MB), only where download is set",),
    licence=LICENCE,
    argument="weights",
)

FVD_VIDEOMAE_METRIC: Final = StageSpec(
    kind="metric",
    name="fvd-videomae",
    summary="Frechet distance of VideoMAE features, which weigh motion more",
    options=VideoMaeOptions,
    factory="fdream.stages.builtin.frechet_metrics:VideoMaeDistance",
    requires=("torch", "transformers", "einops"),
    downloads=("a VideoMAE (350 MB), only where download is set",),
    licence=LICENCE,
    argument="weights",
)

FVD_SPRITE_METRIC: Final = StageSpec(
    kind="metric",
    name="fvd-sprite",
    summary="Frechet distance of a packaged SpriteWorld classifier's features; offline, no FVD",
    factory="fdream.stages.builtin.frechet_metrics:SpriteDistance",
    requires=("torch", "einops", "safetensors"),
    licence=LICENCE,
)

FID_METRIC: Final = StageSpec(
    kind="metric",
    name="fid",
    summary="Frechet distance of single frames: Inception v3 features",
    options=ScriptOptions,
    factory="fdream.stages.builtin.frechet_metrics:FrechetInceptionDistance",
    requires=("torch", "einops"),
    licence=LICENCE,
    argument="weights",
)

IS_FRAME_METRIC: Final = StageSpec(
    kind="metric",
    name="is-frame",
    summary="Inception score of single frames; not the C3D score of UCF-101",
    options=ScriptOptions,
    factory="fdream.stages.builtin.frechet_metrics:FrameInceptionScore",
    requires=("torch", "einops"),
    licence=LICENCE,
    argument="weights",
)

CLIPSIM_METRIC: Final = StageSpec(
    kind="metric",
    name="clipsim",
    summary="agreement of frames and caption by CLIP",
    options=ClipModelOptions,
    factory="fdream.stages.builtin.clip_metrics:CaptionAgreement",
    requires=("torch", "transformers", "einops"),
    downloads=("openai/clip-vit-base-patch32 (605 MB), only where download is set",),
    licence=LICENCE,
    argument="weights",
)

CLIP_CONSISTENCY_METRIC: Final = StageSpec(
    kind="metric",
    name="clip-consistency",
    summary="steadiness by CLIP: each frame with the first, and with the one before",
    options=ClipModelOptions,
    factory="fdream.stages.builtin.clip_metrics:ClipConsistency",
    requires=("torch", "transformers", "einops"),
    downloads=("openai/clip-vit-base-patch32 (605 MB), only where download is set",),
    licence=LICENCE,
    argument="weights",
)

PIXEL_CONSISTENCY_METRIC: Final = StageSpec(
    kind="metric",
    name="pixel-consistency",
    summary="PSNR and SSIM of the later frames against the first",
    factory="fdream.stages.builtin.motion_metrics:PixelConsistency",
    requires=("torch", "torchmetrics", "einops"),
    licence=LICENCE,
)

FLOW_METRIC: Final = StageSpec(
    kind="metric",
    name="flow",
    summary="dynamic degree, flow magnitude and warping error by OpenCV's DIS",
    options=FlowMetricOptions,
    factory="fdream.stages.builtin.motion_metrics:Motion",
    requires=("torch", "cv2", "einops"),
    licence=LICENCE,
)

FLOW_ERROR_METRIC: Final = StageSpec(
    kind="metric",
    name="flow-error",
    summary="flow against the exact flow that SpriteWorld knows",
    options=FlowMetricOptions,
    factory="fdream.stages.builtin.motion_metrics:FlowError",
    requires=("torch", "cv2", "einops"),
    licence=LICENCE,
)

WATERMARK_METRIC: Final = StageSpec(
    kind="metric",
    name="watermark",
    summary="how much of a known overlay shows in the clips",
    options=WatermarkOptions,
    factory="fdream.stages.builtin.motion_metrics:WatermarkLeakage",
    requires=("cv2",),
    licence=LICENCE,
    argument="overlay",
)
