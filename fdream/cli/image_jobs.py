"""What to make of each image, from files or a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdream.cli.delivery import Name
from fdream.cli.generation_jobs import (
    Fault,
    Job,
    clip_product,
    open_bytes,
)
from fdream.cli.standard_input import PLACE, STDIN, nobody_pipes
from fdream.core.errors import DataError, UsageError
from fdream.core.limits import NUM
from fdream.core.seeds import draw_seed

if TYPE_CHECKING:
    from fdream.cli.generation_params import RepeatOptions
    from fdream.pipelines.generation import ClipSettings
    from fdream.pipelines.workshop import Workshop


@dataclass(frozen=True, slots=True)
class _Image:
    """An encoded image.

    Attributes:
        data: the bytes.
        label: which one, among the others.
        place: which one, in full.
        stem: of its file's name; empty where it came through a pipe.
    """

    data: bytes
    label: str
    place: str
    stem: str


def image_files(images: list[str] | None) -> list[str]:
    """Return the files to read; ``-`` is standard input, and so is no file at all.

    Raises:
        UsageError: standard input is a terminal.
    """
    if not images and nobody_pipes():
        raise UsageError(
            "i2v: no image; name a PNG, JPEG, WebP, BMP or GIF file, or pipe one in: "
            'fdream t2i "a corgi surfing" | fdream i2v -o out.mp4'
        )
    return images or [STDIN]


def image_jobs(
    files: list[str],
    asked: RepeatOptions,
    shop: Workshop,
    *,
    clip: ClipSettings,
    motion: str | None = None,
) -> Iterator[Job | Fault]:
    """Plan the videos of each image, reading no further than the image at hand.

    Args:
        files: of ``image_files``.
        asked: ``--seed`` and ``--num``.
        shop: the stages.
        clip: how it is animated; what it leaves open is taken from the image's record.
        motion: ``--motion``.
    """
    entries = (entry for file in files for entry in _read(file))
    for entry, position in zip(entries, count(step=asked.num), strict=False):
        if isinstance(entry, Fault):
            yield entry
            continue
        try:
            yield from _jobs_of_image(entry, position, asked, shop, clip, motion)
        except DataError as error:
            yield Fault(entry.label, str(error))


def _read(file: str) -> Iterator[_Image | Fault]:
    from fdream.data.images import split_images

    found = 0
    try:
        with closing(open_bytes(file)) as stream:
            if file != STDIN:
                for data in split_images(stream, file, trailing=True):
                    yield _Image(data, file, file, Path(file).stem)
                return
            for found, data in enumerate(split_images(stream, PLACE), start=1):
                yield _Image(data, f"image {found}", f"{PLACE}, image {found}", "")
    except DataError as error:
        # What cannot be cut into images ends its stream: nothing behind it can be found.
        yield Fault(file if file != STDIN else f"image {found + 1}", str(error))


def _jobs_of_image(
    image: _Image,
    position: int,
    asked: RepeatOptions,
    shop: Workshop,
    clip: ClipSettings,
    motion: str | None,
) -> Iterator[Job]:
    from fdream.pipelines import generation
    from fdream.pipelines.given import read_first_frame
    from fdream.pipelines.provenance import frames_hash

    given = read_first_frame(image.data, image.place, shop, motion=motion)
    told, captions = given.told, given.captions
    settings = given.settings(clip)
    known = told.seed if asked.seed is None else asked.seed
    seed = draw_seed() if known is None else known
    title = told.appearance or image.stem or captions.motion or "image"

    def job(number: int) -> Job:
        # The first video is the one of --num 1. t2i counts up to NUM, so the others come behind
        # every image of the same prompt, and share their noise with none.
        sample = generation.Sample(seed, (told.index or 0) + number * int(NUM.high))

        def recipe() -> dict[str, Any]:
            first = generation.first_frame(given.pixels, settings, shop)
            decides = generation.recipe(captions, sample, shop, clip=settings)
            return {**decides, "first_frame_sha256": frames_hash(first)}

        return Job(
            name=Name(title, seed, position + number, position + number),
            make=lambda: clip_product(
                generation.image_to_video(given.pixels, captions, sample, settings, shop)
            ),
            recipe=recipe,
            seeded=known is not None,
        )

    yield from (job(number) for number in range(asked.num))
