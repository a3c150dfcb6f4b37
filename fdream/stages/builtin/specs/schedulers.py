"""Samplers."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from fdream.stages.builtin.specs import LICENCE
from fdream.stages.spec import StageOptions, StageSpec

_SAMPLERS: Final = ("torch", "diffusers")


class MultistepOptions(StageOptions):
    """Options of the multistep solvers."""

    order: Literal[1, 2, 3] = Field(2, description="order of the solver; 2 is best with guidance")


DREAMER_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="dreamer",
    summary="our deterministic sampler; starts at exactly zero signal",
    factory="fdream.stages.builtin.dreamer_scheduler:DreamerScheduler",
    requires=("torch",),
    licence=LICENCE,
)

ANCESTRAL_SCHEDULER: Final = StageSpec(
    kind="scheduler",
    name="ancestral",
    summary="dreamer with noise drawn anew in every step: mends what single steps drew wrong",
    factory="fdream.stages.builtin.dreamer_scheduler:AncestralScheduler",
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
