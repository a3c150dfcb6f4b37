"""Train the video generator: only our motion modules move, the spatial network stays as it is.

The loss is the denoising error in the base's own parametrisation on every frame, plus the flow loss
of the supervisor. Clips are rendered and encoded once; each step takes them whole, or every other
frame at half the frame rate, which shows a short clip the whole motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.report import Reporter
from fdream.core.seeds import initial_noise
from fdream.data.spriteworld.captions import article
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.world import Description
from fdream.models.bundle import Bundle
from fdream.models.conditions import FlowTarget, VideoSample
from fdream.models.latents import latent_scaling
from fdream.models.motion_modules import MotionModules
from fdream.models.motion_text_encoder import fresh_motion_encoder
from fdream.stages.builtin.dreamer_generator import DreamerGenerator
from fdream.stages.builtin.pixels import to_unit
from fdream.stages.interfaces import FlowSupervisor, SampleOptions
from fdream.training.array_cache import cached_array
from fdream.training.objective import Batch, Objective, ObjectiveOptions, Share
from fdream.training.pictures import ClipSource, contact_sheet


class VideoOptions(ObjectiveOptions):
    clips: int = 6000
    """Different clips; their latents and flow are computed once."""
    frames: int = 8
    """Frames of a training sample; taken from the clip with the stride that spans it."""
    flow_weight: float = 0.1
    text_dropout: float = 0.15
    """Share of samples that lose both captions, so that guidance means something."""
    image_dropout: float = 0.1
    """Share of samples that lose their image tokens; the first frame's latent and pixels stay."""
    density: str = "logit_normal(0.2,1.2)"
    """Of t. Ours: a strong condition leaves motion to be decided at high noise."""
    motion: dict[str, Any] = Field(default_factory=dict)
    """Options of ``MotionModules`` by name."""
    motion_text_layers: int = 2
    sheet_steps: int = 15
    sheet_guidance: float = 2.0


@dataclass(frozen=True)
class ClipBatch(Batch):
    """What a training step needs of its clips.

    Attributes:
        latents: (B, C, F, h, w).
        noise: like ``latents``, standard normal.
        t: (B,) steps of the schedule.
        first_frame: (B, 3, H, W) in [-1, 1].
        target: flow and visibility on the latent grid, displacements in pixels of the frame.
        pairs: one caption pair a clip.
        fps: (B,).
        no_text: (B,) bool, true where the captions are dropped.
        no_image: (B,) bool, true where the image tokens are dropped.
    """

    latents: Tensor
    noise: Tensor
    t: Tensor
    first_frame: Tensor
    target: FlowTarget
    pairs: list[CaptionPair]
    fps: Tensor
    no_text: Tensor
    no_image: Tensor


class VideoObjective(Objective[ClipBatch]):
    """Denoise clips under their first frame and caption halves; hold features to the flow."""

    Options = VideoOptions
    splits = True

    def __init__(
        self,
        options: VideoOptions,
        clips: ClipSource,
        base: Bundle,
        supervisor: FlowSupervisor,
        device: DeviceManager,
        *,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.options = options
        self.clips = clips
        self.base = base
        self.device = device
        self.motion = base.load("motion") if base.has("motion") else self._new_motion()
        self.generator = DreamerGenerator.assemble(base, self.motion, device=device)
        self.network = device.place(self.generator.network)
        self.network.gradient_checkpointing = gradient_checkpointing
        self._place_motion_text()
        for name in ("vae", "text_encoder", "image_encoder"):
            device.place(self.generator.part(name).requires_grad_(False))
        self.vae: Any = self.generator.part("vae")
        self.supervisor = supervisor
        spatial_widths = [self._width(block) for block in self.network.spatial.up_blocks[-2:]]
        supervisor.attach(spatial_widths, self.generator.schedule)
        self.modules = {
            "motion": self.motion.train(),
            "motion_text_encoder": self.motion_text_encoder.train(),
        }
        if isinstance(supervisor, nn.Module) and any(True for _ in supervisor.parameters()):
            self.modules["supervisor"] = supervisor.train()

    def prepare(self, cache: Path, reporter: Reporter) -> None:
        options = self.options
        key = {"vae": self.base.hash_of("vae"), "clips": options.clips, **self.clips.key()}
        reporter.say(f"latents and flow of {options.clips} clips")
        self.latents = cached_array(
            cache / "clip-latents", key, options.clips, self._encode_rows, reporter
        )
        teacher = type(self.supervisor).__name__
        flow_key = {**key, "frames": options.frames, "stride": self._stride, "teacher": teacher}
        self.flow = cached_array(
            cache / "clip-flow", flow_key, options.clips, self._flow_rows, reporter
        )
        held_out = self.clips.held_out()
        self.held_out = [(c.frames, CaptionPair(c.caption, c.pair.motion)) for c in held_out]
        frames = np.stack([frames for frames, _ in self.held_out])
        with torch.no_grad():
            self.held_out_latents = torch.cat(
                [self._encode(part) for part in np.array_split(frames, max(1, len(frames) // 8))]
            )

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> ClipBatch:
        options = self.options
        rows = torch.randint(len(self.latents), (batch_size,), generator=generator).numpy()
        mine = [int(row) for row in share.of(np.sort(rows))]
        drop = torch.rand(2, batch_size, generator=generator)
        channels, _, *grid = self.latents.shape[1:]
        noise = torch.randn(batch_size, channels, options.frames, *grid, generator=generator)
        t = self.generator.schedule.sample_t(batch_size, generator, options.density)
        packed = torch.from_numpy(self.flow[mine]).float()
        return ClipBatch(
            names=[f"clip {row}" for row in mine],
            latents=self._strided(torch.from_numpy(self.latents[mine]).float()),
            noise=share.of(noise),
            t=share.of(t),
            first_frame=to_unit(np.stack([self.clips.first_frame(row) for row in mine])),
            target=FlowTarget(flow=packed[:, :2], visibility=packed[:, 2:]),
            pairs=[
                clip_caption(self.clips.words(row), Chance(f"clip/{row}/{step}")) for row in mine
            ],
            fps=torch.full((len(mine),), self.clips.options.fps / self._stride),
            no_text=share.of(drop[0] < options.text_dropout),
            no_image=share.of(drop[1] < options.image_dropout),
        )

    def loss(self, batch: ClipBatch) -> tuple[Tensor, dict[str, Tensor]]:
        denoising, flow = self._errors(batch)
        return denoising + self.options.flow_weight * flow, {"denoising": denoising, "flow": flow}

    def _errors(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """The denoising and the flow error of a batch, two scalars with graphs."""
        condition = self.generator.condition(batch.first_frame, batch.pairs, batch.fps)
        empty = self.generator.caption_tokens([CaptionPair("", "")])
        condition = condition.drop_text(
            batch.no_text, empty["text"], empty.get("motion_text"), empty.get("motion_mask")
        ).drop_image(batch.no_image)
        schedule = self.generator.schedule
        noisy = schedule.add_noise(batch.latents, batch.noise, batch.t)
        prediction = self.generator.predict(noisy, batch.t, condition)
        wanted = schedule.target(batch.latents, batch.noise, batch.t)
        denoising = F.mse_loss(prediction.output.float(), wanted)
        return denoising, self.supervisor.loss(prediction, batch.target, batch.t)

    def compile(self) -> None:
        """Compile the video network: its base is not trained, but runs in every step."""
        self.network.compile()

    def validate(self) -> dict[str, float]:
        total, parts, here = 0.0, max(1, len(self.held_out) // 8), self.device.torch_device
        times = torch.linspace(20, self.generator.schedule.num_steps - 1, len(self.held_out)).long()
        for rows in np.array_split(np.arange(len(self.held_out)), parts):
            latents = self._strided(self.held_out_latents[rows])
            t = times[rows].to(here)
            noise = initial_noise(tuple(latents.shape[1:]), [int(r) for r in rows]).to(here)
            first = to_unit(np.stack([self.held_out[r][0][0] for r in rows])).to(here)
            fps = torch.full((len(rows),), self.clips.options.fps / self._stride, device=here)
            condition = self.generator.condition(first, [self.held_out[r][1] for r in rows], fps)
            schedule = self.generator.schedule
            output = self.generator.predict(
                schedule.add_noise(latents, noise, t), t, condition
            ).output
            error = F.mse_loss(output.float(), schedule.target(latents, noise, t))
            total += error.item() * len(rows)
        return {"loss": total / len(self.held_out)}

    def sheet(self) -> np.ndarray:
        shown = self.held_out[:6]
        frames = np.stack([f[0] for f, _ in shown])
        self.network.eval()
        video = self.generator.animate(
            frames,
            [pair for _, pair in shown],
            self.options.frames,
            self.clips.options.fps / self._stride,
            list(range(len(shown))),
            SampleOptions(steps=self.options.sheet_steps, guidance=self.options.sheet_guidance),
        )
        rows: list[Tensor] = []
        for (real, _), drawn in zip(shown, video, strict=True):
            rows += [to_unit(real[:: self._stride]), to_unit(drawn)]
        return contact_sheet(rows)

    def components(self) -> Mapping[str, Any]:
        own = {"motion", "motion_text_encoder", "motion_tokenizer"}
        carried = {
            name: self.base.folder(name) for name in self.base.component_names if name not in own
        }
        return {
            **carried,
            "motion": self.motion,
            "motion_text_encoder": self.motion_text_encoder,
            "motion_tokenizer": self.base.load("tokenizer"),
        }

    def beside(self) -> Mapping[str, nn.Module]:
        return {"supervisor": self.modules["supervisor"]} if "supervisor" in self.modules else {}

    def information(self) -> Mapping[str, Any]:
        return {**self.base.information, "name": "video"}

    @property
    def _stride(self) -> int:
        return max(1, self.clips.options.frames // self.options.frames)

    def _strided(self, video: Tensor) -> Tensor:
        """Take a sample's frames from a whole clip (B, C, F, h, w)."""
        return video[:, :, :: self._stride][:, :, : self.options.frames]

    @torch.no_grad()
    def _encode(self, frames: np.ndarray) -> Tensor:
        count = frames.shape[1]
        pictures = self.device.place(to_unit(rearrange(frames, "b f h w c -> (b f) h w c")))
        return rearrange(self.vae.encode(pictures), "(b f) c h w -> b c f h w", f=count).float()

    def _encode_rows(self, rows: range) -> np.ndarray:
        return (
            self._encode(np.stack([self.clips.draw(r).frames for r in rows]))
            .to("cpu", torch.float16)
            .numpy()
        )

    def _flow_rows(self, rows: range) -> np.ndarray:
        """The supervisor's flow over strided frames and its visibility: (N, 3, F - 1, h, w)."""
        clips = [self.clips.draw(row, self._stride) for row in rows]
        count = self.options.frames
        frames = to_unit(np.concatenate([clip.frames[:count] for clip in clips]))
        flow = torch.from_numpy(np.stack([clip.flow[: count - 1] for clip in clips]))
        visible = torch.from_numpy(np.stack([clip.visible[: count - 1] for clip in clips]))
        target = self.supervisor.targets(
            VideoSample(
                frames=rearrange(frames, "(b f) c h w -> b c f h w", f=count),
                flow=rearrange(flow, "b f h w c -> b c f h w"),
                visibility=rearrange(visible.float(), "b f h w -> b 1 f h w"),
                captions=[clip.pair for clip in clips],
                fps=torch.full((len(clips),), self.clips.options.fps / self._stride),
            )
        )
        planes = torch.cat([target.flow, target.visibility], 1)
        patch = self.vae.config.patch
        return F.avg_pool3d(planes, (1, patch, patch)).to(torch.float16).numpy()

    def _new_motion(self) -> MotionModules:
        unet, schedule = self.base.load("unet"), self.base.load("scheduler")
        return MotionModules.for_base(
            unet,
            schedule,
            latent_scaling=latent_scaling(self.base.load("vae")),
            **self.options.motion,
        )

    def _place_motion_text(self) -> None:
        """Give the generator the bundle's motion encoder, or a fresh one, and keep hold of it."""
        tokenizer = self.base.load("tokenizer")
        if self.base.has("motion_text_encoder"):
            self.motion_text_encoder = self.base.load("motion_text_encoder")
        else:
            self.motion_text_encoder = fresh_motion_encoder(
                len(tokenizer), self.motion.config.motion_width, self.options.motion_text_layers
            )
        self.generator.use_motion_text(tokenizer, self.motion_text_encoder)

    @staticmethod
    def _width(block: nn.Module) -> int:
        return int(block.resnets[-1].out_channels)  # type: ignore[index, union-attr]


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
