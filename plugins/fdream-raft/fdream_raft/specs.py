"""What this plugin offers; pydantic and nothing heavy, so that a listing stays cheap."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from fdream.stages.spec import StageOptions, StageSpec

_REQUIRES: Final = ("torch", "torchvision", "einops")
_DOWNLOADS: Final = ("RAFT's weights (21 MB, small: 4 MB), only where download is set",)


class RaftOptions(StageOptions):
    """How flow is estimated."""

    size: Literal["large", "small"] = Field("large", description="which of torchvision's RAFTs")
    updates: int = Field(12, ge=1, le=100, description="refinements of the flow; more is slower")
    weights: str | None = Field(
        None, description="file of its weights, .pth or .safetensors; None: torch's cache"
    )
    download: bool = Field(False, description="fetch the weights where they are not here")


class RaftTeacherOptions(RaftOptions):
    """Options of the supervisor: RAFT's, and those of the PredictNet that it teaches."""

    prefer_exact: bool = Field(
        True, description="use the data's exact flow where it has one, and RAFT elsewhere"
    )
    pairs: Literal["single", "concat"] = Field(
        "single", description="features of frame i alone, or of frames i and i+1"
    )
    hidden: int = Field(64, ge=1, description="channels inside PredictNet")


RAFT: Final = StageSpec(
    kind="supervisor",
    name="raft",
    summary="PredictNet taught by torchvision's RAFT optical flow",
    options=RaftTeacherOptions,
    factory="fdream_raft.supervisor:RaftSupervisor",
    requires=_REQUIRES,
    downloads=_DOWNLOADS,
    licence="Apache-2.0",
    argument="size",
)

FLOW_RAFT: Final = StageSpec(
    kind="metric",
    name="flow-raft",
    summary="dynamic degree, flow magnitude and warping error by torchvision's RAFT",
    options=RaftOptions,
    factory="fdream_raft.metric:RaftMotion",
    requires=_REQUIRES,
    downloads=_DOWNLOADS,
    licence="Apache-2.0",
    argument="size",
)
