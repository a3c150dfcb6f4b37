"""Declarations of the built-in stages; imports pydantic and nothing heavy.

Each constant is the target of an entry point in fdream's own pyproject.toml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from fdream.stages.builtin.known_models import Kind, misnamed, short_names
from fdream.stages.spec import StageOptions, StageSpec

LICENCE: Final = "Apache-2.0"
_NETWORKS: Final = ("torch", "diffusers", "transformers", "safetensors", "einops")
_SAMPLERS: Final = ("torch", "diffusers")


class PocketOptions(StageOptions):
    """Options of ``pocket``: the packaged bundle unless another is named."""

    bundle: str = Field("pocket", description="bundle to load: packaged name, folder or Hub id")


class DreamerOptions(StageOptions):
    """Options of ``dreamer``: a bundle or a run folder has to be named.

    ``BUNDLE@BASE`` names both, unless a folder is called so.
    """

    bundle: str = Field(description="bundle to load: packaged name, folder, run folder or Hub id")
    base: str | None = Field(
        None,
        description="its motion on this base: a folder in diffusers form, a checkpoint in a single "
        ".safetensors file, or a Hub id",
    )

    @model_validator(mode="before")
    @classmethod
    def _part(cls, given: object) -> object:
        if not isinstance(given, dict) or given.get("base") is not None:
            return given
        named = given.get("bundle")
        if not isinstance(named, str) or "@" not in named or Path(named).expanduser().exists():
            return given
        bundle, _, base = named.rpartition("@")
        if not bundle or not base:
            raise ValueError(
                f"{named!r} wants a name on both sides of the @: BUNDLE@BASE, the motion of a "
                "bundle on another base."
            )
        return {**given, "bundle": bundle, "base": base}


class PipelineOptions(StageOptions):
    """Options of ``diffusers``: a ready-made pipeline has to be named."""

    model: str = Field(
        description="short name, Hub id, folder in diffusers form, or (prior) a .safetensors file"
    )


class PriorPipelineOptions(PipelineOptions):
    """Options of the prior ``diffusers``."""

    @field_validator("model")
    @classmethod
    def _serves(cls, model: str) -> str:
        return _well_named(model, "prior")


class GeneratorPipelineOptions(PipelineOptions):
    """Options of the generator ``diffusers``."""

    @field_validator("model")
    @classmethod
    def _serves(cls, model: str) -> str:
        return _well_named(model, "generator")


def _well_named(model: str, kind: Kind) -> str:
    wrong = misnamed(model, kind)
    if wrong is not None:
        raise ValueError(wrong)
    return model


class PredictNetOptions(StageOptions):
    """Options of the shared PredictNet, whatever the teacher.

    Ours: the paper says only that a PredictNet supervises optical flow. ``single`` keeps it from
    matching two frames by itself, which would leave the temporal layers idle.
    """

    pairs: Literal["single", "concat"] = Field(
        "single", description="features of frame i alone, or of frames i and i+1"
    )
    hidden: int = Field(64, ge=1, description="channels inside PredictNet")


class TeacherOptions(PredictNetOptions):
    """Options of ``predictnet``: PredictNet plus the DIS flow that teaches it."""

    preset: Literal["ultrafast", "fast", "medium"] = Field(
        "medium", description="OpenCV DIS preset: speed against accuracy"
    )
    prefer_exact: bool = Field(
        True, description="use the data's exact flow where it has one, and DIS elsewhere"
    )


class MultistepOptions(StageOptions):
    """Options of the multistep solvers."""

    order: Literal[1, 2, 3] = Field(2, description="order of the solver; 2 is best with guidance")


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


POCKET_PRIOR: Final = StageSpec(
    kind="prior",
    name="pocket",
    summary="small text-to-image model that comes with fdream; offline, runs on a CPU",
    options=PocketOptions,
    factory="fdream.stages.builtin.latent_prior:LatentPrior",
    requires=_NETWORKS,
    licence=LICENCE,
    argument="bundle",
)

POCKET_GENERATOR: Final = StageSpec(
    kind="generator",
    name="pocket",
    summary="the dreamer generator with the small bundle that comes with fdream",
    options=PocketOptions,
    factory="fdream.stages.builtin.dreamer_generator:DreamerGenerator",
    requires=_NETWORKS,
    licence=LICENCE,
    argument="bundle",
)

DREAMER_GENERATOR: Final = StageSpec(
    kind="generator",
    name="dreamer",
    summary="Factorized-Dreamer (arXiv 2408.10119) from a bundle or a training run",
    options=DreamerOptions,
    factory="fdream.stages.builtin.dreamer_generator:DreamerGenerator",
    requires=_NETWORKS,
    licence=LICENCE,
    argument="bundle",
)

DIFFUSERS_PRIOR: Final = StageSpec(
    kind="prior",
    name="diffusers",
    summary="any text-to-image pipeline of diffusers, such as diffusers:sdxl-turbo",
    options=PriorPipelineOptions,
    factory="fdream.stages.builtin.diffusers_prior:DiffusersPrior",
    requires=_NETWORKS,
    downloads=("the model that is named, unless it is a folder or in the Hub's cache",),
    licence=LICENCE,
    argument="model",
    argument_names=short_names("prior"),
)

DIFFUSERS_GENERATOR: Final = StageSpec(
    kind="generator",
    name="diffusers",
    summary="an image-to-video pipeline of diffusers: SVD, Wan, LTX-Video or CogVideoX",
    options=GeneratorPipelineOptions,
    factory="fdream.stages.builtin.diffusers_generator:DiffusersGenerator",
    requires=_NETWORKS,
    downloads=("the model that is named, unless it is a folder or in the Hub's cache",),
    licence=LICENCE,
    argument="model",
    argument_names=short_names("generator"),
)

PREDICTNET_SUPERVISOR: Final = StageSpec(
    kind="supervisor",
    name="predictnet",
    summary="PredictNet taught by OpenCV's DIS optical flow",
    options=TeacherOptions,
    factory="fdream.stages.builtin.flow_supervisors:TeacherSupervisor",
    requires=("torch", "einops", "cv2"),
    licence=LICENCE,
)

TRUTH_SUPERVISOR: Final = StageSpec(
    kind="supervisor",
    name="truth",
    summary="PredictNet taught by the exact flow that SpriteWorld knows",
    options=PredictNetOptions,
    factory="fdream.stages.builtin.flow_supervisors:TruthSupervisor",
    requires=("torch", "einops"),
    licence=LICENCE,
)

NO_SUPERVISOR: Final = StageSpec(
    kind="supervisor",
    name="none",
    summary="no flow supervision (ablation)",
    factory="fdream.stages.builtin.flow_supervisors:NoSupervisor",
    requires=("torch",),
    licence=LICENCE,
)

DREAMER_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="dreamer",
    summary="our deterministic sampler; starts at exactly zero signal",
    factory="fdream.stages.builtin.dreamer_scheduler:DreamerScheduler",
    requires=("torch",),
    licence=LICENCE,
)

DDIM_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="ddim",
    summary="DDIM of diffusers, deterministic",
    factory="fdream.stages.builtin.diffusers_schedulers:DDIMStage",
    requires=_SAMPLERS,
    licence=LICENCE,
)

DPMPP_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="dpm++",
    summary="DPM-Solver++ multistep of diffusers; good from 10 steps on",
    options=MultistepOptions,
    factory="fdream.stages.builtin.diffusers_schedulers:DPMSolverStage",
    requires=_SAMPLERS,
    licence=LICENCE,
)

EULER_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="euler",
    summary="Euler of diffusers",
    factory="fdream.stages.builtin.diffusers_schedulers:EulerStage",
    requires=_SAMPLERS,
    licence=LICENCE,
)

UNIPC_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="unipc",
    summary="UniPC multistep of diffusers; good from 8 steps on",
    options=MultistepOptions,
    factory="fdream.stages.builtin.diffusers_schedulers:UniPCStage",
    requires=_SAMPLERS,
    licence=LICENCE,
)

HEUN_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="heun",
    summary="Heun of diffusers, two network calls a step; not with zero terminal SNR",
    factory="fdream.stages.builtin.diffusers_schedulers:HeunStage",
    requires=_SAMPLERS,
    licence=LICENCE,
)

WHOLE_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="whole",
    summary="both halves are the whole caption",
    factory="fdream.stages.builtin.whole_splitter:WholeSplitter",
    licence=LICENCE,
)

GRAMMAR_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="grammar",
    summary="parts of speech and a small grammar; offline, a thousand captions a second",
    factory="fdream.stages.builtin.grammar_splitter:GrammarSplitter",
    requires=("HanTa", "py3langid"),
    licence=LICENCE,
)

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


class LlmOptions(StageOptions):
    """Options of ``llm``: an instruct model of transformers has to be named."""

    model: str = Field(description="folder or Hub id of an instruct model with safetensors")
    batch_size: int = Field(8, ge=1, description="captions that are asked about together")
    max_new_tokens: int = Field(80, ge=8, description="tokens that a field may have at first")
    retries: int = Field(1, ge=0, le=5, description="further tries where an answer is not believed")


class EndpointOptions(StageOptions):
    """Options of ``endpoint``; address and key are settings of the machine, never of a run."""

    model: str = Field(description="what the server calls the model")
    concurrency: int = Field(8, ge=1, le=256, description="requests on their way at a time")
    requests_per_minute: float = Field(0.0, ge=0, description="rate limit; 0: none")
    retries: int = Field(4, ge=0, le=20, description="further tries of a request, ever later")
    timeout_s: float = Field(60.0, gt=0, description="how long one try may take")
    max_tokens: int = Field(300, ge=16, description="longest answer")


LLM_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="llm",
    summary="a local instruct model of transformers, held to JSON; grammar where it fails",
    options=LlmOptions,
    factory="fdream.stages.builtin.llm_splitter:LlmSplitter",
    requires=("torch", "transformers", "safetensors", "HanTa", "py3langid"),
    downloads=("the model, if it is a Hub id",),
    licence=LICENCE,
    argument="model",
)

ENDPOINT_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="endpoint",
    summary="an OpenAI-compatible server (setting endpoint); grammar where it fails",
    options=EndpointOptions,
    factory="fdream.stages.builtin.endpoint_splitter:EndpointSplitter",
    requires=("HanTa", "py3langid"),
    licence=LICENCE,
    argument="model",
)
