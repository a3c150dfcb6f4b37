"""More frames than the motion was trained on: attention in windows, and noise that comes again.

Source: FreeNoise (Qiu et al., arXiv 2310.15169), from memory of it: local windows of the trained
length whose answers are fused with weights that fall toward a window's ends, and noise of later
frames that is a local shuffle of the noise of earlier ones. Ours: every window begins with the
first frame of the video. The temporal layers never saw a clip that did not: theirs is the place
where the given image is, and it keeps the later windows from forgetting what moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Mixer = Callable[[Tensor], Tensor]
"""(B, C, f, S) frames of a window -> (B, f, S, C), for windows of any number of frames f."""


def windows(num_frames: int, length: int) -> list[list[int]]:
    """List the frames of each window: the first frame, then neighbours; half of them overlap.

    Args:
        num_frames: F, more than ``length``.
        length: frames of a window, at least 2.
    """
    own = length - 1
    stride = max(1, own // 2)
    starts = [*range(1, num_frames - own, stride), num_frames - own]
    return [[0, *range(start, start + own)] for start in starts]


def mix_in_windows(mix: Mixer, video: Tensor, length: int) -> Tensor:
    """Mix frames window by window, and fuse what windows say of the same frame.

    A window counts most for the frames in its middle; only the first one answers for frame 0.

    Args:
        mix: lets the frames of a window see each other.
        video: (B, C, F, S).
        length: frames of a window.

    Returns:
        (B, F, S, C).
    """
    num_frames = video.shape[2]
    if num_frames <= length:
        return mix(video)
    total: Tensor | None = None
    weight = torch.zeros(num_frames, 1, 1, device=video.device)
    for number, frames in enumerate(windows(num_frames, length)):
        index = torch.tensor(frames, device=video.device)
        share = torch.tensor(_shares(length, number), device=video.device)[:, None, None]
        part = mix(video[:, :, index])
        if total is None:
            total = part.new_zeros(part.shape[0], num_frames, *part.shape[2:])
        total.index_add_(1, index, part * share.to(part.dtype))
        weight.index_add_(0, index, share)
    assert total is not None, "a video has frames"
    return total / weight.to(total.dtype)


def _shares(length: int, number: int) -> list[float]:
    """How much a window counts for each of its frames; for one that it borrows, nothing."""
    own = length - 1
    return [float(number == 0), *(float(min(i + 1, own - i)) for i in range(own))]


def repeat_noise(noise: Tensor, length: int, seeds: Sequence[int]) -> Tensor:
    """Replace the noise of frames past a window by shuffled noise of earlier ones.

    Args:
        noise: (B, C, F, h, w), standard normal; its first ``length`` frames stay.
        length: frames of a window.
        seeds: one a sample, for the shuffles.

    Returns:
        (B, C, F, h, w); ``noise`` itself when F is at most ``length``.
    """
    num_frames = noise.shape[2]
    if num_frames <= length:
        return noise
    stride = max(1, (length - 1) // 2)
    samples = []
    for sample, seed in zip(noise, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        order = list(range(length))
        while len(order) < num_frames:
            source = order[len(order) - length : len(order) - length + stride]
            order += [source[k] for k in torch.randperm(len(source), generator=generator)]
        samples.append(sample[:, order[:num_frames]])
    return torch.stack(samples)
