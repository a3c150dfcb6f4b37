"""What to make of each prompt, from the arguments, a file or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from fdream.cli.delivery import Name
from fdream.cli.generation_jobs import (
    Fault,
    Job,
    Product,
    clip_product,
    open_bytes,
    still_product,
)
from fdream.cli.standard_input import PLACE, STDIN, nobody_pipes
from fdream.core.errors import UsageError
from fdream.core.seeds import draw_seed

if TYPE_CHECKING:
    from fdream.cli.generation_params import ListOptions, RepeatOptions
    from fdream.core.captions import CaptionPair
    from fdream.data.prompt_list import BadLine, PromptLine
    from fdream.pipelines.generation import ClipSettings, Sample, StillSettings
    from fdream.pipelines.workshop import Workshop


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Prompts, and what to call the place they come from.

    Attributes:
        place: empty for the arguments of the command.
        lines: read as they are asked for.
        doubt: what looks like a mistake, and may be none.
    """

    place: str
    lines: Iterator[PromptLine | BadLine]
    doubt: str = ""


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
    if arguments and arguments != [STDIN]:
        several = len(arguments) > 1
        texts = [
            clean_prompt(text, f"PROMPT {n}" if several else "PROMPT")
            for n, text in enumerate(arguments, start=1)
        ]
        lines = iter([PromptLine(n, text) for n, text in enumerate(texts, start=1)])
        return PromptSource("", lines, _forgotten_quotes(texts))
    named = arguments[0] if arguments else listed.prompts
    from_file = named not in (None, STDIN)
    if not from_file and named is None and nobody_pipes():
        raise UsageError(
            f'{command}: no prompt; say what to draw, such as fdream {command} "a corgi surfing", '
            "or pipe prompts in, one a line, or name a file with --prompts."
        )
    place = str(named) if from_file else PLACE
    return PromptSource(place, _read_closing(open_bytes(named), place, listed, read_prompts))


def _forgotten_quotes(texts: list[str]) -> str:
    if len(texts) < 2 or any(" " in text for text in texts):
        return ""
    return (
        f"{len(texts)} prompts of one word each; if they are meant as one, quote them: "
        f'"{" ".join(texts)}"'
    )


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

    if source.doubt:
        shop.reporter.warn(source.doubt)
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
        happens = motion if line.motion is None else line.motion
        captions = _captions_of(line, happens, shop)
        split = line.appearance is None or happens is None
        facts = {"id": line.id, "line": line.line if source.place else None}
        for number in range(num):
            name = Name(line.text, seed, position, number, counted=num > 1, id=line.id)
            sample = Sample(seed, number, line.text if split else "")
            yield _prompt_job(name, captions, sample, still, clip, shop, given is not None, facts)
            position += 1


def _captions_of(line: PromptLine, motion: str | None, shop: Workshop) -> Callable[[], CaptionPair]:
    """The halves a line gives, ``--motion``, and the splitter's for what is still missing."""

    @cache
    def captions() -> CaptionPair:
        from fdream.pipelines.given import prompt_captions

        return prompt_captions(line.text, shop, appearance=line.appearance, motion=motion)

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
