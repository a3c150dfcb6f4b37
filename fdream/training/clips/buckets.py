"""Buckets: clips of one shape and length, so that a batch of them is one tensor.

Which clip goes where, and which is left out and why, is told before training begins.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fdream.core.sizes import Size
from fdream.training.clips.index import ClipRecord


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """A shape and a length."""

    height: int
    width: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of a clip: ``frames`` of its bucket, from an offset on, at a stride."""

    clip: ClipRecord
    bucket: Bucket
    offset: int
    stride: int

    @property
    def span(self) -> int:
        """How many frames of the clip have to be decoded."""
        return self.offset + (self.bucket.frames - 1) * self.stride + 1

    def shows(self, number: int) -> bool:
        """Whether a frame of the clip is in it."""
        past = number - self.offset
        return 0 <= past < self.span - self.offset and past % self.stride == 0


@dataclass(frozen=True, slots=True)
class Rules:
    """How clips are sorted.

    Attributes:
        sizes: that batches may have.
        frames: likewise.
        stride: least and most frames from one to the next.
        max_upscale: a clip that would have to be enlarged more than this is left out.
    """

    sizes: tuple[Size, ...]
    frames: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    max_upscale: float = 2.0

    def bucket(self, clip: ClipRecord) -> Bucket | str:
        """Return a clip's bucket, or why it has none.

        It is the size whose aspect is nearest to the clip's, and the longest length that fits at
        the smallest stride.
        """
        if clip.trouble:
            return "cannot be read"
        aspect = clip.width / clip.height
        size = min(self.sizes, key=lambda s: (abs(np.log(s.width / s.height / aspect)), s))
        if max(size.height / clip.height, size.width / clip.width) > self.max_upscale:
            return f"smaller than 1/{self.max_upscale:g} of {size}, the nearest size"
        fitting = [f for f in self.frames if (f - 1) * self.stride[0] + 1 <= clip.frames]
        if not fitting:
            return f"shorter than {(min(self.frames) - 1) * self.stride[0] + 1} frames"
        return Bucket(size.height, size.width, max(fitting))

    def view(self, clip: ClipRecord, bucket: Bucket, chance: str) -> View:
        """Choose offset and stride by chance: of all strides that fit, then of all offsets."""
        least, most = self.stride
        fits = [s for s in range(least, most + 1) if (bucket.frames - 1) * s + 1 <= clip.frames]
        stride = fits[_below(f"{clip.sha256}/{chance}/stride", len(fits))]
        room = clip.frames - (bucket.frames - 1) * stride
        return View(clip, bucket, _below(f"{clip.sha256}/{chance}/offset", room), stride)


@dataclass(frozen=True)
class Sorted:
    """Clips in their buckets.

    Attributes:
        training: clips by bucket.
        held_out: never trained on.
        left_out: reasons, and how many clips have each.
        troubles: clips that cannot be read, by name, and why.
    """

    training: dict[Bucket, list[ClipRecord]]
    held_out: list[tuple[ClipRecord, Bucket]]
    left_out: Counter[str] = field(default_factory=Counter)
    troubles: dict[str, str] = field(default_factory=dict)

    @property
    def num_training(self) -> int:
        return sum(map(len, self.training.values()))


def sort_clips(clips: Sequence[ClipRecord], rules: Rules, validation: int) -> Sorted:
    """Sort clips into buckets, and hold some of them out.

    Held out are those whose content has the smallest hash: the same ones whatever else is in the
    shards. Neither a copy of one nor another clip of its source is trained on: the loss would
    flatter. (Where that would leave nothing to train on, copies alone are kept apart.)
    """
    placed: list[tuple[ClipRecord, Bucket]] = []
    left_out: Counter[str] = Counter()
    troubles: dict[str, str] = {}
    for clip in clips:
        found = rules.bucket(clip)
        if isinstance(found, Bucket):
            placed.append((clip, found))
        else:
            left_out[found] += 1
            if clip.trouble:
                troubles[clip.name] = clip.trouble
    hashes, apart = _apart([clip for clip, _ in placed], validation)
    training: dict[Bucket, list[ClipRecord]] = {}
    for clip, bucket in placed:
        if clip.sha256 not in apart:
            training.setdefault(bucket, []).append(clip)
        elif clip.sha256 not in hashes:
            left_out["of the source of a held-out clip"] += 1
    first = {clip.sha256: (clip, bucket) for clip, bucket in reversed(placed)}
    return Sorted(
        dict(sorted(training.items())), [first[one] for one in hashes], left_out, troubles
    )


def _apart(clips: Sequence[ClipRecord], validation: int) -> tuple[list[str], set[str]]:
    """Return the hashes of the clips to hold out, and of all that are not to be trained on."""
    sources: dict[str, set[str]] = {}
    for clip in clips:
        sources.setdefault(clip.source or clip.sha256, set()).add(clip.sha256)
    hashes: list[str] = []
    apart: set[str] = set()
    for found in sorted(sources.values(), key=min):
        if len(hashes) < validation:
            hashes += sorted(found - apart)[: validation - len(hashes)]
            apart |= found
    everything = {clip.sha256 for clip in clips}
    if apart == everything:
        hashes = sorted(everything)[:validation]
        apart = set(hashes)
    return hashes, apart


class BatchPlan:
    """Which items each batch holds: every item once an epoch, in an order of its own.

    A batch is of one bucket. Where a bucket does not divide, its last batch is filled up with items
    of the same epoch, so that nothing is dropped; that is the only repetition.

    Args:
        counts: items in each bucket.
        batch_size: of all processes together.
        seed: of the run.
    """

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int) -> None:
        self._counts = list(counts)
        self._size = batch_size
        self._seed = seed
        self._batches = [-(-count // batch_size) for count in counts]
        self.epoch_batches = sum(self._batches)
        self._order = lru_cache(maxsize=2)(self._order_of)
        self._items = lru_cache(maxsize=2 * max(1, len(self._counts)))(self._items_of)

    def batch(self, step: int) -> tuple[int, list[int]]:
        """Return the bucket of a step, and the items in it."""
        epoch, place = divmod(step, self.epoch_batches)
        number = int(self._order(epoch)[place])
        bucket = 0
        while number >= self._batches[bucket]:
            number -= self._batches[bucket]
            bucket += 1
        items = self._items(bucket, epoch)
        first = number * self._size
        rows = [int(items[k % len(items)]) for k in range(first, first + self._size)]
        return bucket, rows

    def _order_of(self, epoch: int) -> np.ndarray:
        return _shuffled(self.epoch_batches, f"{self._seed}/{epoch}")

    def _items_of(self, bucket: int, epoch: int) -> np.ndarray:
        return _shuffled(self._counts[bucket], f"{self._seed}/{epoch}/{bucket}")


def _shuffled(count: int, chance: str) -> np.ndarray:
    # RandomState's stream is frozen; that of newer generators may change between versions.
    seed = int.from_bytes(hashlib.sha256(chance.encode()).digest()[:4], "big")
    return np.random.RandomState(seed).permutation(count)


def _below(chance: str, bound: int) -> int:
    """A whole number below a bound, decided by a text."""
    return int.from_bytes(hashlib.sha256(chance.encode()).digest()[:8], "big") % bound
