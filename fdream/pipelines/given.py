"""From what a user gives, a prompt or an image, to what the two steps take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fdream.core.captions import STILL, CaptionPair
from fdream.data.images import decode_image
from fdream.data.metadata import Hints, hints, image_record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.pipelines.generation import ClipSettings
    from fdream.pipelines.workshop import Workshop

_FOREIGN_GUIDANCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """An image that is to be animated, with what is believed of the record inside it.

    Attributes:
        pixels: uint8 (H, W, 3), RGB.
        captions: what it shows, and what is to happen to it.
        told: by its record; nothing where another program made it.
        foreign: whether the generator is one that knows pictures like its own alone, and this may
            be none.
    """

    pixels: NDArray[np.uint8]
    captions: CaptionPair
    told: Hints
    foreign: bool

    def settings(self, asked: ClipSettings) -> ClipSettings:
        """Fill in what was not asked for: from the image's record, and for a foreign picture.

        Ours: a small model holds still what it cannot draw, if its training has shown it such;
        guidance would drag the picture toward what the caption means in its own world. Who names
        something to steer away from asks for guidance.
        """
        fps = self.told.fps if asked.fps is None else asked.fps
        sampling = asked.sampling
        if self.foreign and sampling.guidance is None and not sampling.negative:
            sampling = replace(sampling, guidance=_FOREIGN_GUIDANCE)
        return replace(asked, fps=fps, sampling=sampling)


def prompt_captions(
    prompt: str, shop: Workshop, *, appearance: str | None = None, motion: str | None = None
) -> CaptionPair:
    """Return both halves of a prompt; a half that is given is not split off.

    Args:
        prompt: to be split; not asked for where both halves are given.
        shop: has the splitter.
        appearance: what is seen, if somebody said so.
        motion: what happens, likewise.
    """
    if appearance is not None and motion is not None:
        return CaptionPair(appearance, motion)
    split = shop.split(prompt)
    if motion is None:
        # Of a data set's clip that is the truth; who writes a prompt did not ask for stillness.
        motion = "" if split.motion == STILL else split.motion
    seen = split.appearance if appearance is None else appearance
    return replace(split, appearance=seen, motion=motion)


def read_first_frame(
    data: bytes, place: str, shop: Workshop, *, motion: str | None = None
) -> FirstFrame:
    """Decode an image and what fdream wrote into it, if it did.

    Args:
        data: one encoded image.
        place: what to call it in messages.
        shop: has the splitter, and hears of doubts.
        motion: what is to happen; None leaves it to the image's record.

    Raises:
        DataError: it is no image that can be read.
    """
    pixels = decode_image(data, place, shop.reporter.warn)
    found = image_record(data)
    if found.reason:
        shop.reporter.warn(f"{place}: {found.reason}; it is animated without.")
    return as_first_frame(pixels, hints(found.record), place, shop, motion=motion)


def as_first_frame(
    pixels: NDArray[np.uint8], told: Hints, place: str, shop: Workshop, *, motion: str | None = None
) -> FirstFrame:
    """Join a picture and its captions; what is asked for stands above what it says itself.

    Args:
        pixels: uint8 (H, W, 3), RGB.
        told: what its record says.
        place: what to call it in messages.
        shop: has the splitter and the generator, and hears of doubts.
        motion: what is to happen; None leaves it to ``told``.
    """
    happens = (told.motion or None) if motion is None else motion
    if happens is None:
        shop.warn_once(
            f'{place}: says nothing of motion; pass --motion "what happens". The model moves it as '
            "it pleases."
        )
        happens = ""
    if told.appearance is not None:
        return FirstFrame(pixels, CaptionPair(told.appearance, happens), told, foreign=False)
    foreign = not shop.generator.knows_photos()
    if foreign:
        shop.warn_once(
            f"{shop.choices.generator} is a small model, and knows pictures like its own alone: a "
            f"photo stands still at best, and has guidance {_FOREIGN_GUIDANCE:g} unless --guidance "
            "says another. --generator chooses a larger one (`fdream models` lists some)."
        )
    # A photo: the one text we have is all we know of what it shows.
    appearance = shop.split(happens).appearance if happens else ""
    return FirstFrame(pixels, CaptionPair(appearance, happens), told, foreign)
