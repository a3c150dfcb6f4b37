"""The commands as functions: ``from fdream import text_to_video``.

Each takes what its command takes, by the same names, and gives the very frames that it gives. What
a command writes, ``save`` writes: the record of how it was made is inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fdream.core import telemetry
from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import DataError, UsageError
from fdream.core.limits import SEED
from fdream.core.report import Reporter, SilentReporter
from fdream.core.seeds import draw_seed
from fdream.core.sizes import Size
from fdream.data.metadata import Hints
from fdream.data.prompts import clean_prompt
from fdream.pipelines import generation
from fdream.pipelines.fitting import fit_workshop
from fdream.pipelines.generation import ClipSettings, StillSettings
from fdream.pipelines.given import FirstFrame, as_first_frame, prompt_captions, read_first_frame
from fdream.pipelines.results import Clip, Sample, Still
from fdream.pipelines.workshop import Sampling, StageChoices, Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.data.images import Resize


class Stages(Workshop):
    """The stages of a run, loaded when first used and then kept.

    Args:
        prior: draws the first frame; ``NAME`` or ``NAME:ARG``, as ``--prior``.
        generator: sets it in motion.
        splitter: parts a prompt into what is seen and what happens.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        threads: CPU threads; None leaves torch's choice.
        offload: keep each network on the CPU while it is not used.
        fit: choose number format, offload and tiles so that the first call fits into memory; what
            ``dtype`` and ``offload`` ask for stays.
        reporter: who hears of progress and warnings; None: warnings go to the logger ``fdream``.

    Raises:
        UsageError: an unknown word.
        DeviceError: the device cannot be used here.
    """

    def __init__(
        self,
        prior: str = "pocket",
        generator: str = "pocket",
        splitter: str = "grammar",
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        offload: bool = False,
        fit: bool = False,
        reporter: Reporter | None = None,
    ) -> None:
        telemetry.switch_off()
        chosen = DeviceManager.choose(device, dtype, "model" if offload else "none", threads)
        choices = StageChoices(prior=prior, generator=generator, splitter=splitter)
        super().__init__(choices, chosen, SilentReporter() if reporter is None else reporter)
        self._fits = not fit

    def make_fit(
        self, still: StillSettings | None = None, clip: ClipSettings | None = None
    ) -> None:
        """Choose what ``fit`` leaves open, for the settings of the first call.

        Raises:
            DeviceError: nothing fits.
        """
        if not self._fits:
            fit_workshop(self, still=still, clip=clip)
            self._fits = True


def text_to_image(
    prompt: str | CaptionPair,
    *,
    seed: int | None = None,
    index: int = 0,
    size: str | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    scheduler: str | None = None,
    stages: Stages | None = None,
) -> Still:
    """Draw an image from text, as ``fdream t2i`` does.

    Args:
        prompt: what to show; or its two halves, and then nothing is split.
        seed: of its noise; None draws one, which ``sample.seed`` of the result tells.
        index: which sample of that seed; ``--num 3`` makes 0, 1 and 2.
        size: ``"WIDTHxHEIGHT"`` or (height, width); None leaves it to the prior, as below.
        steps: sampling steps.
        guidance: how strictly the caption is followed; 1 is off.
        negative: what to steer away from.
        scheduler: the sampler.
        stages: to be used again; None loads them for this call alone.

    Raises:
        FdreamError: what the command would say; the message is meant for people.
    """
    shop = Stages() if stages is None else stages
    sampling = _sampling(steps, guidance, negative, scheduler)
    captions, sample = _captions_and_sample(prompt, None, seed, index, shop)
    settings = StillSettings(_size(size), sampling)
    shop.make_fit(still=settings)
    return generation.text_to_image(captions, sample, settings, shop)


def image_to_video(
    image: Still | str | Path | NDArray[np.uint8],
    *,
    motion: str | None = None,
    seed: int | None = None,
    index: int | None = None,
    size: str | tuple[int, int] | None = None,
    resize: Resize = "crop",
    frames: int | None = None,
    fps: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    scheduler: str | None = None,
    stages: Stages | None = None,
) -> Clip:
    """Set an image in motion, as ``fdream i2v`` does.

    Args:
        image: of ``text_to_image``; a file; or uint8 (H, W, 3), RGB.
        motion: what happens; None leaves it to the image, if ``text_to_image`` drew it.
        seed: of its noise; None takes the image's, else draws one.
        index: which sample of that seed; None takes the image's, else 0.
        size: ``"WIDTHxHEIGHT"`` or (height, width); None leaves it to the generator, as below.
        resize: how an image of another shape fits: ``crop`` or ``pad``.
        frames: number of frames.
        fps: frames per second; None takes the image's before the generator's.
        steps: sampling steps.
        guidance: how strictly the captions are followed; 1 is off. None leaves it to the generator,
            but is 1 where a small model gets a picture without a record, which may be a photo.
        negative: what to steer away from.
        scheduler: the sampler.
        stages: to be used again; None loads them for this call alone.

    Raises:
        FdreamError: what the command would say; the message is meant for people.
    """
    shop = Stages() if stages is None else stages
    happens = None if motion is None else clean_prompt(motion, "motion", may_be_empty=True)
    given = _first_frame(image, happens, shop)
    told = given.told
    sampling = _sampling(steps, guidance, negative, scheduler)
    settings = given.settings(ClipSettings(_size(size), resize, frames, fps, sampling))
    sample = Sample(
        _seed(told.seed if seed is None else seed), (told.index or 0) if index is None else index
    )
    shop.make_fit(clip=settings)
    return generation.image_to_video(given.pixels, given.captions, sample, settings, shop)


def text_to_video(
    prompt: str | CaptionPair,
    *,
    motion: str | None = None,
    seed: int | None = None,
    index: int = 0,
    size: str | tuple[int, int] | None = None,
    resize: Resize = "crop",
    frames: int | None = None,
    fps: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    scheduler: str | None = None,
    prior_steps: int | None = None,
    prior_guidance: float | None = None,
    prior_negative: str = "",
    stages: Stages | None = None,
) -> Clip:
    """Make a video from text, as ``fdream t2v`` does: an image, and then its motion.

    Args:
        prompt: what to show; or its two halves, and then nothing is split.
        motion: what happens; None takes the prompt's half.
        seed: of its noise; None draws one, which ``sample.seed`` of the result tells.
        index: which sample of that seed; ``--num 3`` makes 0, 1 and 2.
        size: ``"WIDTHxHEIGHT"`` or (height, width); None leaves it to the stages, as below.
        resize: how the image fits where the two stages make different shapes.
        frames: number of frames.
        fps: frames per second.
        steps: sampling steps of the video.
        guidance: how strictly it follows the captions; 1 is off.
        negative: what it steers away from.
        scheduler: its sampler.
        prior_steps: sampling steps of the image.
        prior_guidance: how strictly that follows the caption.
        prior_negative: what that steers away from.
        stages: to be used again; None loads them for this call alone.

    Raises:
        FdreamError: what the command would say; the message is meant for people.
    """
    shop = Stages() if stages is None else stages
    still = StillSettings(_size(size), _sampling(prior_steps, prior_guidance, prior_negative, None))
    sampling = _sampling(steps, guidance, negative, scheduler)
    clip = ClipSettings(_size(size), resize, frames, fps, sampling)
    happens = None if motion is None else clean_prompt(motion, "motion", may_be_empty=True)
    captions, sample = _captions_and_sample(prompt, happens, seed, index, shop)
    shop.make_fit(still=still, clip=clip)
    return generation.text_to_video(captions, sample, still, clip, shop)


def _captions_and_sample(
    prompt: str | CaptionPair, motion: str | None, seed: int | None, index: int, shop: Workshop
) -> tuple[CaptionPair, Sample]:
    if isinstance(prompt, CaptionPair):
        seen = clean_prompt(prompt.appearance, "appearance")
        happens = clean_prompt(prompt.motion, "motion", may_be_empty=True)
        return CaptionPair(seen, happens if motion is None else motion), Sample(_seed(seed), index)
    text = clean_prompt(prompt, "prompt")
    return prompt_captions(text, shop, motion=motion), Sample(_seed(seed), index, text)


def _first_frame(
    image: Still | str | Path | NDArray[np.uint8], motion: str | None, shop: Workshop
) -> FirstFrame:
    if isinstance(image, Still):
        told = Hints(
            appearance=image.captions.appearance,
            motion=image.captions.motion,
            seed=image.sample.seed,
            index=image.sample.index,
        )
        return as_first_frame(image.pixels, told, "image", shop, motion=motion)
    if isinstance(image, (str, Path)):
        try:
            data = Path(image).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{image}: cannot be read ({reason}).") from error
        return read_first_frame(data, str(image), shop, motion=motion)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"image: {image.dtype} {image.shape}, where uint8 (height, width, 3) is needed, RGB."
        )
    return as_first_frame(np.ascontiguousarray(image), Hints(), "image", shop, motion=motion)


def _seed(seed: int | None) -> int:
    SEED.refuse_outside("seed", seed)
    return draw_seed() if seed is None else seed


def _size(size: str | tuple[int, int] | None) -> Size | None:
    if size is None or isinstance(size, Size):
        return size
    if isinstance(size, str):
        return Size.parse(size)
    if len(size) != 2:
        raise UsageError(f'size {size!r}: give (height, width), or "WIDTHxHEIGHT".')
    return Size(*size)


def _sampling(
    steps: int | None, guidance: float | None, negative: str, scheduler: str | None
) -> Sampling:
    steer_away = clean_prompt(negative, "negative", may_be_empty=True)
    return Sampling(steps, guidance, steer_away, scheduler)
