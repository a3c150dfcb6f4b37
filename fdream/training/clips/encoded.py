"""Views of clips through frozen networks, computed once and kept in the store.

An entry holds some dozen views of one shard. Its key names the bytes of each clip, offset, stride,
size and the networks, so that nothing else can be read under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from fdream.core.errors import DataError
from fdream.core.report import Reporter
from fdream.data import store
from fdream.data.store import Arrays, Pack
from fdream.models.conditions import VideoSample
from fdream.stages.builtin.pixels import to_unit
from fdream.training.clips.buckets import View
from fdream.training.clips.dataset import ClipCoder
from fdream.training.clips.pictures import see
from fdream.training.objective import Share

_CHUNK: Final = 32
_REVISION: Final = 1
"""Of what is computed; another number makes other entries."""
_TROUBLES: Final = "troubles"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A view as it is kept.

    Attributes:
        view: of a clip.
        packs: by kind, the entry that holds it.
        index: its number in them.
    """

    view: View
    packs: Mapping[str, Pack]
    index: int

    def latents(self) -> Arrays:
        """``latents`` (C, F, h, w) float16, and ``first`` uint8 (H, W, 3)."""
        return self._read("latents", ["latents", "first"])

    def flow(self) -> np.ndarray:
        """Flow and visibility on the latent grid, float16 (3, F-1, h, w)."""
        return self._read("flow", ["flow"])["flow"]

    def features(self) -> dict[str, Any]:
        """Fields of a condition, without a batch axis; nested ones as they were."""
        names = self.packs["features"].facts["names"]
        found: dict[str, Any] = {}
        for name, array in self._read("features", names).items():
            outer, dot, inner = name.partition(".")
            value = torch.from_numpy(array)
            value = value.float() if value.is_floating_point() else value
            if dot:
                found.setdefault(outer, {})[inner] = value
            else:
                found[outer] = value
        return found

    def _read(self, kind: str, names: list[str]) -> Arrays:
        read = self.packs[kind].read([f"{self.index}/{name}" for name in names])
        return {name.partition("/")[2]: array for name, array in read.items()}


def encode_views(
    views: Sequence[View], coder: ClipCoder, share: Share, workers: int, reporter: Reporter
) -> tuple[list[Encoded], dict[str, str]]:
    """Compute what is not in the store yet, and return where each view is.

    Args:
        views: in the order of their shards, so that neighbours share an entry.
        coder: the networks.
        share: which entries this process begins with; in the end it waits for the others'.
        workers: threads that decode ahead.
        reporter: where progress goes.

    Returns:
        The views that could be read, in order, and those clips that could not, by name.
    """
    chunks = [list(chunk) for chunk in _chunks(views)]
    begin = len(chunks) * share.index // share.count
    found: dict[int, list[Encoded]] = {}
    troubles: dict[str, str] = {}
    with reporter.progress(len(views), "encoding clips") as bar:
        for number in [*range(begin, len(chunks)), *range(begin)]:
            chunk = chunks[number]
            found[number], failed = _chunk(chunk, coder, workers)
            troubles |= failed
            bar.update(len(chunk), unreadable=len(troubles))
    return [encoded for number in sorted(found) for encoded in found[number]], troubles


def sample_of(frames: np.ndarray, view: View) -> VideoSample:
    """Make the supervisor's sample of one view's frames, uint8 (F, H, W, 3)."""
    video = to_unit(frames).transpose(0, 1)[None]
    fps = torch.tensor([view.clip.fps / view.stride])
    return VideoSample(video, None, None, [view.clip.captions], fps)


def _chunks(views: Sequence[View]) -> Iterator[list[View]]:
    for _, alike in groupby(views, key=lambda view: (view.clip.shard, view.bucket)):
        members = list(alike)
        for first in range(0, len(members), _CHUNK):
            yield members[first : first + _CHUNK]


def _chunk(
    chunk: list[View], coder: ClipCoder, workers: int
) -> tuple[list[Encoded], dict[str, str]]:
    bucket = chunk[0].bucket
    seen = {
        "revision": _REVISION,
        # What decodes and what resizes.
        "libraries": [av.__version__, cv2.__version__],
        "size": [bucket.height, bucket.width, bucket.frames],
        "views": [[view.clip.sha256, view.offset, view.stride] for view in chunk],
    }
    captions = [list(map(str, (v.clip.appearance, v.clip.motion))) for v in chunk]
    keys: dict[str, dict[str, Any]] = {
        "latents": {**seen, "vae": coder.vae_key, "dtype": coder.dtype},
        "flow": {
            **seen,
            "teacher": coder.teacher,
            "downscale": coder.downscale,
        },
        "features": {
            **seen,
            "encoders": coder.features_key,
            "dtype": coder.dtype,
            "captions": captions,
        },
    }
    frames = _Frames(chunk, workers)
    makers: dict[str, Callable[[View, np.ndarray], Arrays]] = {
        "latents": lambda view, seen: {
            "latents": coder.encode(seen[None])[0].to(torch.float16).numpy(),
            "first": seen[0],
        },
        "flow": lambda view, seen: {
            "flow": coder.flow(sample_of(seen, view))[0].astype(np.float16)
        },
        "features": lambda view, seen: _flat(coder.features(seen[:1], [view.clip.captions])),
    }
    packs = {
        kind: store.keep(kind, key, partial(_compute, chunk, frames, makers[kind]))
        for kind, key in keys.items()
    }
    troubles: dict[int, str] = {}
    for pack in packs.values():
        troubles |= {int(number): reason for number, reason in pack.facts[_TROUBLES].items()}
    told = {chunk[k].clip.name: reason for k, reason in troubles.items()}
    whole = [k for k in range(len(chunk)) if k not in troubles]
    return [Encoded(chunk[k], packs, k) for k in whole], told


class _Frames:
    """The frames of a chunk's views, decoded when first asked for and once."""

    def __init__(self, chunk: list[View], workers: int) -> None:
        self._chunk = chunk
        self._workers = workers
        self._kept: list[np.ndarray | DataError] | None = None

    def all(self) -> list[np.ndarray | DataError]:
        """Frames uint8 (F, H, W, 3) of each view, or why there are none."""
        if self._kept is None:
            # A clip with several views is decoded once.
            by_clip: dict[str, list[int]] = {}
            for number, view in enumerate(self._chunk):
                by_clip.setdefault(view.clip.sha256, []).append(number)
            found: dict[int, np.ndarray | DataError] = {}
            with ThreadPoolExecutor(max(1, self._workers), "fdream-decode") as pool:
                for numbers, seen in zip(
                    by_clip.values(), pool.map(self._see, by_clip.values()), strict=True
                ):
                    found |= dict(zip(numbers, seen, strict=True))
            self._kept = [found[number] for number in range(len(self._chunk))]
        return self._kept

    def _see(self, numbers: list[int]) -> list[np.ndarray] | list[DataError]:
        views = [self._chunk[number] for number in numbers]
        # A shard that is gone ends the run; only what the clip itself lacks is a trouble of it.
        data = views[0].clip.read()
        try:
            return see(data, views)
        except DataError as error:
            return [error] * len(views)


def _compute(
    chunk: list[View], frames: _Frames, make: Callable[[View, np.ndarray], Arrays]
) -> tuple[Arrays, Mapping[str, Any]]:
    arrays: Arrays = {}
    troubles: dict[int, str] = {}
    names: list[str] = []
    for number, (view, seen) in enumerate(zip(chunk, frames.all(), strict=True)):
        if isinstance(seen, DataError):
            troubles[number] = str(seen)
            continue
        made = make(view, seen)
        names = sorted(made)
        arrays |= {f"{number}/{name}": array for name, array in made.items()}
    return arrays, {_TROUBLES: troubles, "names": names}


def _flat(fields: dict[str, Any]) -> Arrays:
    """Fields of a condition of one clip as arrays, half precision where they are fractions."""
    found: Arrays = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": part for key, part in _flat(value).items()}
        else:
            tensor: Tensor = value[0]
            exact = name == "time_ids" or not tensor.is_floating_point()
            found[name] = (tensor if exact else tensor.to(torch.float16)).numpy()
    return found
