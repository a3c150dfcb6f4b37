"""A recipe for measuring: whose protocol it is, which sets, which frames, which metrics.

A figure can be held against a published one only where all of this agrees, so a standard protocol
is a file that travels, and the published figures stand in it with where they were read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fdream.core.recipe import (
    AnyRecipe,
    Count,
    FreeTable,
    Names,
    Positive,
    SizeField,
    StageChoice,
    Table,
)
from fdream.core.sizes import Size


class SetsTable(Table):
    """What is compared."""

    real: str | None = Field(None, description="folder, pattern, list, shards, saved features")
    fake: str | None = Field(None, description="likewise; 'generated' makes the videos")
    num: Positive | None = Field(None, description="videos of each set; all when not set")
    conditioning: Literal["unknown", "none", "reference"] = Field(
        "unknown",
        description="whether generated videos begin with frames of the reference set",
    )


class ClipsTable(Table):
    """Which frames of a video are looked at, and at which size."""

    frames: Annotated[int, Field(ge=2)] = 16
    stride: Positive = 1
    fps: Annotated[float, Field(gt=0)] | None = Field(None, description="as stored when not set")
    size: SizeField = Size(224, 224)
    native: bool = Field(False, description="keep the size of each video; size is then not used")
    resize: Literal["crop", "pad", "stretch"] = "crop"
    real_start: Literal["random", "first", "middle"] = "random"
    fake_start: Literal["random", "first", "middle"] = "first"
    seed: Count = 0


class WorldTable(Table):
    """SpriteWorld as the reference set, where ``sets.real`` is ``spriteworld``."""

    sprites: Literal["noto", "plain"] = "noto"
    split: Literal["train", "held-out", "all"] = "held-out"
    frames: Annotated[int, Field(ge=2)] = 16
    size: SizeField = Size(128, 128)
    fps: Annotated[float, Field(gt=0)] = 8.0
    first_seed: Count = 6_000_000_000


class GeneratedTable(Table):
    """How videos are made where ``sets.fake`` is ``generated``: one for each reference video."""

    from_reference: bool = Field(False, description="animate the reference's first frame")
    steps: Positive | None = None
    prior_steps: Positive | None = None
    seed: Count = 0


class EvalStagesTable(Table):
    """The stages that make videos where ``sets.fake`` is ``generated``."""

    prior: StageChoice = StageChoice(use="pocket")
    generator: StageChoice = StageChoice(use="pocket")


class MeasureTable(Table):
    """Which metrics, and how they are run."""

    metrics: Names = ()
    options: dict[str, FreeTable] = Field(
        default_factory=dict, description="options of a metric by its name"
    )
    batch_size: Positive = 8
    workers: Positive = Field(2, description="threads that decode")


class PublishedRow(Table):
    """A published figure that this protocol can be held against."""

    method: str
    figure: str
    value: float
    source: str = Field(description="where the number was read")


class EvalRecipe(AnyRecipe):
    """A whole measurement."""

    protocol_of: str = Field("this project", description="whose protocol it is")
    note: str = Field("", description="what keeps figures from being compared")
    sets: SetsTable = SetsTable()
    clips: ClipsTable = ClipsTable()
    world: WorldTable = WorldTable()
    generated: GeneratedTable = GeneratedTable()
    stages: EvalStagesTable = EvalStagesTable()
    measure: MeasureTable = MeasureTable()
    published: Annotated[tuple[PublishedRow, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _one_to_one(self) -> EvalRecipe:
        if self.sets.fake == "generated" and self.sets.real != "spriteworld":
            raise ValueError(
                "sets.fake = 'generated' needs sets.real = 'spriteworld', whose "
                "captions it is made from"
            )
        return self
