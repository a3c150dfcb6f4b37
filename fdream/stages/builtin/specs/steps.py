"""The two steps of a run: what draws the first frame and what sets it in motion."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, field_validator, model_validator

from fdream.stages.builtin.known_models import Kind, misnamed, short_names
from fdream.stages.builtin.specs import LICENCE
from fdream.stages.spec import StageOptions, StageSpec

_NETWORKS: Final = ("torch", "diffusers", "transformers", "safetensors", "einops")


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
