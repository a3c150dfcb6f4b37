"""A recipe: the description of one run. It travels; settings describe a machine and stay.

One table per consumer, and each consumer is handed its own table alone. Every key has a default,
unknown keys are errors, and nothing here changes once it is made. The environment never alters a
recipe. ``recipe_io`` reads, merges and explains them.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from fdream.core.errors import UsageError
from fdream.core.sizes import Size

SCHEMA: Final = 1
"""Version of the recipe format; a file of another version is refused."""


def _size(value: object) -> Size:
    """Read a size as it is written; TOML has no type for it."""
    if isinstance(value, Size):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("a size is WIDTHxHEIGHT, such as '160x96', or one number for a square")
    try:
        return Size.parse(str(value))
    except UsageError as error:
        raise ValueError(str(error)) from error


SizeField = Annotated[Size, PlainValidator(_size), PlainSerializer(str)]
Pair = Annotated[tuple[float, float], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FreeTable = dict[str, Any]
"""A table that its consumer validates: the stage's spec, the data source, the objective."""


class Table(BaseModel):
    """What all tables are: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RunTable(Table):
    """Where and how a run happens."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: str | None = Field(None, description="run folder; runs/NAME when not set")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: Positive | None = Field(None, description="CPU threads; torch's choice when not set")


class StageChoice(Table):
    """Which stage, and its options, which the stage's own spec validates."""

    use: Annotated[str, Field(min_length=1, description="NAME or NAME:ARG")]
    options: FreeTable = Field(default_factory=dict)


class StagesTable(Table):
    """The stages that a training run joins: what learns, and what teaches it flow."""

    generator: StageChoice = StageChoice(use="pocket")
    supervisor: StageChoice = StageChoice(use="predictnet")


class DataTable(Table):
    """What a run learns from."""

    source: str = "spriteworld"
    validation: Positive = Field(256, description="held-out samples")
    workers: Count = Field(0, description="threads that gather batches ahead of time")
    options: FreeTable = Field(default_factory=dict, description="validated by the source")


class TrainTable(Table):
    """How weights are learned."""

    objective: Literal["autoencoder", "contrastive", "image", "decoder", "video"] = "video"
    steps: Positive = 10_000
    batch_size: Positive = Field(8, description="samples, of all processes together")
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="stop after so many minutes, whatever the step"
    )
    lr: Annotated[float, Field(gt=0)] = 1e-4
    lr_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="part of lr by component, named part or pattern; 0 holds still",
    )
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: Pair = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Count = 200
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    final_lr_scale: Fraction = Field(0.05, description="last learning rate, as a part of lr")
    ema_decay: Fraction = 0.9995
    grad_clip: Annotated[float, Field(gt=0)] = 1.0
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = Field(False, description="CUDA: same bits every time, at some cost")
    gradient_checkpointing: bool = False
    accumulate: Positive = Field(1, description="batches an optimizer step")
    log_every: Positive = 20
    probe_every: Count = Field(250, description="steps between gradient ratios; 0 is never")
    eval_every: Positive = 1000
    sample_every: Positive = 1000
    save_every: Positive = Field(500, description="steps")
    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    trackers: Names = Field((), description="accelerate's trackers, such as tensorboard")
    init_from: str | None = Field(None, description="bundle or run folder to start from")


class SampleTable(Table):
    """How videos are sampled; what is not set is the stage's own default."""

    steps: Positive | None = None
    guidance: Annotated[float, Field(ge=0)] | None = None
    frames: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    size: SizeField | None = None


class EvalTable(Table):
    """How videos are measured."""

    metrics: Names = ()
    options: FreeTable = Field(default_factory=dict)


class AnyRecipe(Table):
    """What every recipe says first, whatever it describes; ``core.prep_recipe`` has another."""

    schema_version: Literal[1] = Field(SCHEMA, alias="schema")
    extends: str | None = Field(None, description="the recipe that this one changes")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Recipe(AnyRecipe):
    """A training run."""

    run: RunTable = RunTable()
    stages: StagesTable = StagesTable()
    data: DataTable = DataTable()
    train: TrainTable = TrainTable()
    objective: FreeTable = Field(
        default_factory=dict, description="validated by the objective that train.objective names"
    )
    sample: SampleTable = SampleTable()
    eval: EvalTable = EvalTable()

    def output_folder(self) -> str:
        """Return the run folder: the one asked for, or ``runs/NAME``."""
        return self.run.output or str(PurePath("runs", self.name))
