"""What a video is conditioned on, what the network answers, and what supervises its motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fdream.core.captions import CaptionPair


@dataclass(frozen=True, slots=True)
class PreparedCondition:
    """What `MotionModules.prepare` computes once per clip and every sampling step reuses.

    Args:
        tokens: (B, L', D) text tokens that know the image; L' is L but for the `concat` adapter.
        first_frame: (B, 2, C0, h, w) added after the base's first convolution: one map for frame 0,
            one for all later frames; None when the condition is switched off.
        pixel_keys: place -> keys and values, each (B, N, h*w, d), of the first frame's pixels.
        motion_keys: place -> keys and values, each (B, N, 1 + Lm, d), of the motion text.
        motion_mask: (B, 1, 1, 1 + Lm) bool, true where a token counts.
        views: of the first frame, where it is searched for, and their spectrum.
    """

    tokens: Tensor
    first_frame: Tensor | None
    pixel_keys: dict[str, tuple[Tensor, Tensor]]
    motion_keys: dict[str, tuple[Tensor, Tensor]]
    motion_mask: Tensor | None
    views: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class VideoCondition:
    """Everything that is known of a video before it is drawn.

    Args:
        text: (B, L, D) tokens of the appearance caption, as the base was trained on.
        image: (B, N, Di) image tokens of the first frame; None for none, zeros for "unknown".
        first_latent: (B, C, h, w) latent of the first frame, scaled as the base wants it.
        first_frame: (B, 3, H, W) the first frame in [-1, 1].
        motion_text: (B, Lm, Dm) tokens of the motion caption; None reads as no caption.
        motion_mask: (B, Lm) bool, true where a motion token counts; None means all do.
        fps: (B,) frames per second; None means unknown.
        added: SDXL's `text_embeds` (B, P) and `time_ids` (B, 6); None elsewhere.
        views: (B, T, P, C + 1, 2 h, 2 w) of the first frame, where it is searched for
            (`models.first_frame_search`).
        prepared: set by `MotionModules.prepare`, never by hand.
    """

    text: Tensor
    image: Tensor | None
    first_latent: Tensor
    first_frame: Tensor
    motion_text: Tensor | None = None
    motion_mask: Tensor | None = None
    fps: Tensor | None = None
    added: dict[str, Tensor] | None = None
    views: Tensor | None = None
    prepared: PreparedCondition | None = None

    def drop_text(
        self,
        dropped: Tensor,
        empty_text: Tensor,
        empty_motion: Tensor | None = None,
        empty_motion_mask: Tensor | None = None,
        empty_added: dict[str, Tensor] | None = None,
    ) -> VideoCondition:
        """Replace both captions of some samples by the empty caption, for guidance.

        Args:
            dropped: (B,) bool, true for samples that lose their captions.
            empty_text: (L, D) or (1, L, D), the appearance tokens of "".
            empty_motion: (Lm, Dm) or (1, Lm, Dm), the motion tokens of ""; None masks every
                motion token instead, which leaves only the learned empty token.
            empty_motion_mask: (Lm,) or (1, Lm) bool for `empty_motion`; None means all count.
            empty_added: the same keys as `added`, for bases that pool the caption.

        Returns:
            A new condition, not prepared.

        Source: classifier-free guidance, Ho and Salimans, arXiv 2207.12598. Ours: appearance and
        motion are dropped together, so that guidance has one meaning.
        """
        text = _choose(dropped, empty_text, self.text)
        motion, mask = self.motion_text, self.motion_mask
        if motion is not None:
            kept = torch.ones(motion.shape[:2], dtype=torch.bool, device=motion.device)
            mask = kept if mask is None else mask
            if empty_motion is None:
                mask = mask & ~dropped[:, None]
            else:
                empty_mask = kept[:1] if empty_motion_mask is None else empty_motion_mask
                motion = _choose(dropped, empty_motion, motion)
                mask = _choose(dropped, empty_mask, mask)
        added = self.added
        if added is not None and empty_added is not None:
            added = {key: _choose(dropped, empty_added[key], value) for key, value in added.items()}
        return replace(
            self, text=text, motion_text=motion, motion_mask=mask, added=added, prepared=None
        )

    def drop_image(self, dropped: Tensor) -> VideoCondition:
        """Replace the image tokens of some samples by zeros.

        Args:
            dropped: (B,) bool, true for samples that lose their image tokens. The first-frame
                latent and pixels stay: they are what is animated.

        Returns:
            A new condition, not prepared.

        Source: DynamiCrafter drops its image tokens and never its concatenated latent, as the
        dossier records of its code.
        """
        if self.image is None:
            return self
        image = self.image.masked_fill(dropped[:, None, None], 0)
        return replace(self, image=image, prepared=None)


def concatenate(conditions: Sequence[VideoCondition]) -> VideoCondition:
    """Join conditions along the batch, for instance the two guidance branches.

    Args:
        conditions: equal token counts and the same fields set; preparation is not kept.

    Returns:
        One condition of the summed batch, not prepared.
    """
    joined: dict[str, Any] = {}
    for field in fields(VideoCondition):
        values = [getattr(condition, field.name) for condition in conditions]
        if field.name == "prepared" or values[0] is None:
            joined[field.name] = None
        elif isinstance(values[0], dict):
            joined[field.name] = {key: torch.cat([v[key] for v in values]) for key in values[0]}
        else:
            joined[field.name] = torch.cat(values)
    return VideoCondition(**joined)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the video network answers.

    Args:
        output: (B, C, F, h, w) raw output in the base's own parametrisation.
        taps: features after the temporal layers of the last two up blocks, coarse first, each
            (B, C', F, h', w'); what PredictNet reads.
    """

    output: Tensor
    taps: list[Tensor]


@dataclass(frozen=True, slots=True)
class FlowTarget:
    """Optical flow that supervises the motion features.

    Args:
        flow: (B, 2, F-1, H, W) pixels, x first, from each frame to the next.
        visibility: (B, 1, F-1, H, W) in [0, 1], how surely the point is seen in the next frame.
    """

    flow: Tensor
    visibility: Tensor


@dataclass(frozen=True, slots=True)
class VideoSample:
    """A batch of training clips.

    Args:
        frames: (B, 3, F, H, W) in [-1, 1].
        flow: (B, 2, F-1, H, W) pixels where it is known exactly, else None.
        visibility: (B, 1, F-1, H, W) in [0, 1], with `flow`.
        captions: one pair a clip.
        fps: (B,) frames per second.
    """

    frames: Tensor
    flow: Tensor | None
    visibility: Tensor | None
    captions: Sequence[CaptionPair]
    fps: Tensor


def _choose(dropped: Tensor, empty: Tensor, value: Tensor) -> Tensor:
    """`empty` for the dropped samples, `value` for the others; empty may lack the batch axis."""
    if empty.ndim < value.ndim:
        empty = empty[None]
    empty = empty.to(value.device, value.dtype)
    return torch.where(dropped.reshape(-1, *([1] * (value.ndim - 1))), empty, value)
