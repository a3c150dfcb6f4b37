"""The videos that recipe ``eval/pocket`` measures: one for each clip of SpriteWorld.

They are kept without loss and made once: a killed run goes on with those that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fdream.core.cache import cache_folder
from fdream.core.eval_recipe import EvalRecipe
from fdream.data.encoding import Encoding
from fdream.data.metadata import dump_record
from fdream.data.writers import save_video
from fdream.evals.clips import Clip, ClipRule
from fdream.evals.sets import FileSource, Source, SpriteSource
from fdream.pipelines.generation import ClipSettings, StillSettings, image_to_video, text_to_video
from fdream.pipelines.results import Clip as MadeClip
from fdream.pipelines.results import Sample
from fdream.pipelines.workshop import Sampling, StageChoices, Workshop

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter


@dataclass(frozen=True, slots=True)
class MadeSource(FileSource):
    """A video that was made here and kept without loss.

    Attributes:
        reference: the clip whose first frame it began with, and whose flow it should therefore
            have; None where it was made from a caption alone.
    """

    reference: SpriteSource | None = None

    @property
    def knows_flow(self) -> bool:  # type: ignore[override]
        """Whether it began with a frame of a clip whose flow is known."""
        return self.reference is not None

    def read(self, rule: ClipRule) -> Clip:
        """Decode its window, with the reference's flow where the window is the whole."""
        # Not super(): a dataclass with slots is made twice, and super() would name the first.
        clip = replace(FileSource.read(self, rule), codec="raw")
        if self.reference is None:
            return clip
        wanted = self.reference.read(rule)
        if wanted.flow is None or wanted.frames.shape != clip.frames.shape:
            return clip
        return replace(clip, flow=wanted.flow, visible=wanted.visible)


def generated_sources(
    recipe: EvalRecipe, references: Sequence[Source], device: DeviceManager, reporter: Reporter
) -> list[Source]:
    """Make one video for each reference clip, from its caption or its first frame.

    Args:
        recipe: which stages, and how they sample.
        references: clips of SpriteWorld.
        device: where the stages work.
        reporter: who hears of progress.
    """
    table = recipe.generated
    prior, generator = recipe.stages.prior.use, recipe.stages.generator.use
    shop = Workshop(StageChoices(prior=prior, generator=generator), device, reporter)
    shop.check("prior", "generator")
    identity = {
        "generated": table.model_dump(mode="json"),
        "world": recipe.world.model_dump(mode="json"),
        "generator": shop.stage_record("generator", generator),
    }
    if not table.from_reference:
        identity["prior"] = shop.stage_record("prior", prior)
    text = json.dumps(identity, sort_keys=True, default=str)
    folder = cache_folder("eval") / f"generated-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    made: list[Source] = []
    with reporter.progress(len(references), "videos made") as bar:
        for reference in references:
            assert isinstance(reference, SpriteSource)
            path = folder / f"{reference.key}.apng"
            if not path.is_file():
                clip = _make(recipe, reference, shop)
                save_video(path, clip.frames, clip.fps, Encoding("apng"), dump_record(clip.record))
            began = reference if table.from_reference else None
            made.append(MadeSource(reference.key, path, reference.caption(), began))
            bar.update(1)
    return made


def _make(recipe: EvalRecipe, reference: SpriteSource, shop: Workshop) -> MadeClip:
    table, world = recipe.generated, recipe.world
    shown = reference.world.describe(reference.seed)
    sample = Sample(table.seed, int(reference.key))
    moving = ClipSettings(
        size=world.size, frames=world.frames, fps=world.fps, sampling=Sampling(steps=table.steps)
    )
    if table.from_reference:
        first = reference.world.still(reference.seed, 0).frame
        return image_to_video(first, shown.pair, sample, moving, shop)
    still = StillSettings(size=world.size, sampling=Sampling(steps=table.prior_steps))
    return text_to_video(shown.pair, sample, still, moving, shop)
