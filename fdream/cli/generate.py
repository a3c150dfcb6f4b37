"""``fdream t2i``, ``fdream i2v`` and ``fdream t2v``: what each makes of its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fdream.cli.delivery import Delivery
from fdream.cli.generation_jobs import (
    Animation,
    Chosen,
    Job,
    animations,
    clip_product,
    explain_run,
    produce,
    still_product,
)
from fdream.cli.generation_params import (
    ExplainOption,
    FormatOption,
    FpsOption,
    FramesOption,
    GeneratorOption,
    GuidanceOption,
    ImageArgument,
    JsonLinesOption,
    LoopOption,
    MotionOption,
    NegativeOption,
    NoMetadataOption,
    NumOption,
    PriorGuidanceOption,
    PriorNegativeOption,
    PriorOption,
    PriorStepsOption,
    PromptArgument,
    QualityOption,
    ResizeOption,
    ResultOption,
    SchedulerOption,
    SizeOption,
    SplitterOption,
    StepsOption,
    clip_settings,
    motion_caption,
    still_settings,
)
from fdream.cli.params import (
    DeviceOption,
    DtypeOption,
    OffloadOption,
    SeedOption,
    ThreadsOption,
    choose_device,
    reporter_of,
)
from fdream.core.captions import CaptionPair
from fdream.core.seeds import draw_seed

if TYPE_CHECKING:
    from fdream.pipelines.workshop import StageChoices, Workshop


def t2i(
    ctx: typer.Context,
    prompt: PromptArgument,
    prior: PriorOption = "pocket",
    scheduler: SchedulerOption = None,
    splitter: SplitterOption = "whole",
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = "",
    seed: SeedOption = None,
    size: SizeOption = None,
    num: NumOption = 1,
    output: ResultOption = None,
    format_: FormatOption = None,
    quality: QualityOption = None,
    json: JsonLinesOption = False,
    no_metadata: NoMetadataOption = False,
    explain: ExplainOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = False,
) -> None:
    """Draw an image from text: the first frame of a video.

    The PNG carries its captions and seed, so a pipe into i2v needs nothing repeated.

    \b
    Examples:
      fdream t2i "a corgi surfing" -o corgi.png
      fdream t2i "a corgi surfing" | fdream i2v -o out.mp4
      fdream t2i "a red car in a city" --num 4 --seed 1 -o cars/
    """
    from fdream.data.prompts import clean_prompt
    from fdream.pipelines.generation import Sample, text_to_image
    from fdream.pipelines.workshop import StageChoices

    text = clean_prompt(prompt, "PROMPT")
    settings = still_settings(size, steps, guidance, negative, scheduler)
    delivery = Delivery.decide(
        output, format_, moving=False, quality=quality, as_json=json, metadata=not no_metadata
    )
    shop = _workshop(
        ctx, StageChoices(prior=prior, splitter=splitter), device, dtype, threads, offload
    )
    if explain:
        asked = {
            "prompt": text,
            "seed": _or(seed, "drawn anew"),
            "num": num,
            "prior": Chosen(prior, settings),
        }
        explain_run(shop, delivery, {**asked, "splitter": Chosen(splitter)})
        return
    shop.check("prior", scheduler=scheduler)
    captions = shop.split(text)
    run_seed = draw_seed() if seed is None else seed

    def job(index: int) -> Job:
        sample = Sample(run_seed, index, text)
        return lambda: still_product(text_to_image(captions, sample, settings, shop), text)

    produce((job(index) for index in range(num)), delivery, shop.reporter)


def i2v(
    ctx: typer.Context,
    image: ImageArgument = None,
    motion: MotionOption = None,
    generator: GeneratorOption = "pocket",
    scheduler: SchedulerOption = None,
    splitter: SplitterOption = "whole",
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = "",
    seed: SeedOption = None,
    size: SizeOption = None,
    resize: ResizeOption = "crop",
    frames: FramesOption = None,
    fps: FpsOption = None,
    num: NumOption = 1,
    output: ResultOption = None,
    format_: FormatOption = None,
    quality: QualityOption = None,
    loop: LoopOption = None,
    json: JsonLinesOption = False,
    no_metadata: NoMetadataOption = False,
    explain: ExplainOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = False,
) -> None:
    """Set an image in motion.

    Captions, seed and fps are taken from an image that fdream drew, unless they are given here.
    Several PNG images on standard input give several videos.

    \b
    Examples:
      fdream i2v corgi.png -o out.mp4
      fdream i2v photo.jpg --motion "zooming in" --resize pad -o out.gif
      fdream t2i "a corgi surfing" --num 3 | fdream i2v -o out.mp4
    """
    from fdream.pipelines.workshop import StageChoices

    settings = clip_settings(size, resize, frames, fps, steps, guidance, negative, scheduler)
    delivery = _video_delivery(output, format_, quality, loop, json, no_metadata)
    asked = Animation(motion_caption(motion), seed, num, settings)
    shop = _workshop(
        ctx, StageChoices(generator=generator, splitter=splitter), device, dtype, threads, offload
    )
    if explain:
        facts = {
            "image": image or "standard input",
            "motion": _or(asked.motion, "the image's"),
            "seed": _or(seed, "the image's, else drawn"),
        }
        explain_run(shop, delivery, {**facts, "num": num, "generator": Chosen(generator, settings)})
        return
    shop.check("generator", "splitter", scheduler=scheduler)
    produce(animations(image, asked, shop), delivery, shop.reporter)


def t2v(
    ctx: typer.Context,
    prompt: PromptArgument,
    motion: MotionOption = None,
    prior: PriorOption = "pocket",
    generator: GeneratorOption = "pocket",
    scheduler: SchedulerOption = None,
    splitter: SplitterOption = "whole",
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = "",
    prior_steps: PriorStepsOption = None,
    prior_guidance: PriorGuidanceOption = None,
    prior_negative: PriorNegativeOption = "",
    seed: SeedOption = None,
    size: SizeOption = None,
    resize: ResizeOption = "crop",
    frames: FramesOption = None,
    fps: FpsOption = None,
    num: NumOption = 1,
    output: ResultOption = None,
    format_: FormatOption = None,
    quality: QualityOption = None,
    loop: LoopOption = None,
    json: JsonLinesOption = False,
    no_metadata: NoMetadataOption = False,
    explain: ExplainOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = False,
) -> None:
    """Make a video from text: t2i and then i2v, with the frames that the pipe would give.

    --steps, --guidance, --negative and --scheduler belong to the video; the image has its own
    --prior-steps, --prior-guidance and --prior-negative.

    \b
    Examples:
      fdream t2v "a corgi surfing" -o out.mp4
      fdream t2v "a corgi on a beach" --motion "the camera zooms in" --seed 1 -o out.gif
      fdream t2v "a rocket" --num 3 -o rockets/ --json
    """
    from fdream.data.prompts import clean_prompt
    from fdream.pipelines.generation import Sample, text_to_video
    from fdream.pipelines.workshop import StageChoices

    text, happens = clean_prompt(prompt, "PROMPT"), motion_caption(motion)
    still = still_settings(size, prior_steps, prior_guidance, prior_negative)
    clip = clip_settings(size, resize, frames, fps, steps, guidance, negative, scheduler)
    delivery = _video_delivery(output, format_, quality, loop, json, no_metadata)
    if num > 1:
        delivery.refuse_several()
    choices = StageChoices(prior=prior, generator=generator, splitter=splitter)
    shop = _workshop(ctx, choices, device, dtype, threads, offload)
    if explain:
        facts = {
            "prompt": text,
            "motion": _or(happens, "from the prompt"),
            "seed": _or(seed, "drawn anew"),
            "num": num,
        }
        stages = {"splitter": Chosen(splitter), "prior": Chosen(prior, still)}
        explain_run(shop, delivery, {**facts, **stages, "generator": Chosen(generator, clip)})
        return
    shop.check("prior", "generator", scheduler=scheduler)
    captions = shop.split(text)
    if happens is not None:
        captions = CaptionPair(captions.appearance, happens)
    run_seed = draw_seed() if seed is None else seed

    def job(index: int) -> Job:
        sample = Sample(run_seed, index, text)
        return lambda: clip_product(text_to_video(captions, sample, still, clip, shop), text)

    produce((job(index) for index in range(num)), delivery, shop.reporter)


def _video_delivery(
    output: str | None,
    format_: str | None,
    quality: int | None,
    loop: int | None,
    json: bool,
    no_metadata: bool,
) -> Delivery:
    return Delivery.decide(
        output,
        format_,
        moving=True,
        quality=quality,
        loop=loop,
        as_json=json,
        metadata=not no_metadata,
    )


def _workshop(
    ctx: typer.Context,
    choices: StageChoices,
    device: str | None,
    dtype: str | None,
    threads: int | None,
    offload: bool,
) -> Workshop:
    from fdream.pipelines.workshop import Workshop

    return Workshop(choices, choose_device(device, dtype, threads, offload), reporter_of(ctx))


def _or(value: object, otherwise: str) -> str:
    return otherwise if value is None else str(value) or "none"
