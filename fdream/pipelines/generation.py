"""The paper's thesis as code: a video is made from an image, and the image from text.

``text_to_video`` is nothing but ``image_to_video`` after ``text_to_image``, and the only thing that
passes between them is what a PNG in a pipe would carry: uint8 pixels, the captions, the seed and
the index. Therefore ``fdream t2i P | fdream i2v`` gives the very frames of ``fdream t2v P``.

One sample is made at a time: a batch changes the last bits of a CPU's sums, and a sample's frames
must not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from fdream.core.captions import CaptionPair
from fdream.core.errors import UsageError
from fdream.core.limits import FPS, FRAMES, SIDE
from fdream.core.seeds import noise_seed
from fdream.core.sizes import Size
from fdream.data.images import Resize, fit_image
from fdream.pipelines.provenance import captions_record, environment_record, frames_hash
from fdream.pipelines.results import Clip, Sample, Still
from fdream.pipelines.workshop import Sampling, Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.stages.interfaces import TextToImagePrior, VideoGenerator

# By so much larger or smaller, a picture is not what a stage learnt: at 1.5 times its size pocket
# draws a thing twice, and at half of it none at all.
_FAR: Final = 1.4


@dataclass(frozen=True, slots=True)
class StillSettings:
    """How the first frame is drawn; None leaves a choice to the prior.

    Raises:
        UsageError: the size is out of range.
    """

    size: Size | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        _refuse_size(self.size)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How it is animated; None leaves a choice to the generator.

    Raises:
        UsageError: a number or a word is out of range.
    """

    size: Size | None = None
    resize: Resize = "crop"
    frames: int | None = None
    fps: float | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        _refuse_size(self.size)
        FRAMES.refuse_outside("frames", self.frames)
        FPS.refuse_outside("fps", self.fps)
        if self.resize not in get_args(Resize):
            raise UsageError(f"resize {self.resize!r}: choose crop or pad.")


def text_to_video(
    captions: CaptionPair, sample: Sample, still: StillSettings, clip: ClipSettings, shop: Workshop
) -> Clip:
    """Factorise: appearance first, motion second.

    Args:
        captions: what is seen and what happens.
        sample: which sample.
        still: settings of the first step.
        clip: settings of the second step.
        shop: the stages.

    Raises:
        StageError: the generator cannot take the scheduler.
        UsageError: the generator cannot make that many frames, or in that many steps.
        WeightsError: what a step loads is not to be had.
    """
    # Before the image is drawn, not after.
    shop.find_weights()
    _num_frames(clip, shop)
    shop.check_sampling("generator", clip.sampling)
    first = text_to_image(captions, sample, still, shop)
    if sample.prompt and not captions.motion:
        shop.warn_once(
            f"{sample.prompt!r} names no motion; name it there or with --motion "
            '"what happens". The model moves it as it pleases.',
            about="motion",
        )
    video = image_to_video(first.pixels, captions, sample, clip, shop)
    record = {**video.record, **recipe(captions, sample, shop, still=still, clip=clip)}
    return replace(video, record=record)


def text_to_image(
    captions: CaptionPair, sample: Sample, settings: StillSettings, shop: Workshop
) -> Still:
    """Draw the first frame from what is to be seen.

    Args:
        captions: ``appearance`` is drawn; ``motion`` travels along for the next step.
        sample: which sample.
        settings: size and sampling.
        shop: the stages.
    """
    shop.warn_unknown_words("prior", [captions.appearance])
    size = _still_size(settings, shop)
    seed = noise_seed(sample.seed, "prior", sample.index)
    with shop.sample_options(settings.sampling, "image") as options:
        drawn = shop.prior.draw([captions.appearance], size, [seed], options)
    pixels = drawn[0]
    record = {
        **recipe(captions, sample, shop, still=settings),
        **environment_record(shop.device),
        "frames_sha256": frames_hash(pixels),
    }
    return Still(pixels, captions, sample, record)


def image_to_video(
    image: NDArray[np.uint8],
    captions: CaptionPair,
    sample: Sample,
    settings: ClipSettings,
    shop: Workshop,
) -> Clip:
    """Animate an image.

    Args:
        image: uint8 (H, W, 3), RGB, of any size.
        captions: ``motion`` is made to happen; ``appearance`` says what the image shows.
        sample: which sample.
        settings: size, frames and sampling.
        shop: the stages.

    Raises:
        UsageError: the generator cannot make that many frames.
    """
    generator = shop.generator
    shop.warn_unknown_words("generator", [captions.appearance, captions.motion])
    frames, fps = _num_frames(settings, shop), _rate(settings, shop)
    first = first_frame(image, settings, shop)
    seed = noise_seed(sample.seed, "generator", sample.index)
    with shop.sample_options(settings.sampling, "video") as options:
        made = generator.animate(first[None], [captions], frames, fps, [seed], options)
    video = made[0]
    record = {
        **recipe(captions, sample, shop, clip=settings),
        "first_frame_sha256": frames_hash(first),
        **environment_record(shop.device),
        "frames_sha256": frames_hash(video),
    }
    return Clip(video, fps, captions, sample, record)


def first_frame(
    image: NDArray[np.uint8], settings: ClipSettings, shop: Workshop
) -> NDArray[np.uint8]:
    """Return the image in the size of the video, uint8 (H, W, 3)."""
    return fit_image(image, _clip_size(settings, shop), settings.resize)


def recipe(
    captions: CaptionPair,
    sample: Sample,
    shop: Workshop,
    *,
    still: StillSettings | None = None,
    clip: ClipSettings | None = None,
) -> dict[str, Any]:
    """Return the part of a record that decides how a sample comes out, without making it.

    Args:
        captions: what is seen and what happens.
        sample: which sample.
        shop: the stages; they are built, and none loads its networks.
        still: settings of the first step, if the command takes it.
        clip: settings of the second, likewise.
    """
    stages: dict[str, Any] = {}
    options: dict[str, Any] = {}
    rate: dict[str, Any] = {}
    if still is not None:
        size = _still_size(still, shop)
        stages["prior"] = shop.stage_record("prior", shop.choices.prior)
        options["prior"] = {"size": str(size), **_sampling_record(still.sampling)}
    if clip is not None:
        size = _clip_size(clip, shop)
        shape = {"size": str(size), "resize": clip.resize, "frames": _num_frames(clip, shop)}
        stages["generator"] = shop.stage_record("generator", shop.choices.generator)
        options["generator"] = {**shape, **_sampling_record(clip.sampling)}
        rate = {"fps": _rate(clip, shop)}
    if sample.prompt:
        stages["splitter"] = shop.stage_record("splitter", shop.choices.splitter)
    for settings in (still, clip):
        if settings is not None and settings.sampling.scheduler is not None:
            chosen = settings.sampling.scheduler
            stages["scheduler"] = shop.stage_record("scheduler", chosen)
    command = "i2v" if still is None else "t2i" if clip is None else "t2v"
    made_of = {"stages": stages, "options": options}
    return {"command": command, **_identity(captions, sample), **rate, **made_of}


def _rate(settings: ClipSettings, shop: Workshop) -> float:
    return float(shop.generator.default_fps if settings.fps is None else settings.fps)


def _refuse_size(size: Size | None) -> None:
    for side in size or ():
        SIDE.refuse_outside(f"a side of size {size}", side)


def _num_frames(settings: ClipSettings, shop: Workshop) -> int:
    """Return how many frames are made: what was asked for, or the nearest that can be."""
    name, best = shop.choices.generator, shop.generator.default_frames
    asked = best if settings.frames is None else settings.frames
    made = shop.generator.fit_frames(asked)
    if made != asked:
        shop.warn_once(f"{name} cannot make {asked} frames; it makes {made}.")
    if made >= _FAR * best:
        shop.warn_once(f"{name} works best up to {best} frames; expect less of {made}.")
    return made


def _still_size(settings: StillSettings, shop: Workshop) -> Size:
    """Return the size of the first frame: what was asked for, or the nearest that can be."""
    return _size(settings.size, shop.prior, "draw", shop.choices.prior, shop)


def _clip_size(settings: ClipSettings, shop: Workshop) -> Size:
    """Return the size of the video, likewise."""
    return _size(settings.size, shop.generator, "animate", shop.choices.generator, shop)


def _size(
    wanted: Size | None,
    stage: TextToImagePrior | VideoGenerator,
    verb: str,
    name: str,
    shop: Workshop,
) -> Size:
    best = stage.default_size
    asked = wanted or best
    made = stage.fit_size(asked)
    if made != asked:
        shop.warn_once(f"{name} cannot {verb} {asked}; it takes {made}.")
    if any(max(sides) >= _FAR * min(sides) for sides in zip(made, best, strict=True)):
        shop.warn_once(f"{name} works best at {best}; expect less of {made}.")
    return made


def _identity(captions: CaptionPair, sample: Sample) -> dict[str, Any]:
    prompt = {"prompt": sample.prompt} if sample.prompt else {}
    halves = captions_record(captions)
    return {**prompt, "captions": halves, "seed": sample.seed, "index": sample.index}


def _sampling_record(sampling: Sampling) -> dict[str, Any]:
    """What was asked for; what was not is in the stage's ``defaults``."""
    asked = {**asdict(sampling), "negative": sampling.negative or None}
    return {key: value for key, value in asked.items() if value is not None}
