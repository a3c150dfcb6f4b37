"""The options that t2i, i2v and t2v share: each is spelt, bounded and explained once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fdream.core.errors import UsageError
from fdream.core.sizes import Size

if TYPE_CHECKING:
    from fdream.pipelines.generation import ClipSettings, StillSettings
    from fdream.pipelines.workshop import Sampling

LONGEST_SIDE: Final = 8192

PromptArgument = Annotated[
    str, typer.Argument(metavar="PROMPT", help="What to show, in a sentence.")
]
ImageArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[IMAGE]",
        help="PNG, JPEG, WebP, BMP or GIF to set in motion; - or nothing reads standard input.",
    ),
]
PriorOption = Annotated[
    str, typer.Option("--prior", metavar="NAME[:ARG]", help="Stage that draws the first frame.")
]
GeneratorOption = Annotated[
    str, typer.Option("--generator", metavar="NAME[:ARG]", help="Stage that sets it in motion.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="NAME[:ARG]", help="Sampler of the last stage [default: its own]."
    ),
]
SplitterOption = Annotated[
    str,
    typer.Option(
        "--splitter",
        metavar="NAME[:ARG]",
        help="Stage that parts a caption into what is seen and what happens.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps", min=1, max=1000, metavar="N", help="Sampling steps [default: the stage's]."
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=0,
        max=100,
        metavar="X",
        help="How strictly the caption is followed; 1 is off [default: the stage's].",
    ),
]
NegativeOption = Annotated[
    str, typer.Option("--negative", metavar="TEXT", help="What to steer away from.")
]
PriorStepsOption = Annotated[
    int | None,
    typer.Option("--prior-steps", min=1, max=1000, metavar="N", help="--steps of t2i."),
]
PriorGuidanceOption = Annotated[
    float | None,
    typer.Option("--prior-guidance", min=0, max=100, metavar="X", help="--guidance of t2i."),
]
PriorNegativeOption = Annotated[
    str, typer.Option("--prior-negative", metavar="TEXT", help="--negative of t2i.")
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="WxH", help="Picture size, such as 128x96 or 128 [default: the stage's]."
    ),
]
ResizeOption = Annotated[
    str,
    typer.Option(
        "--resize",
        metavar="crop|pad",
        help="How an image of another shape fits: cut evenly, or black bars.",
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        "--frames", min=1, max=10_000, metavar="N", help="Number of frames [default: the stage's]."
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps", min=0.1, max=240, metavar="X", help="Frames per second [default: the stage's]."
    ),
]
NumOption = Annotated[
    int,
    typer.Option(
        "--num", "-n", min=1, max=10_000, metavar="N", help="How many, each with its own noise."
    ),
]
MotionOption = Annotated[
    str | None, typer.Option("--motion", metavar="TEXT", help="What happens, in a few words.")
]
ResultOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File, folder/ or - for standard output [default: named after the prompt; standard "
        "output where that is no terminal].",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="KIND",
        help="png, webp; for videos mp4, webm, gif, webp, apng, png (a sheet), frames (-o NAME is "
        "the folder of 00000.png, ..., -o folder/ has one inside for each result) [default: by "
        "the file's ending, else png or mp4].",
    ),
]
QualityOption = Annotated[
    int | None,
    typer.Option(
        "--quality",
        min=1,
        max=100,
        metavar="N",
        help="1 (smallest file) to 100 (best) for mp4, webm, gif and webp; 75 is what encoders "
        "call usual [default: 90; an image without loss].",
    ),
]
LoopOption = Annotated[
    int | None,
    typer.Option(
        "--loop",
        min=0,
        max=65_535,
        metavar="N",
        help="How often a gif, webp or apng is played; 0 is for ever [default: 0].",
    ),
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON for each result: path and record.")
]
NoMetadataOption = Annotated[
    bool, typer.Option("--no-metadata", help="Leave the record of how it was made out of files.")
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Say what would be done, and by what; make nothing.")
]


def still_settings(
    size: str | None,
    steps: int | None,
    guidance: float | None,
    negative: str,
    scheduler: str | None = None,
) -> StillSettings:
    """Gather the settings of the first frame.

    Raises:
        UsageError: one of them is out of range.
    """
    from fdream.pipelines.generation import StillSettings

    return StillSettings(_picture_size(size), _sampling(steps, guidance, negative, scheduler))


def clip_settings(
    size: str | None,
    resize: str,
    frames: int | None,
    fps: float | None,
    steps: int | None,
    guidance: float | None,
    negative: str,
    scheduler: str | None,
) -> ClipSettings:
    """Gather the settings of a video.

    Raises:
        UsageError: one of them is out of range.
    """
    from fdream.pipelines.generation import ClipSettings

    if resize not in ("crop", "pad"):
        raise UsageError(f"--resize {resize}: choose crop or pad.")
    return ClipSettings(
        size=_picture_size(size),
        resize="crop" if resize == "crop" else "pad",
        frames=frames,
        fps=_finite("--fps", fps),
        sampling=_sampling(steps, guidance, negative, scheduler),
    )


def motion_caption(motion: str | None) -> str | None:
    """Read ``--motion``; nothing is an answer, for it silences the image's own.

    Raises:
        UsageError: it is no caption.
    """
    from fdream.data.prompts import clean_prompt

    return None if motion is None else clean_prompt(motion, "--motion", may_be_empty=True)


def _sampling(
    steps: int | None, guidance: float | None, negative: str, scheduler: str | None
) -> Sampling:
    from fdream.data.prompts import clean_prompt
    from fdream.pipelines.workshop import Sampling

    return Sampling(
        steps=steps,
        guidance=_finite("--guidance", guidance),
        negative=clean_prompt(negative, "--negative", may_be_empty=True),
        scheduler=scheduler,
    )


def _finite(option: str, value: float | None) -> float | None:
    """Refuse NaN, which every comparison of a range lets through."""
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{option} {value}: a number is needed, such as 3.")
    return value


def _picture_size(text: str | None) -> Size | None:
    if text is None:
        return None
    size = Size.parse(text)
    if max(size) > LONGEST_SIDE:
        raise UsageError(f"--size {size}: sides up to {LONGEST_SIDE} are possible; try 128x128.")
    return size
