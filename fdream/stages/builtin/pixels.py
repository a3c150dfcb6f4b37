"""Between uint8 frames, channels last, and what networks see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from fdream.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_unit(frames: NDArray[np.uint8]) -> Tensor:
    """Bring pictures uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1], on the CPU."""
    pictures = torch.from_numpy(frames.copy()).float() / 127.5 - 1
    return rearrange(pictures, "b h w c -> b c h w")


def to_uint8(pictures: Tensor) -> NDArray[np.uint8]:
    """Round (B, 3, ..., H, W) in [-1, 1] to uint8 (B, ..., H, W, 3); what lies outside is cut.

    Rounded, not truncated: ``to_unit`` and back is the identity.
    """
    levels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    frames: NDArray[np.uint8] = levels.movedim(1, -1).contiguous().numpy()
    return frames


def refuse_size(name: str, height: int, width: int, multiple: int) -> None:
    """Check a picture size against what a latent grid can hold.

    Raises:
        UsageError: a side is no multiple of ``multiple``; the message gives the nearest size.
    """
    if height % multiple == 0 and width % multiple == 0:
        return
    nearest = [max(multiple, round(side / multiple) * multiple) for side in (width, height)]
    raise UsageError(
        f"--size {width}x{height}: {name} needs sides that are multiples of {multiple}; "
        f"try {nearest[0]}x{nearest[1]}."
    )
