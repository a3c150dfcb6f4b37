"""What this plugin offers. fdream reads it to list stages, so nothing heavy is imported here."""

from pydantic import Field

from fdream.stages.spec import StageOptions, StageSpec


class StripesOptions(StageOptions):
    width: int = Field(16, ge=1, description="width of a stripe in pixels")


class MomentumOptions(StageOptions):
    strength: float = Field(0.5, ge=0, le=1, description="how far to look ahead; 0 is plain DDIM")


STRIPES = StageSpec(
    kind="prior",
    name="stripes",
    summary="coloured stripes; every caption has its own",
    options=StripesOptions,
    factory="fdream_template.stripes:StripesPrior",
    requires=("numpy",),
    licence="Apache-2.0",
    argument="width",  # so that --prior stripes:24 works
)

MOMENTUM = StageSpec(
    kind="scheduler",
    name="momentum",
    summary="the dreamer sampler, looking ahead along its last step",
    options=MomentumOptions,
    factory="fdream_template.momentum:MomentumScheduler",
    requires=("torch",),
    licence="Apache-2.0",
)
