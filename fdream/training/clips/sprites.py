"""SpriteWorld's clips: rendered and encoded once into arrays, with exact flow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from fdream.core.captions import CaptionPair
from fdream.core.report import Reporter
from fdream.data.spriteworld.captions import article
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.world import Clip, Description
from fdream.models.conditions import FlowTarget, VideoSample
from fdream.stages.builtin.pixels import to_unit
from fdream.training.array_cache import cached_array
from fdream.training.clips.dataset import ClipCoder, ClipDataset, HeldOut, Views
from fdream.training.objective import Share
from fdream.training.pictures import ClipSource

_PART = 8


class SpriteClips(ClipDataset):
    """SpriteWorld for the video objective.

    A sample takes its clip whole, or every other frame at half the frame rate, which shows a short
    clip the whole motion.

    Args:
        source: renders clips by number.
        clips: how many different ones.
        frames: of a sample; taken with the stride that spans the clip.
    """

    def __init__(self, source: ClipSource, clips: int, frames: int) -> None:
        self.source = source
        self._count = clips
        self._frames = frames
        self._stride = max(1, source.options.frames // frames)
        self._fps = source.options.fps / self._stride

    def prepare(self, coder: ClipCoder, cache: Path, share: Share, reporter: Reporter) -> None:
        """Render and encode; processes take turns, and the first of them does the work."""
        del share
        self._coder = coder
        key = {"vae": coder.vae_key, "clips": self._count, **self.source.key()}
        reporter.say(f"latents and flow of {self._count} clips")
        self.latents = cached_array(
            cache / "clip-latents", key, self._count, self._encode_rows, reporter
        )
        flow_key = {
            **key,
            "frames": self._frames,
            "stride": self._stride,
            "teacher": coder.teacher,
        }
        self.flow = cached_array(
            cache / "clip-flow", flow_key, self._count, self._flow_rows, reporter
        )
        self._held_out = self._encode_held_out(self.source.held_out(self._stride))

    def draw(self, step: int, batch_size: int, share: Share, generator: torch.Generator) -> Views:
        """Take clips by chance."""
        rows = torch.randint(len(self.latents), (batch_size,), generator=generator).numpy()
        mine = [int(row) for row in share.of(np.sort(rows))]
        packed = torch.from_numpy(self.flow[mine]).float()
        return Views(
            names=[f"clip {row}" for row in mine],
            pairs=[
                clip_caption(self.source.words(row), Chance(f"clip/{row}/{step}")) for row in mine
            ],
            fps=torch.full((len(mine),), self._fps),
            first_frame=to_unit(np.stack([self.source.first_frame(row) for row in mine])),
            target=FlowTarget(flow=packed[:, :2], visibility=packed[:, 2:]),
            latents=self._strided(torch.from_numpy(self.latents[mine]).float()),
        )

    def held_out(self) -> list[HeldOut]:
        """Clips whose (object, scene, motion) was never trained."""
        return self._held_out

    def information(self) -> Mapping[str, Any]:
        """Return the kind of sprites and the size."""
        return self.source.information()

    def _encode_held_out(self, clips: list[Clip]) -> list[HeldOut]:
        parts = []
        for first in range(0, len(clips), _PART):
            part = clips[first : first + _PART]
            frames = np.stack([clip.frames[: self._frames] for clip in part])
            views = Views(
                names=[f"held-out {first + k}" for k in range(len(part))],
                pairs=[CaptionPair(clip.caption, clip.pair.motion) for clip in part],
                fps=torch.full((len(part),), self._fps),
                first_frame=to_unit(frames[:, 0]),
                target=_packed(self._flow_of(part)),
                latents=self._coder.encode(frames),
            )
            parts.append(HeldOut(views, partial(np.asarray, frames)))
        return parts

    def _strided(self, video: Tensor) -> Tensor:
        """Take a sample's frames from a whole clip (B, C, F, h, w)."""
        return video[:, :, :: self._stride][:, :, : self._frames]

    def _encode_rows(self, rows: range) -> np.ndarray:
        frames = np.stack([self.source.draw(row).frames for row in rows])
        return self._coder.encode(frames).to(torch.float16).numpy()

    def _flow_rows(self, rows: range) -> np.ndarray:
        """The teacher's flow over strided frames and its visibility: (N, 3, F - 1, h, w)."""
        clips = [self.source.draw(row, self._stride) for row in rows]
        return self._flow_of(clips).astype(np.float16)

    def _flow_of(self, clips: list[Clip]) -> np.ndarray:
        """The teacher's flow of clips that were rendered at the stride."""
        count = self._frames
        frames = to_unit(np.concatenate([clip.frames[:count] for clip in clips]))
        flow = torch.from_numpy(np.stack([clip.flow[: count - 1] for clip in clips]))
        visible = torch.from_numpy(np.stack([clip.visible[: count - 1] for clip in clips]))
        return self._coder.flow(
            VideoSample(
                frames=rearrange(frames, "(b f) c h w -> b c f h w", f=count),
                flow=rearrange(flow, "b f h w c -> b c f h w"),
                visibility=rearrange(visible.float(), "b f h w -> b 1 f h w"),
                captions=[clip.pair for clip in clips],
                fps=torch.full((len(clips),), self._fps),
            )
        )


def clip_caption(shown: Description, chance: Chance) -> CaptionPair:
    """Word a clip for training: whole, halved, or with only a part said.

    Ours: the appearance side sees the whole caption as often as its half, the motion side twice as
    often, for splitter ``whole`` gives both sides the whole one.
    """
    appearance = chance.pick(
        (
            shown.caption,
            shown.pair.appearance,
            article(shown.facts.thing),
            chance.pick(SCENES[shown.facts.scene]),
        )
    )
    motion = chance.pick((shown.caption, shown.caption, shown.pair.motion))
    return CaptionPair(appearance, motion)


def _packed(planes: np.ndarray) -> FlowTarget:
    flow = torch.from_numpy(planes).float()
    return FlowTarget(flow=flow[:, :2], visibility=flow[:, 2:])
