"""Which motion a track shows: a small network over time, trained on tracked real renderings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.judges.tracking import Track
from fdream.data.spriteworld.motions import MOTIONS

NAMES: Final = tuple(MOTIONS)
FRAMES: Final = 16
"""A track is read at this many moments, evenly over the clip."""
FEATURES: Final = 8
WEIGHTS: Final = Path(__file__).parent / "motion.safetensors"


class MotionJudge(nn.Module):
    """Convolutions over time, then every moment's features side by side.

    Args:
        width: channels of the convolutions.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.moments = nn.Sequential(
            nn.Conv1d(FEATURES, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width // 2, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Linear(width // 2 * FRAMES, 96), nn.ReLU(), nn.Linear(96, len(NAMES))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 14) for features (B, 8, 16)."""
        return self.head(rearrange(self.moments(features), "b c f -> b (c f)"))

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> MotionJudge:
        """Load a checkpoint (float16 on disk) to judge with."""
        judge = cls()
        judge.load_state_dict(load_file(path))
        return judge.eval()

    @torch.inference_mode()
    def name(self, tracks: list[Track]) -> list[str]:
        """Name the motion of each track."""
        features = torch.from_numpy(np.stack([to_features(found) for found in tracks]))
        return [NAMES[k] for k in self(features).argmax(-1).tolist()]


def to_features(found: Track) -> np.ndarray:
    """Describe a track by how place, size and angle differ from the first frame's.

    Returns:
        float32 (8, 16): displacement right and down, both again against the straight way from the
        first to the last moment, logarithm of the size, cosine and sine of the angle, and the first
        size. All are scaled to about one.
    """
    place = found.place - found.place[0]
    size = np.log(np.maximum(found.size, 1e-3) / max(found.size[0], 1e-3))
    turn = found.turn[:, 0] + 1j * found.turn[:, 1]
    turn = turn * np.conj(turn[0])
    along = np.linspace(0, 1, len(place))[:, None]
    rows = np.column_stack(
        [
            5 * place,
            15 * (place - along * place[-1]),
            2 * size,
            turn.real,
            turn.imag,
            np.full(len(place), 3 * found.size[0]),
        ]
    )
    then = np.linspace(0, len(place) - 1, FRAMES)
    read = [np.interp(then, np.arange(len(place)), row) for row in rows.T]
    return np.asarray(read, np.float32)
