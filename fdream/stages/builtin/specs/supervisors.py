"""What teaches flow in training."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from fdream.stages.builtin.specs import LICENCE
from fdream.stages.spec import StageOptions, StageSpec


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
