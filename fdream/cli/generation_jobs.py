"""The work behind t2i, i2v and t2v: samples are made one by one and sent off as they finish."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from fdream.cli import render
from fdream.cli.delivery import Delivery, Writer
from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from fdream.core.report import Reporter
    from fdream.data.metadata import Hints
    from fdream.pipelines.generation import Clip, ClipSettings, Still, StillSettings
    from fdream.pipelines.workshop import Workshop
    from fdream.stages.spec import StageKind

_STDIN: Final = "standard input"
_KINDS: Final[dict[str, StageKind]] = {
    "prior": "prior",
    "generator": "generator",
    "splitter": "splitter",
}


@dataclass(frozen=True, slots=True)
class Product:
    """A finished sample on its way out.

    Attributes:
        writer: encodes it.
        record: how it was made.
        title: names its file where nobody else does.
        notes: what the chosen format does to it, by format.
    """

    writer: Writer
    record: dict[str, Any]
    title: str
    notes: Callable[[str], str | None] = lambda kind: None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A stage that was asked for, and its settings, for ``explain_run``."""

    name: str
    settings: ClipSettings | StillSettings | None = None


Job = Callable[[], Product]
"""Makes one sample when called."""


def produce(jobs: Iterator[Job], delivery: Delivery, reporter: Reporter) -> None:
    """Make and send every sample, in order.

    Whether there are several decides about names, so the next job is asked for before a result is
    sent, but after it is made: a program that feeds us works while we do.
    """
    upcoming = next(jobs, None)
    number = 0
    while upcoming is not None:
        product = upcoming()
        upcoming = next(jobs, None)
        note = product.notes(delivery.encoding.kind)
        if note is not None and number == 0:
            reporter.say(note)
        delivery.send(
            product.writer,
            product.record,
            title=product.title,
            number=number,
            several=number > 0 or upcoming is not None,
        )
        number += 1


def still_product(still: Still, title: str) -> Product:
    """Prepare a drawn image for delivery."""
    from fdream.data.writers import encode_image, save_image

    return Product(
        Writer(
            encode=lambda encoding, record: encode_image(still.pixels, encoding, record),
            save=lambda path, encoding, record: save_image(path, still.pixels, encoding, record),
        ),
        still.record,
        title,
    )


def clip_product(clip: Clip, title: str) -> Product:
    """Prepare a video for delivery."""
    from fdream.data.animations import gif_timing_note
    from fdream.data.writers import encode_video, save_video

    def note(kind: str) -> str | None:
        height, width = clip.frames.shape[1:3]
        if kind == "gif":
            return gif_timing_note(clip.fps)
        if kind in ("mp4", "webm") and (height % 2 or width % 2):
            return f"{kind}: holds even sizes only; {width}x{height} gets one more row or column."
        return None

    return Product(
        Writer(
            encode=lambda encoding, record: encode_video(clip.frames, clip.fps, encoding, record),
            save=lambda path, encoding, record: save_video(
                path, clip.frames, clip.fps, encoding, record
            ),
        ),
        clip.record,
        title,
        note,
    )


@dataclass(frozen=True, slots=True)
class Animation:
    """What ``i2v`` was asked to do with each image.

    Attributes:
        motion: ``--motion``; None leaves it to the image's record.
        seed: ``--seed``; likewise.
        num: videos of each image.
        settings: of the generator; its fps None leaves it to the record.
    """

    motion: str | None
    seed: int | None
    num: int
    settings: ClipSettings


def animations(image: str | None, asked: Animation, shop: Workshop) -> Iterator[Job]:
    """Yield a job for each video of each image, reading no further than the next image.

    Args:
        image: a file, or ``-`` or None for standard input.
        asked: what to do with each.
        shop: the stages.

    Raises:
        DataError: no image, or a broken one.
        UsageError: standard input is a terminal.
    """
    from fdream.core.seeds import draw_seed
    from fdream.data.images import split_images

    from_file = image not in (None, "-")
    place = str(image) if from_file else _STDIN
    drawn = draw_seed()
    with closing(_open_image(image)) as stream:
        encoded = split_images(stream, place, trailing=from_file)
        for position, data in enumerate(encoded):
            where = place if from_file else f"{place}, image {position + 1}"
            yield from _of_one_image(data, where, position, drawn, asked, shop)


def _of_one_image(
    data: bytes, where: str, position: int, drawn: int, asked: Animation, shop: Workshop
) -> Iterator[Job]:
    from dataclasses import replace

    from fdream.data.images import decode_image
    from fdream.data.metadata import hints, image_record
    from fdream.pipelines.generation import Sample, image_to_video

    pixels = decode_image(data, where, shop.reporter.warn)
    found = image_record(data)
    if found.reason:
        shop.reporter.warn(f"{where}: {found.reason}; it is animated without.")
    told = hints(found.record)
    captions = _captions(told, asked.motion, where, shop)
    # What was asked for stands above what the image says, and that above our own choice.
    settings = replace(asked.settings, fps=asked.settings.fps or told.fps)
    seed = next(s for s in (asked.seed, told.seed, drawn) if s is not None)
    first = position if told.index is None else told.index
    title = captions.appearance or captions.motion or Path(where).stem

    def job(sample: Sample) -> Job:
        return lambda: clip_product(image_to_video(pixels, captions, sample, settings, shop), title)

    for number in range(asked.num):
        yield job(Sample(seed, first * asked.num + number))


def _captions(told: Hints, motion: str | None, where: str, shop: Workshop) -> CaptionPair:
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


def _open_image(image: str | None) -> BinaryIO:
    if image is None or image == "-":
        if sys.stdin.isatty():
            raise UsageError(
                "i2v: no image; name a PNG, JPEG, WebP, BMP or GIF file, or pipe one in: "
                'fdream t2i "a corgi surfing" | fdream i2v -o out.mp4'
            )
        return sys.stdin.buffer
    try:
        return Path(image).open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{image}: cannot be read ({reason}).") from error


def explain_run(shop: Workshop, delivery: Delivery, asked: dict[str, Any]) -> None:
    """Print what a command would do: its stages, their settings, the device, the destination.

    Args:
        shop: the stages; they are looked up, and none is built.
        delivery: where results would go.
        asked: the command's own facts by name; settings are dataclasses.
    """
    from fdream.stages import registry

    rows: list[list[str]] = []
    for name, value in asked.items():
        if isinstance(value, Chosen):
            found = registry.spec(_KINDS[name], value.name)
            owner = registry.declaration(_KINDS[name], value.name).owner
            rows.append([name, f"{value.name} ({owner}): {found.summary}"])
            rows += [[f"{name}.{key}", text] for key, text in _settings_rows(value.settings)]
        else:
            rows.append([name, str(value)])
    facts = shop.device.describe()
    rows.append(["device", f"{facts['device']}, {facts['dtype']} ({facts['dtype_reason']})"])
    target = {"bytes": "standard output", "named": "a new file here"}
    kind = delivery.encoding.kind
    rows.append(["output", f"{target.get(delivery.place, delivery.path)} as {kind}"])
    rows.append(["metadata", "in the file" if delivery.metadata else "none"])
    render.table(["what", "how"], rows)


def _settings_rows(settings: Any) -> Iterator[tuple[str, str]]:
    if settings is None:
        return
    for key, value in asdict(settings).items():
        if isinstance(value, dict):
            yield from ((k, _shown(v)) for k, v in value.items())
        else:
            yield key, _shown(value)


def _shown(value: object) -> str:
    return "the stage's own" if value is None else str(value) or "none"
