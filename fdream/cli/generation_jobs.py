"""What t2i, i2v and t2v have to do, read one by one from a list of prompts or a stream of images.

A list may have no end, so a job is planned when it is asked for. What cannot be planned (a line
that is no prompt, an image that is none) takes its place in the order as a fault.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from fdream.cli.delivery import Name, Writer
from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError, UsageError
from fdream.core.limits import NUM
from fdream.core.seeds import draw_seed

if TYPE_CHECKING:
    from fdream.cli.generation_params import ListOptions, RepeatOptions
    from fdream.data.metadata import Hints
    from fdream.data.prompt_list import BadLine, PromptLine
    from fdream.pipelines.generation import Clip, ClipSettings, Sample, Still, StillSettings
    from fdream.pipelines.workshop import Workshop

STDIN: Final = "standard input"


@dataclass(frozen=True, slots=True)
class Product:
    """A finished sample on its way out.

    Attributes:
        writer: encodes it.
        record: how it was made.
        notes: what the chosen format does to it, by format.
    """

    writer: Writer
    record: dict[str, Any]
    notes: Callable[[str], str | None] = lambda kind: None


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to make.

    Attributes:
        name: what it may be called.
        make: makes it.
        recipe: tells what decides how it comes out, without making it.
        seeded: whether the user said which seed; a drawn one is never the same again.
        facts: what a line of JSON adds to its record: the line it came from, and its id.
    """

    name: Name
    make: Callable[[], Product]
    recipe: Callable[[], dict[str, Any]]
    seeded: bool
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry that cannot be used.

    Attributes:
        label: which one, among the others: ``"line 3"``.
        message: where it stands and why it cannot be used.
    """

    label: str
    message: str


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Prompts, and what to call the place they come from.

    Attributes:
        place: empty for the arguments of the command.
        lines: read as they are asked for.
    """

    place: str
    lines: Iterator[PromptLine | BadLine]


def prompt_source(arguments: list[str] | None, listed: ListOptions, command: str) -> PromptSource:
    """Find the prompts: arguments, else ``--prompts``, else standard input.

    Args:
        arguments: as given; a single ``-`` is standard input.
        listed: ``--prompts`` and its format.
        command: for the message where there are none.

    Raises:
        UsageError: none, both, or an argument that is no prompt: nothing is made then.
        DataError: the file cannot be read.
    """
    from fdream.data.prompt_list import PromptLine, read_prompts
    from fdream.data.prompts import clean_prompt

    if arguments and listed.prompts is not None:
        raise UsageError("--prompts: there are prompts as arguments too; give one or the other.")
    if arguments and arguments != ["-"]:
        several = len(arguments) > 1
        return PromptSource(
            "",
            iter(
                [
                    PromptLine(n, clean_prompt(text, f"PROMPT {n}" if several else "PROMPT"))
                    for n, text in enumerate(arguments, start=1)
                ]
            ),
        )
    named = arguments[0] if arguments else listed.prompts
    from_file = named not in (None, "-")
    if not from_file and named is None and _nobody_pipes():
        raise UsageError(
            f'{command}: no prompt; say what to draw, such as fdream {command} "a corgi surfing", '
            "or pipe prompts in, one a line, or name a file with --prompts."
        )
    place = str(named) if from_file else STDIN
    return PromptSource(place, _read_closing(_open(named), place, listed, read_prompts))


def _read_closing(
    stream: BinaryIO, place: str, listed: ListOptions, read: Callable[..., Iterator[Any]]
) -> Iterator[PromptLine | BadLine]:
    with closing(stream):
        yield from read(stream, place, listed.form)


def prompt_jobs(
    source: PromptSource,
    asked: RepeatOptions,
    shop: Workshop,
    *,
    still: StillSettings,
    clip: ClipSettings | None = None,
    motion: str | None = None,
) -> Iterator[Job | Fault]:
    """Plan the samples of each prompt: images, or videos where there are settings for them.

    What a line says stands above the options, which serve the lines that say nothing.

    Args:
        source: the prompts.
        asked: ``--seed`` and ``--num``.
        shop: the stages.
        still: how the first frame is drawn.
        clip: how it is animated; None: it is not.
        motion: ``--motion``.
    """
    from fdream.data.prompt_list import BadLine
    from fdream.pipelines.generation import Sample

    position = 0
    for line in source.lines:
        if isinstance(line, BadLine):
            label = f"line {line.line}"
            yield Fault(label, f"{source.place}, {label}: {line.reason}")
            # As if it had been good: once it is, the names after it are still the same.
            position += asked.num
            continue
        num = asked.num if line.num is None else line.num
        given = asked.seed if line.seed is None else line.seed
        seed = draw_seed() if given is None else given
        captions = _captions_of(line, motion, shop)
        facts = {"id": line.id, "line": line.line if source.place else None}
        for number in range(num):
            name = Name(line.text, seed, position, number, counted=num > 1, id=line.id)
            sample = Sample(seed, number, line.prompt if line.appearance is None else "")
            yield _prompt_job(name, captions, sample, still, clip, shop, given is not None, facts)
            position += 1


def _captions_of(line: PromptLine, motion: str | None, shop: Workshop) -> Callable[[], CaptionPair]:
    """The halves a line gives, ``--motion``, and the splitter's for what is still missing."""

    @cache
    def captions() -> CaptionPair:
        happens = motion if line.motion is None else line.motion
        if line.appearance is not None and happens is not None:
            return CaptionPair(line.appearance, happens)
        split = shop.split(line.text)
        return CaptionPair(
            split.appearance if line.appearance is None else line.appearance,
            split.motion if happens is None else happens,
        )

    return captions


def _prompt_job(
    name: Name,
    captions: Callable[[], CaptionPair],
    sample: Sample,
    still: StillSettings,
    clip: ClipSettings | None,
    shop: Workshop,
    seeded: bool,
    facts: dict[str, Any],
) -> Job:
    from fdream.pipelines.generation import recipe, text_to_image, text_to_video

    def make() -> Product:
        if clip is None:
            return still_product(text_to_image(captions(), sample, still, shop))
        return clip_product(text_to_video(captions(), sample, still, clip, shop))

    return Job(
        name=name,
        make=make,
        recipe=lambda: recipe(captions(), sample, shop, still=still, clip=clip),
        seeded=seeded,
        facts={key: value for key, value in facts.items() if value is not None},
    )


def image_jobs(
    images: list[str] | None,
    asked: RepeatOptions,
    shop: Workshop,
    *,
    clip: ClipSettings,
    motion: str | None = None,
) -> Iterator[Job | Fault]:
    """Plan the videos of each image, reading no further than the image at hand.

    Args:
        images: files, ``-`` for standard input; None or nothing is that, too.
        asked: ``--seed`` and ``--num``.
        shop: the stages.
        clip: how it is animated; what it leaves open is taken from the image's record.
        motion: ``--motion``.

    Raises:
        UsageError: standard input is a terminal.
    """
    from fdream.data.images import split_images

    if not images and _nobody_pipes():
        raise UsageError(
            "i2v: no image; name a PNG, JPEG, WebP, BMP or GIF file, or pipe one in: "
            'fdream t2i "a corgi surfing" | fdream i2v -o out.mp4'
        )
    position = 0
    for image in images or ["-"]:
        from_file = image != "-"
        place = image if from_file else STDIN
        found = 0
        try:
            with closing(_open(image)) as stream:
                for data in split_images(stream, place, trailing=from_file):
                    found += 1
                    label = place if from_file else f"image {found}"
                    where = place if from_file else f"{place}, {label}"
                    try:
                        yield from _jobs_of_image(data, where, position, asked, shop, clip, motion)
                    except DataError as error:
                        yield Fault(label, str(error))
                    position += asked.num
        except DataError as error:
            # What cannot be cut into images ends its stream: nothing behind it can be found.
            yield Fault(place if from_file else f"image {found + 1}", str(error))
            position += asked.num


def _jobs_of_image(
    data: bytes,
    where: str,
    position: int,
    asked: RepeatOptions,
    shop: Workshop,
    clip: ClipSettings,
    motion: str | None,
) -> Iterator[Job | Fault]:
    from fdream.data.images import decode_image
    from fdream.data.metadata import hints, image_record
    from fdream.pipelines import generation
    from fdream.pipelines.provenance import frames_hash

    pixels = decode_image(data, where, shop.reporter.warn)
    found = image_record(data)
    if found.reason:
        shop.reporter.warn(f"{where}: {found.reason}; it is animated without.")
    told = hints(found.record)
    captions = _captions_for_image(told, motion, where, shop)
    # What was asked for stands above what the image says, and that above our own choice.
    settings = replace(clip, fps=told.fps if clip.fps is None else clip.fps)
    given = told.seed if asked.seed is None else asked.seed
    seed = draw_seed() if given is None else given
    title = captions.appearance or captions.motion or Path(where).stem

    def job(number: int) -> Job:
        # The first video is the one of --num 1. t2i counts up to NUM, so the others come behind
        # every image of the same prompt, and share their noise with none.
        index = (told.index or 0) + number * int(NUM.high)
        sample = generation.Sample(seed, index)

        def recipe() -> dict[str, Any]:
            first = generation.first_frame(pixels, settings, shop)
            decides = generation.recipe(captions, sample, shop, clip=settings)
            return {**decides, "first_frame_sha256": frames_hash(first)}

        return Job(
            name=Name(title, seed, position + number, position + number),
            make=lambda: clip_product(
                generation.image_to_video(pixels, captions, sample, settings, shop)
            ),
            recipe=recipe,
            seeded=given is not None,
        )

    yield from (job(number) for number in range(asked.num))


def _captions_for_image(told: Hints, motion: str | None, where: str, shop: Workshop) -> CaptionPair:
    happens = told.motion if motion is None else motion
    if happens is None:
        shop.warn_once(
            f'{where}: says nothing of motion; pass --motion "what happens". The model moves it as '
            "it pleases."
        )
        happens = ""
    if told.appearance is not None:
        return CaptionPair(told.appearance, happens)
    # A photo: the one text we have is all we know of what it shows.
    appearance = shop.split(happens).appearance if happens else ""
    return CaptionPair(appearance, happens)


def still_product(still: Still) -> Product:
    """Prepare a drawn image for delivery."""
    from fdream.data.writers import encode_image, save_image

    writer = Writer(
        encode=lambda encoding, record: encode_image(still.pixels, encoding, record),
        save=lambda path, encoding, record: save_image(path, still.pixels, encoding, record),
    )
    return Product(writer, still.record)


def clip_product(clip: Clip) -> Product:
    """Prepare a video for delivery."""
    from fdream.data.animations import gif_timing_note
    from fdream.data.writers import encode_video, save_video

    frames, fps = clip.frames, clip.fps

    def note(kind: str) -> str | None:
        height, width = frames.shape[1:3]
        if kind == "gif":
            return gif_timing_note(fps)
        if kind in ("mp4", "webm") and (height % 2 or width % 2):
            return f"{kind}: holds even sizes only; {width}x{height} gets one more row or column."
        return None

    writer = Writer(
        encode=lambda encoding, record: encode_video(frames, fps, encoding, record),
        save=lambda path, encoding, record: save_video(path, frames, fps, encoding, record),
    )
    return Product(writer, clip.record, note)


def _nobody_pipes() -> bool:
    """Whether standard input is a terminal, or closed."""
    return sys.stdin is None or sys.stdin.isatty()


def _open(named: str | None) -> BinaryIO:
    if named in (None, "-"):
        if sys.stdin is None:
            raise DataError(f"{STDIN}: closed; name a file, or pipe something in.")
        return sys.stdin.buffer
    try:
        return Path(str(named)).open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{named}: cannot be read ({reason}).") from error
