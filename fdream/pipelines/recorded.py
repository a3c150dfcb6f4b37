"""A record, which anybody may have written, as settings that the commands would have accepted.

Nothing is acted upon but what is of the right type, in range and of the right form. What a record
asks for and this fdream does not know is refused, not left out: the result would be another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError, UsageError
from fdream.core.limits import SEED
from fdream.core.sizes import Size
from fdream.data.encoding import CODECS, Encoding
from fdream.data.prompts import MAX_CHARACTERS, control_character
from fdream.pipelines.generation import ClipSettings, StillSettings
from fdream.pipelines.results import Sample
from fdream.pipelines.workshop import Sampling

Command = Literal["t2i", "i2v", "t2v"]

# More threads than any machine has are no setting but an attack on it.
_MOST_THREADS: Final = 1024


def _harmless(text: str) -> str:
    if control_character(text) is not None:
        raise ValueError("holds a control character")
    return text


Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_harmless)]
Word = Annotated[str, Field(max_length=200, pattern=r"^\w[\w.+-]*$")]
StageName = Annotated[
    str, Field(max_length=300, pattern=r"^\w[\w.+-]*(:.+)?$"), AfterValidator(_harmless)
]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Captions(_Part):
    appearance: Text
    motion: Text


class RecordedDefaults(_Part):
    """What a stage did where nothing was asked for, as far as a command could have asked."""

    steps: int | None = None
    guidance: float | None = None
    scheduler: StageName | None = None


class RecordedStage(_Part):
    """What a record says of one stage.

    Attributes:
        name: ``NAME`` or ``NAME:ARG``; a folder is told by its last part alone.
        distribution: who declares it, by its own account.
        version: of the distribution.
        bundle: what its weights call themselves.
        sha256: of its weights.
        defaults: what it took where nothing was asked for.

    Whatever else identifies it, such as a revision, is kept in ``model_extra``.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    name: StageName
    distribution: Word = "unknown"
    version: Word = "unknown"
    bundle: Text | None = None
    sha256: Hash | None = None
    defaults: RecordedDefaults = RecordedDefaults()


class _Stages(_Part):
    prior: RecordedStage | None = None
    generator: RecordedStage | None = None
    scheduler: RecordedStage | None = None
    splitter: RecordedStage | None = None


class _Options(_Part):
    # Options of a later fdream change the result, so they cannot be passed over.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    size: str
    steps: int | None = None
    guidance: float | None = None
    negative: Text = ""
    scheduler: StageName | None = None


class _ClipOptions(_Options):
    resize: Literal["crop", "pad"]
    frames: int


class _OptionsOfBoth(_Part):
    prior: _Options | None = None
    generator: _ClipOptions | None = None


class _Encoding(_Part):
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    loop: Annotated[int, Field(ge=0, le=65535)] | None = None
    codec: Literal["h264", "vp9", "av1"] | None = None


class Environment(_Part):
    """What a bit-equal repetition needs to be the same."""

    versions: dict[Word, Word] = {}
    device: Literal["cpu", "cuda", "mps"] | None = None
    device_name: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    threads: Annotated[int, Field(ge=1, le=_MOST_THREADS)] | None = None


class _Record(Environment):
    command: Command
    prompt: Text = ""
    captions: _Captions
    seed: Annotated[int, Field(ge=SEED.low, le=SEED.high)]
    index: Annotated[int, Field(ge=0, le=SEED.high)] = 0
    fps: float | None = None
    stages: _Stages
    options: _OptionsOfBoth
    encoding: _Encoding = _Encoding()
    frames_sha256: Hash
    first_frame_sha256: Hash | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """How an output was made, believed as far as it goes.

    Attributes:
        command: which command made it.
        captions: what it was made from.
        sample: which sample.
        still: settings of the first frame, as far as they were asked for; None for i2v.
        clip: settings of the video, likewise; None for t2i.
        stages: by role, those that made it.
        environment: where it was made.
        encoding: what was asked of the encoder, whatever the format.
        frames_sha256: of the frames before they were encoded.
        first_frame_sha256: of the first frame that was animated; None for t2i.
    """

    command: Command
    captions: CaptionPair
    sample: Sample
    still: StillSettings | None
    clip: ClipSettings | None
    stages: Mapping[str, RecordedStage]
    environment: Environment
    encoding: Encoding
    frames_sha256: str
    first_frame_sha256: str | None


def believe(record: Mapping[str, Any], kind: str, place: str) -> Recorded:
    """Read a record as the commands read their options.

    Args:
        record: a JSON object from a file.
        kind: the format of the file.
        place: what to call the file in messages.

    Raises:
        DataError: it misses something, or something is not of the type, range or form it must be.
    """
    try:
        told = _Record.model_validate(record)
        return _settle(told, kind)
    except ValidationError as error:
        raise DataError(f"{place}: its record cannot be replayed: {_first(error)}.") from error
    except UsageError as error:
        raise DataError(f"{place}: its record cannot be replayed: {error}") from error


def refuse_unlike(recorded: Recorded, shape: tuple[int, ...], place: str) -> None:
    """Refuse a record that tells of more or larger frames than its file holds.

    Making them could take hours, and there would be nothing to compare them with.

    Args:
        recorded: what the record says.
        shape: (F, H, W, 3) of the file's frames.
        place: what to call the file in messages.

    Raises:
        DataError: they do not agree.
    """
    chosen = recorded.clip or recorded.still
    assert chosen is not None
    frames = 1 if recorded.clip is None else recorded.clip.frames
    held = Size(*shape[1:3])
    if (frames, chosen.size) != (shape[0], held):
        raise DataError(
            f"{place}: its record tells of {frames} x {chosen.size}, and it holds {shape[0]} x "
            f"{held}; it was cut off, or changed after it was made."
        )


def _settle(told: _Record, kind: str) -> Recorded:
    needed = {"t2i": ("prior",), "i2v": ("generator",), "t2v": ("prior", "generator")}[told.command]
    stages = {
        role: stage
        for role in _Stages.model_fields
        if (stage := getattr(told.stages, role)) is not None
    }
    for role in needed:
        if role not in stages or getattr(told.options, role) is None:
            raise UsageError(f"{told.command} needs the {role} under stages and under options.")
    still = clip = None
    if "prior" in needed and told.options.prior is not None:
        chosen = told.options.prior
        still = StillSettings(Size.parse(chosen.size), _sampling(chosen))
    if "generator" in needed and told.options.generator is not None:
        made = told.options.generator
        size, sampling = Size.parse(made.size), _sampling(made)
        clip = ClipSettings(size, made.resize, made.frames, told.fps, sampling)
        if told.fps is None:
            raise UsageError("fps is not told.")
        if told.first_frame_sha256 is None:
            raise UsageError("first_frame_sha256 is not told.")
    if told.encoding.codec not in (None, *CODECS.get(kind, ())):
        raise UsageError(f"{kind} holds no {told.encoding.codec}.")
    return Recorded(
        command=told.command,
        captions=CaptionPair(told.captions.appearance, told.captions.motion),
        sample=Sample(told.seed, told.index, told.prompt),
        still=still,
        clip=clip,
        stages=stages,
        environment=Environment(**{k: getattr(told, k) for k in Environment.model_fields}),
        encoding=Encoding(kind, told.encoding.quality, told.encoding.loop, told.encoding.codec),
        frames_sha256=told.frames_sha256,
        first_frame_sha256=told.first_frame_sha256,
    )


def _sampling(chosen: _Options) -> Sampling:
    return Sampling(chosen.steps, chosen.guidance, chosen.negative, chosen.scheduler)


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    if found["type"] == "missing":
        return f"{place} is not told"
    if found["type"] == "extra_forbidden":
        return f"{place} is an option that this fdream does not know; a newer one made the file"
    return f"{place} = {str(found['input'])[:60]!r}: {found['msg']}"
