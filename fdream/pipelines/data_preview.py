"""What a recipe's shards look like to training: buckets, what is left out, and a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

from fdream.core.errors import RecipeError
from fdream.core.paths import atomic_write
from fdream.core.recipe import Recipe
from fdream.training.clips.buckets import Bucket
from fdream.training.clips.overlays import OverlayMasks
from fdream.training.clips.preview import preview_sheet
from fdream.training.clips.shards import ShardsOptions, survey

if TYPE_CHECKING:
    from fdream.core.report import Reporter

# Of Stable Diffusion's latents, and pocket's: no base is opened for a picture.
_CELL: Final = 8


@dataclass(frozen=True, slots=True)
class DataPreview:
    """What was found.

    Attributes:
        shards: how many.
        clips: in all of them.
        buckets: training clips in each.
        batches: of one epoch, in each.
        held_out: clips that are never trained on.
        left_out: how many clips, by reason.
        sheet: the picture.
    """

    shards: int
    clips: int
    buckets: dict[Bucket, int]
    batches: dict[Bucket, int]
    held_out: int
    left_out: Counter[str]
    sheet: Path


def preview_data(recipe: Recipe, reporter: Reporter) -> DataPreview:
    """Sort a recipe's clips, and draw some of each bucket into ``data-preview.png`` of the run.

    Raises:
        RecipeError: the recipe learns from no shards.
        DataError: there are none, or no clip in them serves.
    """
    table = recipe.data
    if table.source != "shards":
        raise RecipeError(
            f"data.source = {table.source!r}: --preview-data shows shards; clips of SpriteWorld "
            "are drawn on the spot, all of one size."
        )
    options = ShardsOptions.model_validate(table.options)
    found = survey(options, table.validation, reporter)
    masks = OverlayMasks(found.shards, _CELL) if options.overlay == "mask" else None
    sheet = Path(recipe.output_folder()) / "data-preview.png"
    with atomic_write(sheet) as aside:
        Image.fromarray(preview_sheet(found.sorted, options.rules, masks)).save(aside)
    buckets = {b: options.views * len(clips) for b, clips in found.sorted.training.items()}
    size = recipe.train.batch_size
    return DataPreview(
        shards=len(found.shards),
        clips=found.clips,
        buckets={b: len(clips) for b, clips in found.sorted.training.items()},
        batches={b: -(-count // size) for b, count in buckets.items()},
        held_out=len(found.sorted.held_out),
        left_out=found.sorted.left_out,
        sheet=sheet,
    )
