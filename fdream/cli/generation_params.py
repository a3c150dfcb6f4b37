"""The options of t2i, i2v and t2v, in groups: each is spelt, bounded and explained once.

Each group knows what its options lead to; ranges come from ``core.limits``, and where results go is
in ``output_params``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fdream.cli.params import (
    DeviceOption,
    DtypeOption,
    OffloadOption,
    ThreadsOption,
    choose_device,
    reporter_of,
)
from fdream.core.errors import UsageError
from fdream.core.limits import FPS, FRAMES, GUIDANCE, NUM, SEED, STEPS
from fdream.core.sizes import Size

if TYPE_CHECKING:
    from fdream.data.images import Resize
    from fdream.data.prompt_list import PromptsFormat
    from fdream.pipelines.generation import ClipSettings
    from fdream.pipelines.workshop import Sampling, StageChoices, Workshop

PromptArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT",
        help="What to show, each in a sentence; - or nothing reads standard input, one a line.",
    ),
]
ImageArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help="PNG, JPEG, WebP, BMP or GIF to set in motion; - or nothing reads standard input.",
    ),
]
PriorOption = Annotated[
    str, typer.Option("--prior", metavar="NAME[:ARG]", help="Stage that draws the first frame.")
]
GeneratorOption = Annotated[
    str, typer.Option("--generator", metavar="NAME[:ARG]", help="Stage that sets it in motion.")
]
SplitterOption = Annotated[
    str,
    typer.Option(
        "--splitter",
        metavar="NAME[:ARG]",
        help="Stage that parts a caption into what is seen and what happens.",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="WxH", help="Picture size, such as 128x96 or 128 [default: the stage's]."
    ),
]
MotionOption = Annotated[
    str | None, typer.Option("--motion", metavar="TEXT", help="What happens, in a few words.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """Where prompts are read from, if not from the arguments."""

    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Read prompts from here, one a line; - is stdin."
        ),
    ] = None
    prompts_format: Annotated[
        str,
        typer.Option(
            "--prompts-format",
            metavar="KIND",
            help="auto, lines or jsonl (keys prompt, appearance, motion, seed, num, id); auto "
            "takes a first line that begins with { for JSON.",
        ),
    ] = "auto"

    @property
    def form(self) -> PromptsFormat:
        """Return the checked format.

        Raises:
            UsageError: no such format.
        """
        if self.prompts_format not in ("auto", "lines", "jsonl"):
            raise UsageError(f"--prompts-format {self.prompts_format}: auto, lines or jsonl.")
        return cast("PromptsFormat", self.prompts_format)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How the last stage samples."""

    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="NAME[:ARG]",
            help="Sampler of the last stage [default: its own].",
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=int(STEPS.low),
            max=int(STEPS.high),
            metavar="N",
            help="Sampling steps [default: the stage's].",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            min=GUIDANCE.low,
            max=GUIDANCE.high,
            metavar="X",
            help="How strictly the caption is followed; 1 is off [default: the stage's].",
        ),
    ] = None
    negative: Annotated[
        str, typer.Option("--negative", metavar="TEXT", help="What to steer away from.")
    ] = ""

    def sampling(self) -> Sampling:
        """Return what the stage is told.

        Raises:
            UsageError: a value that cannot be used.
        """
        return _sampling(self.steps, self.guidance, self.negative, self.scheduler)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSamplingOptions:
    """How t2v's first stage samples."""

    prior_steps: Annotated[
        int | None,
        typer.Option(
            "--prior-steps",
            min=int(STEPS.low),
            max=int(STEPS.high),
            metavar="N",
            help="--steps of t2i.",
        ),
    ] = None
    prior_guidance: Annotated[
        float | None,
        typer.Option(
            "--prior-guidance",
            min=GUIDANCE.low,
            max=GUIDANCE.high,
            metavar="X",
            help="--guidance of t2i.",
        ),
    ] = None
    prior_negative: Annotated[
        str, typer.Option("--prior-negative", metavar="TEXT", help="--negative of t2i.")
    ] = ""

    def sampling(self) -> Sampling:
        """Return what the prior is told; see ``SamplingOptions.sampling``."""
        return _sampling(self.prior_steps, self.prior_guidance, self.prior_negative, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatOptions:
    """Which noise, and how often."""

    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=int(SEED.low),
            max=int(SEED.high),
            metavar="N",
            help="Seed for all; when not given, an image's own, else one is drawn for each and "
            "recorded.",
        ),
    ] = None
    num: Annotated[
        int,
        typer.Option(
            "--num",
            "-n",
            min=int(NUM.low),
            max=int(NUM.high),
            metavar="N",
            help="How many of each, each with its own noise.",
        ),
    ] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Size and length of a video."""

    size: SizeOption = None
    resize: Annotated[
        str,
        typer.Option(
            "--resize",
            metavar="crop|pad",
            help="How an image of another shape fits: cut evenly, or black bars.",
        ),
    ] = "crop"
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            min=int(FRAMES.low),
            max=int(FRAMES.high),
            metavar="N",
            help="Number of frames [default: the stage's].",
        ),
    ] = None
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=FPS.low,
            max=FPS.high,
            metavar="X",
            help="Frames per second [default: the stage's].",
        ),
    ] = None

    def settings(self, sampling: SamplingOptions) -> ClipSettings:
        """Return what the generator is told.

        Raises:
            UsageError: a value that cannot be used.
        """
        from fdream.pipelines.generation import ClipSettings

        return ClipSettings(
            size=picture_size(self.size),
            resize=cast("Resize", self.resize),
            frames=self.frames,
            fps=self.fps,
            sampling=sampling.sampling(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOptions:
    """What the work is done on."""

    device: DeviceOption = None
    dtype: DtypeOption = None
    threads: ThreadsOption = None
    offload: OffloadOption = False

    def workshop(self, ctx: typer.Context, choices: StageChoices) -> Workshop:
        """Return a place to work with these stages; none is built yet.

        Raises:
            UsageError: an unknown word.
            DeviceError: the device cannot be used.
        """
        from fdream.pipelines.workshop import Workshop

        device = choose_device(self.device, self.dtype, self.threads, self.offload)
        return Workshop(choices, device, reporter_of(ctx))


def motion_caption(motion: str | None) -> str | None:
    """Read ``--motion``; nothing is an answer, for it silences the image's own.

    Raises:
        UsageError: it is no caption.
    """
    from fdream.data.prompts import clean_prompt

    return None if motion is None else clean_prompt(motion, "--motion", may_be_empty=True)


def picture_size(text: str | None) -> Size | None:
    """Read ``--size``.

    Raises:
        UsageError: it is no size.
    """
    return None if text is None else Size.parse(text)


def _sampling(
    steps: int | None, guidance: float | None, negative: str, scheduler: str | None
) -> Sampling:
    from fdream.data.prompts import clean_prompt
    from fdream.pipelines.workshop import Sampling

    steer_away = clean_prompt(negative, "--negative", may_be_empty=True)
    return Sampling(steps, guidance, steer_away, scheduler)
