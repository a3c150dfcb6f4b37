"""I3D with random weights, called as StyleGAN-V's TorchScript file is called, and as slow.

Source: Carreira and Zisserman, arXiv 1705.07750, the inflated Inception v1 with 400 logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MIXED = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class Unit(nn.Module):
    """Convolution, normalisation, rectification."""

    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(before, after, size, stride, size // 2, bias=False)
        self.normal = nn.BatchNorm3d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.normal(self.convolution(x)))


class Mixed(nn.Module):
    """Four branches of an Inception block, side by side."""

    def __init__(self, before: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, three_in, three, five_in, five, pooled = widths
        self.one = Unit(before, one)
        self.three = nn.Sequential(Unit(before, three_in), Unit(three_in, three, 3))
        self.five = nn.Sequential(Unit(before, five_in), Unit(five_in, five, 3))
        self.pooled = nn.Sequential(nn.MaxPool3d(3, 1, 1), Unit(before, pooled))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class I3D(nn.Module):
    """Takes 0-255, (B, 3, F, H, W); gives (B, 400)."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [Unit(3, 64, 7, 2), _pool(1, 3, 2), Unit(64, 64)]
        parts += [Unit(64, 192, 3), _pool(1, 3, 2)]
        width = 192
        for index, widths in enumerate(_MIXED):
            if index == 2:
                parts.append(_pool(3, 3, 2))
            if index == 7:
                parts.append(nn.MaxPool3d(2, 2))
            parts.append(Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.body = nn.Sequential(*parts)
        self.logits = nn.Conv3d(width, 400, 1)

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        if resize:
            count, channels, frames, height, wide = x.shape
            flat = x.transpose(1, 2).reshape(count * frames, channels, height, wide)
            flat = F.interpolate(flat, [224, 224], mode="bilinear", align_corners=False)
            x = flat.reshape(count, frames, channels, 224, 224).transpose(1, 2)
        if rescale:
            x = 2 * x / 255 - 1
        seen = self.logits(F.avg_pool3d(self.body(x), [2, 7, 7], 1))
        return seen.flatten(2).mean(2)


def _pool(frames: int, size: int, stride: int) -> nn.MaxPool3d:
    time = 1 if frames == 1 else stride
    pads = (frames // 2, size // 2, size // 2)
    return nn.MaxPool3d((frames, size, size), (time, stride, stride), pads)


def script(seed: int = 0) -> torch.jit.ScriptModule:
    """Return the network as TorchScript."""
    torch.manual_seed(seed)
    return torch.jit.script(I3D().eval())
