"""The first frame leaves where the picture leaves: what is seen again answers with it, moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fdream.models.flow_ops import warp
from fdream.models.zero_init import zeroed

if TYPE_CHECKING:
    from fdream.models.noise_schedule import NoiseSchedule

_LEAST_SIGMA = 0.25
"""Below this noise a difference of clean samples is no longer blown up to one of raw outputs: the
base's own answer is good there, and the quotient would drown the loss."""


class FirstFrameRecall(nn.Module):
    """Moves the base's raw output toward the one that stands for the first frame, place by place.

    Each cell of each frame says where in the first frame it was (a displacement) and how far that
    is to be believed (a gate): its clean estimate x0 becomes ``x0 + gate * (recalled - x0)``.

    Args:
        latent_channels: C of the latents.
        channels: C0, channels before the base's last convolution.
        level_width: E of the noise level embedding.
        cell: pixels a latent cell covers along each side.
        width: channels of the hidden layers.

    Ours: the paper says nothing of it. Details of the first frame otherwise have to pass the whole
    frozen network and its last convolution in every frame, and a small base loses them on the way.
    Warping happens on pixels, since latents of a moved picture are not moved latents.
    """

    code: Tensor

    def __init__(
        self,
        latent_channels: int,
        channels: int,
        level_width: int,
        cell: int,
        width: int = 48,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.conv_in = nn.Conv2d(channels + latent_channels + 1, width, 3, padding=1)
        self.level = nn.Linear(level_width, width)
        self.move_mid = nn.Conv2d(width, width, 3, padding=1)
        self.move_out = nn.Conv2d(width, 2, 3, padding=1)
        # Not zero, which would be a second silent layer on the way to the gate; but about still.
        nn.init.normal_(self.move_out.weight, std=1e-3)
        assert self.move_out.bias is not None
        nn.init.zeros_(self.move_out.bias)
        self.conv_seen = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.conv_mid = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(width, 1, 3, padding=1))
        self.register_buffer("code", torch.zeros(latent_channels, 3, cell, cell))

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` has been called; before it, places are recalled where they are."""
        return bool((self.code != 0).any())

    @torch.no_grad()
    def fit(self, pictures: Tensor, latents: Tensor) -> None:
        """Learn in closed form how latents change when pixels do: the best linear patch code.

        Args:
            pictures: (N, 3, H, W) in [-1, 1].
            latents: (N, C, H / cell, W / cell) of them.

        Ours: exact for a linear code such as pocket's. For another one it is a first-order guess,
        and only the change that moving makes goes through it.
        """
        patches = rearrange(F.pixel_unshuffle(pictures, self.cell), "n c h w -> (n h w) c")
        patches = F.pad(patches, (0, 1), value=1.0).double().cpu()
        wanted = rearrange(latents, "n c h w -> (n h w) c").double().cpu()
        # Painted pictures leave many directions of a patch unused; a little ridge keeps those out.
        gram = patches.T @ patches
        ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram + ridge, patches.T @ wanted)[:-1]
        code = rearrange(weight, "(c y x) d -> d c y x", c=3, y=self.cell, x=self.cell)
        self.code.copy_(code)

    def forward(
        self,
        output: Tensor,
        features: Tensor,
        noisy: Tensor,
        t: Tensor,
        first_latent: Tensor,
        first_frame: Tensor,
        level: Tensor,
        schedule: NoiseSchedule,
    ) -> tuple[Tensor, Tensor]:
        """Correct the raw output of a clip.

        Args:
            output: (B, C, F, h, w) raw output of the base, in its parametrisation.
            features: (B F, C0, h, w), what the base's last convolution read.
            noisy: (B, C, F, h, w).
            t: (B,) steps of ``schedule``.
            first_latent: (B, C, h, w).
            first_frame: (B, 3, H, W) in [-1, 1].
            level: (B, E) noise level embedding.
            schedule: the table that ``noisy`` was noised on.

        Returns:
            (B, C, F, h, w) float32, in the same parametrisation, and (B, 2, F, h, w) float32, from
            each cell to where it was in the first frame, in cells, x first.
        """
        num_frames = noisy.shape[2]
        clean = rearrange(schedule.to_clean(output, noisy, t), "b c f h w -> (b f) c h w")
        first = repeat(first_latent.float(), "b c h w -> (b f) c h w", f=num_frames)
        later = torch.ones(num_frames, device=clean.device)
        later[0] = 0
        later = repeat(later, "f -> (b f) 1 1 1", b=len(noisy))
        told = repeat(self.level(level), "b d -> (b f) d 1 1", f=num_frames)
        known = torch.cat([first - clean, 1 - later.expand_as(clean[:, :1])], 1)
        seen = torch.cat([features, known.to(features.dtype)], 1)
        hidden = F.silu(self.conv_in(seen) + told)
        # The first frame is where it is.
        moved = self.move_out(F.silu(self.move_mid(hidden))).float() * later
        recalled = first + self._change(first_frame, moved)
        missing = recalled - clean
        hidden = F.silu(self.conv_mid(hidden) + self.conv_seen(missing.to(hidden.dtype)))
        missing, gate, moved = (
            rearrange(part.float(), "(b f) c h w -> b c f h w", f=num_frames)
            for part in (missing, self.conv_out(hidden), moved)
        )
        change = schedule.output_change(missing, t, _LEAST_SIGMA)
        return output.float() + gate * change, moved

    def _change(self, first_frame: Tensor, moved: Tensor) -> Tensor:
        """By how much the first frame's latent changes when its pixels move: (B F, C, h, w)."""
        num_frames = len(moved) // len(first_frame)
        with torch.autocast(moved.device.type, enabled=False):
            picture, code = first_frame.float(), self.code.float()
            flow = F.interpolate(
                moved * self.cell, picture.shape[-2:], mode="bilinear", align_corners=False
            )
            shown = warp(repeat(picture, "b c h w -> (b f) c h w", f=num_frames), flow)
            before = F.conv2d(picture, code, stride=self.cell)
            after = F.conv2d(shown, code, stride=self.cell)
            return after - repeat(before, "b c h w -> (b f) c h w", f=num_frames)
