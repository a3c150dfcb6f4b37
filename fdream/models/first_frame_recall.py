"""The first frame leaves where the picture leaves: what it showed already is answered with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fdream.models.first_frame_search import search
from fdream.models.zero_init import zeroed

if TYPE_CHECKING:
    from fdream.models.noise_schedule import NoiseSchedule

_LEAST_SIGMA = 0.25
"""Below this noise a difference of clean samples is no longer blown up to one of raw outputs: the
base's own answer is good there, and the quotient would drown the loss."""


class FirstFrameRecall(nn.Module):
    """Moves the base's raw output toward the one that stands for the first frame, place by place.

    A frame's clean estimate x0 becomes ``x0 + gate * (first latent - x0)``. Frame 0 and a still
    background need the gate at one, what moves needs it at zero. With ``searches`` a second gate
    does the same with the first frame moved (`models.first_frame_search`).

    Args:
        latent_channels: C of the latents.
        channels: C0, channels before the base's last convolution.
        level_width: E of the noise level embedding.
        width: channels of the hidden layer.
        searches: whether the first frame is searched for, too.

    Ours: the paper says nothing of it. Details of the first frame otherwise have to pass the whole
    frozen network and its last convolution in every frame; a small base loses them on the way.
    """

    def __init__(
        self,
        latent_channels: int,
        channels: int,
        level_width: int,
        width: int = 48,
        searches: bool = False,
    ) -> None:
        super().__init__()
        self.searches = searches
        answers = 2 if searches else 1
        # What each answer would change, and one more: which frame is the first, or how sure it is.
        known = answers * (latent_channels + 1)
        self.conv_in = nn.Conv2d(channels + known, width, 3, padding=1)
        self.level = nn.Linear(level_width, width)
        self.conv_mid = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(width, answers, 3, padding=1))

    def forward(
        self,
        output: Tensor,
        features: Tensor,
        noisy: Tensor,
        t: Tensor,
        first_latent: Tensor,
        level: Tensor,
        schedule: NoiseSchedule,
        views: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Correct the raw output of a clip.

        Args:
            output: (B, C, F, h, w) raw output of the base, in its parametrisation.
            features: (B F, C0, h, w), what the base's last convolution read.
            noisy: (B, C, F, h, w).
            t: (B,) steps of ``schedule``.
            first_latent: (B, C, h, w).
            level: (B, E) noise level embedding.
            schedule: the table that ``noisy`` was noised on.
            views: of the first frame and their spectrum, as `search` takes them; without, nothing
                is found.

        Returns:
            (B, C, F, h, w) float32, in the same parametrisation.
        """
        num_frames = noisy.shape[2]
        # What is shown against what is remembered: float32, for the difference of two near values.
        clean = schedule.to_clean(output, noisy, t)
        missing = first_latent[:, :, None].float() - clean
        first = torch.zeros_like(missing[:, :1])
        first[:, :, 0] = 1
        answers, facts = [missing], [missing, first]
        if self.searches:
            found, doubt = clean.detach(), torch.ones_like(first)
            if views is not None:
                _, sigma = schedule.signal_and_noise(t.to(clean.device))
                found, doubt = search(clean, first_latent, *views, sigma)
            answers.append(found - clean)
            facts += [found - clean, doubt]
        known = rearrange(torch.cat(facts, 1), "b c f h w -> (b f) c h w")
        hidden = self.conv_in(torch.cat([features, known.to(features.dtype)], 1))
        told = repeat(self.level(level), "b d -> (b f) d 1 1", f=num_frames)
        hidden = F.silu(self.conv_mid(F.silu(hidden + told)))
        gates = rearrange(self.conv_out(hidden), "(b f) a h w -> a b 1 f h w", f=num_frames)
        change = (gates.float() * torch.stack(answers)).sum(0)
        return output.float() + schedule.output_change(change, t, _LEAST_SIGMA)
