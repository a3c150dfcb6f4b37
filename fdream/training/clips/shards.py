"""Clips from shards: anybody's videos, in buckets, through a store or fresh for every step."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fdream.core.errors import DataError, RecipeError
from fdream.core.recipe import SizeField
from fdream.core.report import Reporter
from fdream.data.shards.reader import find_shards
from fdream.models.conditions import FlowTarget
from fdream.stages.builtin.pixels import to_unit
from fdream.training.clips.buckets import BatchPlan, Bucket, Rules, Sorted, View, sort_clips
from fdream.training.clips.dataset import ClipCoder, ClipDataset, HeldOut, Views
from fdream.training.clips.encoded import Encoded, encode_views, sample_of
from fdream.training.clips.index import ClipRecord, index_shards
from fdream.training.clips.overlays import OverlayMasks
from fdream.training.clips.pictures import see
from fdream.training.objective import Share

_PART = 4


class ShardsOptions(BaseModel):
    """The ``[data.options]`` of ``source = "shards"``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: str | tuple[str, ...]
    """A folder, a tar, a pattern, an address, or several of them."""
    sizes: Annotated[tuple[SizeField, ...], Field(min_length=1)]
    """Sizes of batches, WIDTHxHEIGHT; each clip goes to the one nearest to its shape."""
    frames: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (16,)
    """Lengths of batches; each clip goes to the longest it fills."""
    stride: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)
    """Least and most frames from one to the next; drawn for each view, and told to the network."""
    views: Annotated[int, Field(ge=1)] = 1
    """Offsets and strides of each clip, drawn once, that are encoded and kept."""
    cache: bool = True
    """Keep latents, flow and features; else each step decodes and encodes afresh."""
    max_upscale: Annotated[float, Field(ge=1)] = 2.0
    """Clips that would have to be enlarged more than this are left out."""
    max_clips: Annotated[int, Field(ge=2)] | None = None
    """Take so many clips and no more, held-out ones included; all when not set."""
    overlay: Literal["mask", "ignore"] = "mask"
    """What is done about a watermark that ``fdream prep`` found: left out of the losses, or not."""

    @property
    def rules(self) -> Rules:
        return Rules(self.sizes, self.frames, self.stride, self.max_upscale)

    @property
    def places(self) -> tuple[str, ...]:
        return (self.shards,) if isinstance(self.shards, str) else self.shards


@dataclass(frozen=True)
class Survey:
    """What shards hold for a recipe.

    Attributes:
        shards: where they are.
        clips: how many are in them.
        sorted: clips by bucket.
    """

    shards: list[str]
    clips: int
    sorted: Sorted


def survey(options: ShardsOptions, validation: int, reporter: Reporter) -> Survey:
    """Look into shards and sort their clips, decoding nothing.

    Raises:
        DataError: there are no shards, or no clip in them serves.
    """
    try:
        shards = [shard for place in options.places for shard in find_shards(place)]
    except DataError as error:
        raise DataError(
            f"data.options.shards: {error} `fdream prep CLIPS -o FOLDER` makes them; then say "
            "-s data.options.shards=FOLDER."
        ) from error
    clips = index_shards(shards, reporter)
    if options.max_clips is not None:
        # By their content, so that another order of shards means nothing.
        clips = sorted(clips, key=lambda clip: clip.sha256)[: options.max_clips]
    found = sort_clips(clips, options.rules, validation)
    if not found.num_training:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.left_out.most_common())
        raise DataError(
            f"data.options.shards = {options.shards!r}: of {len(clips)} clips none is left to "
            f"train on ({len(found.held_out)} held out by data.validation = {validation}"
            + (f"; {reasons}" if reasons else "")
            + "); "
            + (
                "lower data.validation."
                if found.held_out
                else "choose other data.options.sizes or frames, or longer and larger clips."
            )
        )
    return Survey(shards, len(clips), found)


class ShardClips(ClipDataset):
    """Shards for the video objective.

    Args:
        options: the recipe's ``[data.options]``.
        validation: how many clips are held out.
        seed: of the run.
        workers: threads that decode while the store is filled.
    """

    def __init__(self, options: ShardsOptions, validation: int, seed: int, workers: int) -> None:
        self.options = options
        self._validation = validation
        self._seed = seed
        self._workers = workers
        self._troubles: dict[str, str] = {}
        self._lock = threading.Lock()
        self._plan: BatchPlan | None = None
        self._encoded: dict[Bucket, list[Encoded]] = {}
        self._clips: dict[Bucket, list[ClipRecord]] = {}

    def prepare(self, coder: ClipCoder, cache: Path, share: Share, reporter: Reporter) -> None:
        """Look into the shards, and encode what the store lacks."""
        del cache
        self._coder = coder
        self._check_sizes(coder.downscale)
        found = survey(self.options, self._validation, reporter)
        self._troubles |= found.sorted.troubles
        masked = found.shards if self.options.overlay == "mask" else []
        self._masks = OverlayMasks(masked, coder.downscale)
        if self.options.cache:
            self._encode(found.sorted.training, share, reporter)
        else:
            self._clips = found.sorted.training
        self._held_out = self._encode_held_out(found.sorted.held_out, share, reporter)
        if not self._held_out or not (self._encoded or self._clips):
            raise DataError(
                f"data.options.shards = {self.options.shards!r}: no clip to train on or to hold "
                f"out can be decoded; the first: {next(iter(self._troubles.values()))}"
            )
        if self._troubles:
            reporter.warn(f"{len(self._troubles)} clips cannot be read; see quarantine.jsonl.")
        self._tell_of_overlays(found.sorted, reporter)

    def draw(self, step: int, batch_size: int, share: Share, generator: torch.Generator) -> Views:
        """Take the clips that the plan has for a step."""
        del generator  # what is drawn depends on the plan, which is a function of the step
        number, rows = self._planned(batch_size).batch(step)
        if self.options.cache:
            items = list(self._encoded.values())[number]
            return self._kept([items[row] for row in share.of(rows)])
        bucket, clips = list(self._clips.items())[number]
        mine = [clips[row] for row in share.of(rows)]
        return self._fresh([self.options.rules.view(c, bucket, f"step/{step}") for c in mine])

    def held_out(self) -> list[HeldOut]:
        """The held-out clips, a few of one bucket together."""
        return self._held_out

    def information(self) -> Mapping[str, Any]:
        """Return the sizes and lengths that were trained."""
        sizes = [f"{size.width}x{size.height}" for size in self.options.sizes]
        return {"sizes": sizes, "frames": list(self.options.frames)}

    def troubles(self) -> dict[str, str]:
        """Return the clips that could not be read so far, and why."""
        with self._lock:
            return dict(self._troubles)

    def _check_sizes(self, downscale: int) -> None:
        for size in self.options.sizes:
            if size.height % downscale or size.width % downscale:
                nearest = size.rounded(downscale)
                raise RecipeError(
                    f"data.options.sizes: {size.width}x{size.height}: this base's latents take "
                    f"multiples of {downscale}; try {nearest.width}x{nearest.height}."
                )

    def _encode(
        self, training: dict[Bucket, list[ClipRecord]], share: Share, reporter: Reporter
    ) -> None:
        views = [
            self.options.rules.view(clip, bucket, f"view/{number}")
            for bucket, clips in training.items()
            for clip in clips
            for number in range(self.options.views)
        ]
        views.sort(key=lambda view: (view.clip.shard, view.bucket))
        encoded, troubles = encode_views(views, self._coder, share, self._workers, reporter)
        self._troubles |= troubles
        for bucket in training:
            alike = [one for one in encoded if one.view.bucket == bucket]
            if alike:
                self._encoded[bucket] = alike

    def _planned(self, batch_size: int) -> BatchPlan:
        with self._lock:
            if self._plan is None:
                items: dict[Bucket, Any] = self._encoded if self.options.cache else self._clips
                self._plan = BatchPlan(
                    [len(part) for part in items.values()], batch_size, self._seed
                )
            return self._plan

    def _kept(self, items: list[Encoded]) -> Views:
        arrays = [item.latents() for item in items]
        flow = torch.from_numpy(np.stack([item.flow() for item in items])).float()
        views = [item.view for item in items]
        return Views(
            names=[view.clip.name for view in views],
            pairs=[view.clip.captions for view in views],
            fps=_rates(views),
            first_frame=to_unit(np.stack([a["first"] for a in arrays])),
            target=FlowTarget(flow[:, :2], flow[:, 2:]),
            latents=torch.from_numpy(np.stack([a["latents"] for a in arrays])).float(),
            features=_stacked([item.features() for item in items]),
            counts=self._masks.of(views) if self._masks else None,
        )

    def _fresh(self, views: list[View]) -> Views:
        frames, flows, read = [], [], []
        for view in views:
            bucket = view.bucket
            data = view.clip.read()  # a shard that is gone ends the run
            try:
                seen = see(data, [view])[0]
                read.append(True)
            except DataError as error:
                with self._lock:
                    self._troubles[view.clip.name] = str(error)
                # It stays in its place and counts for nothing: no other clip takes it.
                seen = np.zeros((bucket.frames, bucket.height, bucket.width, 3), np.uint8)
                read.append(False)
            frames.append(seen)
            flows.append(self._coder.flow(sample_of(seen, view))[0])
        flow = torch.from_numpy(np.stack(flows)).float()
        video = torch.stack([to_unit(seen).transpose(0, 1) for seen in frames])
        return Views(
            names=[view.clip.name for view in views],
            pairs=[view.clip.captions for view in views],
            fps=_rates(views),
            first_frame=video[:, :, 0],
            target=FlowTarget(flow[:, :2], flow[:, 2:]),
            frames=video,
            # Always told: of several processes none may go without what the others have.
            counts=self._masks.of(views) * torch.tensor(read)[:, None, None, None, None],
        )

    def _encode_held_out(
        self, clips: list[tuple[ClipRecord, Bucket]], share: Share, reporter: Reporter
    ) -> list[HeldOut]:
        views = [self.options.rules.view(clip, bucket, "held-out") for clip, bucket in clips]
        views.sort(key=lambda view: (view.clip.shard, view.bucket))
        encoded, troubles = encode_views(views, self._coder, share, self._workers, reporter)
        self._troubles |= troubles
        parts: list[HeldOut] = []
        for bucket in sorted({one.view.bucket for one in encoded}):
            alike = [one for one in encoded if one.view.bucket == bucket]
            for first in range(0, len(alike), _PART):
                part = alike[first : first + _PART]
                parts.append(HeldOut(self._kept(part), partial(_shown, part)))
        return parts

    def _tell_of_overlays(self, found: Sorted, reporter: Reporter) -> None:
        if self._masks:
            clips = [clip for part in found.training.values() for clip in part]
            count = sum(map(self._masks.covers, clips))
            reporter.say(f"the overlay of {count} of {len(clips)} clips is left out of the losses")


def _shown(part: list[Encoded]) -> np.ndarray:
    """Decode held-out clips again, for the few that are looked at."""
    return np.stack([see(one.view.clip.read(), [one.view])[0] for one in part])


def _rates(views: list[View]) -> Tensor:
    return torch.tensor([view.clip.fps / view.stride for view in views])


def _stacked(fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the fields of single clips along a new batch axis."""
    return {
        name: _stacked([one[name] for one in fields])
        if isinstance(value, dict)
        else torch.stack([one[name] for one in fields])
        for name, value in fields[0].items()
    }
