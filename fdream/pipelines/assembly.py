"""A recipe becomes an objective: data, base and stages are joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from fdream.core.errors import UnconvertedError, WeightsError
from fdream.core.recipe import Recipe, StageChoice
from fdream.models.bundle import Bundle
from fdream.models.foreign_base import ForeignBase, is_pipeline
from fdream.stages import registry
from fdream.stages.builtin.bundles import open_bundle
from fdream.training.clips.dataset import ClipDataset
from fdream.training.clips.shards import ShardClips, ShardsOptions
from fdream.training.clips.sprites import SpriteClips
from fdream.training.objective import Objective
from fdream.training.objectives.autoencoder import AutoencoderObjective
from fdream.training.objectives.contrastive import ContrastiveObjective
from fdream.training.objectives.decoder import DecoderObjective
from fdream.training.objectives.image import ImageObjective
from fdream.training.objectives.video import VideoObjective
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.pictures import ClipSource, SpriteWorldOptions, StillSource

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.interfaces import FlowSupervisor

OBJECTIVES: Final[dict[str, type[Objective[Any]]]] = {
    "autoencoder": AutoencoderObjective,
    "contrastive": ContrastiveObjective,
    "image": ImageObjective,
    "decoder": DecoderObjective,
    "video": VideoObjective,
}


SOURCES: Final[dict[str, type[BaseModel]]] = {
    "spriteworld": SpriteWorldOptions,
    "shards": ShardsOptions,
}
"""Where data may come from, and what a recipe may say of each."""


def build_objective(recipe: Recipe, device: DeviceManager) -> Objective[Any]:
    """Join data, base and stages to the objective a recipe names.

    Raises:
        WeightsError: the base is not here, or is none.
        StageError: the supervisor cannot be built.
    """
    kind = OBJECTIVES[recipe.train.objective]
    options: Any = kind.Options.model_validate(recipe.objective)
    if kind is VideoObjective:
        return _video(recipe, options, device)
    data = SpriteWorldOptions.model_validate(recipe.data.options)
    stills = StillSource(data, recipe.data.validation, recipe.run.seed)
    if kind is AutoencoderObjective:
        return AutoencoderObjective(options, stills, device)
    base = open_base(recipe)
    if kind is ContrastiveObjective:
        return ContrastiveObjective(options, stills, base, device)
    if kind is DecoderObjective:
        return DecoderObjective(options, stills, base, device)
    return ImageObjective(options, stills, base, device)


def open_base(recipe: Recipe) -> Bundle:
    """Open what a recipe starts from: a bundle, a run, or a pipeline in diffusers form.

    Raises:
        UnconvertedError: it is a single file that a question may not convert.
        WeightsError: it is not here, or is none of these; says what to do.
    """
    init_from = recipe.train.init_from
    assert init_from is not None, "check_recipe asks for init_from"
    foreign = foreign_base(recipe)
    try:
        return open_bundle(init_from) if foreign is None else foreign.open()
    except UnconvertedError:
        raise
    except WeightsError as error:
        if foreign is not None:
            raise WeightsError(f"train.init_from: {error}") from error
        raise WeightsError(
            f"train.init_from: {error} If it is the run of an earlier stage, train that first: "
            "`fdream recipes list` tells the order."
        ) from error


def foreign_base(recipe: Recipe) -> ForeignBase | None:
    """Return the pipeline that a recipe stands on; None where it is a bundle of ours."""
    named = recipe.train.init_from
    if named is None or recipe.train.objective != "video":
        return None
    here = Path(named).expanduser()
    if not (is_pipeline(here) or (not here.exists() and _is_hub_id(named))):
        return None
    options = VideoOptions.model_validate(recipe.objective)
    return ForeignBase(named, options.image_encoder, options.motion_text_encoder, options.vae)


def _is_hub_id(named: str) -> bool:
    owner, slash, name = named.partition("/")
    # A run folder that is not there yet, such as runs/pocket-t2i, reads like one too.
    return bool(owner and slash and name) and "/" not in name and owner not in ("runs", ".", "..")


def _video(recipe: Recipe, options: VideoOptions, device: DeviceManager) -> VideoObjective:
    choice = recipe.stages.supervisor
    supervisor = registry.build("supervisor", choice.use, choice.options, device=device)
    return VideoObjective(
        options,
        _clips(recipe, options),
        open_base(recipe),
        supervisor,
        device,
        teacher=_teacher(choice, supervisor),
        gradient_checkpointing=recipe.train.gradient_checkpointing,
    )


def _clips(recipe: Recipe, options: VideoOptions) -> ClipDataset:
    if recipe.data.source == "shards":
        shards = ShardsOptions.model_validate(recipe.data.options)
        table = recipe.data
        return ShardClips(shards, table.validation, recipe.run.seed, table.workers)
    data = SpriteWorldOptions.model_validate(recipe.data.options)
    source = ClipSource(data, recipe.data.validation, recipe.run.seed)
    return SpriteClips(source, options.clips, options.frames)


def _teacher(choice: StageChoice, supervisor: FlowSupervisor) -> str:
    """Identify a teacher of flow: its class, and all that may change what it teaches."""
    found = registry.declaration("supervisor", choice.use)
    options = registry.options("supervisor", choice.use, choice.options)
    facts = options.model_dump(mode="json", exclude_defaults=True)
    if not found.builtin:
        facts["distribution"] = f"{found.distribution} {found.version}"
    name = type(supervisor).__name__
    return f"{name} {json.dumps(facts, sort_keys=True)}" if facts else name
