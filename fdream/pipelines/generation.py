"""The paper's thesis as code: a video is made from an image, and the image from text.

``text_to_video`` is nothing but ``image_to_video`` after ``text_to_image``, and the only thing that
passes between them is what a PNG in a pipe would carry: uint8 pixels, the captions, the seed and
the index. Therefore ``fdream t2i P | fdream i2v`` gives the very frames of ``fdream t2v P``.

One sample is made at a time: a batch changes the last bits of a CPU's sums, and a sample's frames
must not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fdream.core.captions import CaptionPair
from fdream.core.errors import UsageError
from fdream.core.seeds import noise_seed
from fdream.core.sizes import Size
from fdream.data.images import Resize, fit_image
from fdream.pipelines.provenance import captions_record, environment_record, frames_hash
from fdream.pipelines.workshop import Sampling, Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """Which sample of a run: its noise follows from these two numbers and the stage alone.

    Attributes:
        seed: of the run.
        index: of the sample in the run.
        prompt: what the captions were split from, for the record; empty where nothing was split.
    """

    seed: int
    index: int = 0
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class StillSettings:
    """How the first frame is drawn; None leaves a choice to the prior."""

    size: Size | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How it is animated; None leaves a choice to the generator."""

    size: Size | None = None
    resize: Resize = "crop"
    frames: int | None = None
    fps: float | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Still:
    """A drawn first frame.

    Attributes:
        pixels: uint8 (H, W, 3), RGB.
        captions: what it shows, and what is to happen to it.
        sample: which one it is.
        record: how it was made.
    """

    pixels: NDArray[np.uint8]
    captions: CaptionPair
    sample: Sample
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clip:
    """A video.

    Attributes:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second.
        captions: what it was made from.
        sample: which one it is.
        record: how it was made.
    """

    frames: NDArray[np.uint8]
    fps: float
    captions: CaptionPair
    sample: Sample
    record: dict[str, Any]


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
        UsageError: the generator cannot make that many frames.
    """
    _num_frames(clip, shop)  # before the image is drawn, not after
    first = text_to_image(captions, sample, still, shop)
    video = image_to_video(first.pixels, captions, sample, clip, shop)
    stages = {**first.record["stages"], **video.record["stages"]}
    options = {**first.record["options"], **video.record["options"]}
    return Clip(
        frames=video.frames,
        fps=video.fps,
        captions=captions,
        sample=sample,
        record={**video.record, "command": "t2v", "stages": stages, "options": options},
    )


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
    size = settings.size or shop.prior.default_size
    seed = noise_seed(sample.seed, "prior", sample.index)
    with shop.sample_options(settings.sampling, "image") as options:
        drawn = shop.prior.draw([captions.appearance], size, [seed], options)
    pixels = drawn[0]
    record = {
        "command": "t2i",
        **_identity(captions, sample),
        "stages": _stage_records(shop, "prior", sample, settings.sampling),
        "options": {"prior": {"size": str(size), **_sampling_record(settings.sampling)}},
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
    frames = _num_frames(settings, shop)
    fps = generator.default_fps if settings.fps is None else settings.fps
    size = settings.size or generator.default_size
    first = fit_image(image, size, settings.resize)
    seed = noise_seed(sample.seed, "generator", sample.index)
    with shop.sample_options(settings.sampling, "video") as options:
        made = generator.animate(first[None], [captions], frames, fps, [seed], options)
    video = made[0]
    chosen = {
        "size": str(size),
        "resize": settings.resize,
        "frames": frames,
        **_sampling_record(settings.sampling),
    }
    record = {
        "command": "i2v",
        **_identity(captions, sample),
        "fps": fps,
        "first_frame_sha256": frames_hash(first),
        "stages": _stage_records(shop, "generator", sample, settings.sampling),
        "options": {"generator": chosen},
        **environment_record(shop.device),
        "frames_sha256": frames_hash(video),
    }
    return Clip(video, fps, captions, sample, record)


def _num_frames(settings: ClipSettings, shop: Workshop) -> int:
    multiple = shop.generator.frame_multiple
    frames = shop.generator.default_frames if settings.frames is None else settings.frames
    if frames < 1 or frames % multiple:
        raise UsageError(
            f"--frames {frames}: {shop.choices.generator} makes a multiple of {multiple}; "
            f"try {max(1, round(frames / multiple)) * multiple}."
        )
    return frames


def _identity(captions: CaptionPair, sample: Sample) -> dict[str, Any]:
    prompt = {"prompt": sample.prompt} if sample.prompt else {}
    halves = captions_record(captions)
    return {**prompt, "captions": halves, "seed": sample.seed, "index": sample.index}


def _sampling_record(sampling: Sampling) -> dict[str, Any]:
    """What was asked for; what was not is in the stage's ``defaults``."""
    asked = {**asdict(sampling), "negative": sampling.negative or None}
    return {key: value for key, value in asked.items() if value is not None}


def _stage_records(
    shop: Workshop, role: Literal["prior", "generator"], sample: Sample, sampling: Sampling
) -> dict[str, Any]:
    records: dict[str, Any] = {role: shop.stage_record(role, getattr(shop.choices, role))}
    if sample.prompt:
        records["splitter"] = shop.stage_record("splitter", shop.choices.splitter)
    if sampling.scheduler is not None:
        records["scheduler"] = shop.stage_record("scheduler", sampling.scheduler)
    return records
