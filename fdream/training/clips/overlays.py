"""Which latent cells of a clip count: none under the watermark that ``fdream prep`` found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fdream.data.shards.overlay import read_overlay
from fdream.training.clips.buckets import View
from fdream.training.clips.index import ClipRecord
from fdream.training.clips.pictures import fit

_SAME_ASPECT = 0.02


class OverlayMasks:
    """The overlays beside shards, seen on the latent grid.

    Args:
        shards: whose overlays are looked for; none where all cells are to count.
        downscale: pixels a latent cell covers along each side; kept as it is given.
    """

    def __init__(self, shards: Sequence[str], downscale: int) -> None:
        self.downscale = downscale
        self._masks: dict[Path, np.ndarray] = {}
        for folder in sorted({Path(shard).parent for shard in shards if "://" not in shard}):
            overlay = read_overlay(folder)
            if overlay is not None:
                self._masks[folder] = overlay.mask

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._masks)

    def covers(self, clip: ClipRecord) -> bool:
        """Whether a clip has the overlay of its folder: one of another shape was cut otherwise."""
        mask = self._masks.get(Path(clip.shard).parent)
        if mask is None:
            return False
        height, width = mask.shape
        return abs(width / height * clip.height / clip.width - 1) < _SAME_ASPECT

    def of(self, views: Sequence[View]) -> Tensor:
        """Return (B, 1, 1, h, w): 1 where a latent cell counts, 0 where it holds any overlay."""
        return torch.from_numpy(np.stack([self._cells(view) for view in views]))[:, None, None]

    def _cells(self, view: View) -> np.ndarray:
        bucket, cell = view.bucket, self.downscale
        height, width = bucket.height // cell, bucket.width // cell
        if not self.covers(view.clip):
            return np.ones((height, width), np.float32)
        mask = self._masks[Path(view.clip.shard).parent]
        covered = fit(mask.astype(np.uint8) * 255, bucket) > 0
        spoilt = covered.reshape(height, cell, width, cell).any(axis=(1, 3))
        return np.where(spoilt, np.float32(0), np.float32(1))
