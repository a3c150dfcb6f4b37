"""``fdream t2i``, ``fdream i2v`` and ``fdream t2v``: what each makes of its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from fdream.cli.explain import explain_run
from fdream.cli.generation_params import (
    ClipOptions,
    GeneratorOption,
    ImageArguments,
    ListOptions,
    MachineOptions,
    MotionOption,
    PriorOption,
    PriorSamplingOptions,
    PromptArguments,
    RepeatOptions,
    SamplingOptions,
    SizeOption,
    SplitterOption,
    motion_caption,
    picture_size,
)
from fdream.cli.image_jobs import image_files, image_jobs
from fdream.cli.option_groups import grouped
from fdream.cli.output_params import OutputOptions, VideoOutputOptions
from fdream.cli.params import FitOption
from fdream.cli.production import produce
from fdream.cli.prompt_jobs import PromptSource, prompt_jobs, prompt_source
from fdream.cli.sharing import EngineOption, is_for_ray, part_of, share_on_ray
from fdream.cli.standard_input import PLACE, STDIN

if TYPE_CHECKING:
    from fdream.pipelines.workshop import Workshop


@grouped
def t2i(
    ctx: typer.Context,
    prompt: PromptArguments = None,
    *,
    listed: ListOptions,
    prior: PriorOption = "pocket",
    splitter: SplitterOption = "grammar",
    sampling: SamplingOptions,
    size: SizeOption = None,
    repeat: RepeatOptions,
    out: OutputOptions,
    machine: MachineOptions,
    fit: FitOption = False,
    engine: EngineOption = "local",
) -> None:
    """Draw an image from text: the first frame of a video.

    The PNG carries its captions and seed, so a pipe into i2v needs nothing repeated. Several
    prompts give several images, on standard output one PNG after the other.

    \b
    Examples:
      fdream t2i "a corgi surfing" -o corgi.png
      fdream t2i "a corgi surfing" | fdream i2v -o out.mp4
      fdream t2i "a red car in a city" --num 4 --seed 1 -o cars/
      fdream t2i --prompts prompts.txt -o images/
    """
    from fdream.pipelines.generation import StillSettings
    from fdream.pipelines.workshop import StageChoices

    still = StillSettings(picture_size(size), sampling.sampling())
    delivery = out.delivery(moving=False)
    source = prompt_source(prompt, listed, "t2i")
    part = part_of(engine, delivery, source.place)
    shop = machine.workshop(ctx, StageChoices(prior=prior, splitter=splitter))
    shop.check("prior", "splitter", scheduler=sampling.scheduler)
    if out.explain:
        explain_run(shop, delivery, _asked("t2i", source, prompt, repeat), fit=fit, still=still)
        return
    if is_for_ray(engine):
        share_on_ray(ctx, shop.device, shop.reporter)
        return
    _fit(fit, shop, still=still)
    jobs = prompt_jobs(source, repeat, shop, still=still)
    produce(jobs, delivery, shop.reporter, resume=out.resume, part=part)


@grouped
def i2v(
    ctx: typer.Context,
    image: ImageArguments = None,
    *,
    motion: MotionOption = None,
    generator: GeneratorOption = "pocket",
    splitter: SplitterOption = "grammar",
    sampling: SamplingOptions,
    shape: ClipOptions,
    repeat: RepeatOptions,
    out: VideoOutputOptions,
    machine: MachineOptions,
    fit: FitOption = False,
    engine: EngineOption = "local",
) -> None:
    """Set an image in motion.

    Captions, seed and fps are taken from an image that fdream drew, unless they are given here.
    Several images, or several PNG files behind each other on standard input, give several videos.

    \b
    Examples:
      fdream i2v corgi.png -o out.mp4
      fdream i2v photo.jpg --motion "zooming in" --resize pad -o out.gif
      fdream t2i "a corgi surfing" --num 3 | fdream i2v -o out.mp4
    """
    from fdream.pipelines.workshop import StageChoices

    clip, happens = shape.settings(sampling), motion_caption(motion)
    delivery = out.video_delivery()
    files = image_files(image)
    part = part_of(engine, delivery, PLACE if STDIN in files else "")
    shop = machine.workshop(ctx, StageChoices(generator=generator, splitter=splitter))
    shop.check("generator", "splitter", scheduler=sampling.scheduler)
    if out.explain:
        asked = {
            "command": "i2v",
            "image": [PLACE if file == STDIN else file for file in files],
            "motion": happens,
        }
        explain_run(shop, delivery, {**asked, **_repeated(repeat)}, fit=fit, clip=clip)
        return
    if is_for_ray(engine):
        share_on_ray(ctx, shop.device, shop.reporter)
        return
    _fit(fit, shop, clip=clip)
    jobs = image_jobs(files, repeat, shop, clip=clip, motion=happens)
    produce(jobs, delivery, shop.reporter, resume=out.resume, part=part)


@grouped
def t2v(
    ctx: typer.Context,
    prompt: PromptArguments = None,
    *,
    listed: ListOptions,
    motion: MotionOption = None,
    prior: PriorOption = "pocket",
    generator: GeneratorOption = "pocket",
    splitter: SplitterOption = "grammar",
    sampling: SamplingOptions,
    prior_sampling: PriorSamplingOptions,
    shape: ClipOptions,
    repeat: RepeatOptions,
    out: VideoOutputOptions,
    machine: MachineOptions,
    fit: FitOption = False,
    engine: EngineOption = "local",
) -> None:
    """Make a video from text: t2i and then i2v, with the frames that the pipe would give.

    --steps, --guidance, --negative and --scheduler belong to the video; the image has its own
    --prior-steps, --prior-guidance and --prior-negative.

    \b
    Examples:
      fdream t2v "a corgi surfing" -o out.mp4
      fdream t2v "a corgi on a beach" --motion "the camera zooms in" --seed 1 -o out.gif
      fdream t2v "a rocket" --num 3 -o rockets/ --json
      cat prompts.txt | fdream t2v --seed 1 -o clips/ --resume
    """
    from fdream.pipelines.generation import StillSettings
    from fdream.pipelines.workshop import StageChoices

    clip, happens = shape.settings(sampling), motion_caption(motion)
    still = StillSettings(clip.size, prior_sampling.sampling())
    delivery = out.video_delivery()
    if repeat.num > 1:
        delivery.refuse_several()
    source = prompt_source(prompt, listed, "t2v")
    part = part_of(engine, delivery, source.place)
    choices = StageChoices(prior=prior, generator=generator, splitter=splitter)
    shop = machine.workshop(ctx, choices)
    shop.check("prior", "generator", "splitter", scheduler=sampling.scheduler)
    if out.explain:
        asked = {**_asked("t2v", source, prompt, repeat), "motion": happens}
        explain_run(shop, delivery, asked, fit=fit, still=still, clip=clip)
        return
    if is_for_ray(engine):
        share_on_ray(ctx, shop.device, shop.reporter)
        return
    _fit(fit, shop, still=still, clip=clip)
    jobs = prompt_jobs(source, repeat, shop, still=still, clip=clip, motion=happens)
    produce(jobs, delivery, shop.reporter, resume=out.resume, part=part)


def _fit(asked: bool, shop: Workshop, **settings: Any) -> None:
    """Fit the stages into the memory there is, where that is asked for."""
    if asked:
        from fdream.pipelines.fitting import fit_workshop

        fit_workshop(shop, **settings)


def _asked(
    command: str, source: PromptSource, prompts: list[str] | None, repeat: RepeatOptions
) -> dict[str, Any]:
    from_where = [source.place] if source.place else prompts
    return {"command": command, "prompt": from_where, **_repeated(repeat)}


def _repeated(repeat: RepeatOptions) -> dict[str, Any]:
    return {"seed": repeat.seed, "num": repeat.num}
