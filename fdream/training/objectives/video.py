"""Train the video generator: motion moves, and as much of space as the recipe says.

The loss is the denoising error in the base's own parametrisation on every frame, plus the flow loss
of the supervisor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.report import Reporter
from fdream.core.seeds import initial_noise
from fdream.models.bundle import Bundle
from fdream.models.conditions import FlowTarget, Prediction, VideoCondition, VideoSample
from fdream.models.latents import latent_downscale
from fdream.stages.builtin.pixels import to_unit
from fdream.stages.interfaces import FlowSupervisor
from fdream.training.clips.dataset import ClipCoder, ClipDataset, Views
from fdream.training.objective import Batch, Drawing, Objective, Share
from fdream.training.objectives.cell_weights import changed_weights, mean_square
from fdream.training.objectives.video_drawing import draw_held_out
from fdream.training.objectives.video_model import CLOSED, GROUPS, REPEATED, VideoModel
from fdream.training.objectives.video_options import VideoOptions

_EMPTY = CaptionPair("", "")
_MOST_WIDTHS = 256


@dataclass(frozen=True)
class ClipBatch(Batch):
    """What a training step needs of its clips, and what chance adds.

    Attributes:
        views: the clips.
        noise: (B, C, F, h, w), standard normal; F is 1 for single frames.
        t: (B,) steps of the schedule.
        no_text: (B,) bool, true where the captions are dropped.
        no_image: (B,) bool, true where the image tokens are dropped.
        frame: (B,), which frame of each clip is shown alone; None for whole clips.
        domain: whether the domain adapter learns, alone.
        first_noise: noise on the first frame's latent and pixels, where there is to be any.
    """

    views: Views
    noise: Tensor
    t: Tensor
    no_text: Tensor
    no_image: Tensor
    frame: Tensor | None = None
    domain: bool = False
    first_noise: tuple[Tensor, Tensor] | None = None


class VideoObjective(Objective[ClipBatch]):
    """Denoise clips under their first frame and caption halves; hold features to the flow.

    Args:
        options: the recipe's ``[objective]`` table.
        clips: the data.
        base: a bundle with or without motion modules.
        supervisor: teaches flow.
        device: where it computes.
        teacher: identifies the supervisor's targets, for caches; its class when not given.
        gradient_checkpointing: compute layers again in backward, to save memory.
    """

    Options = VideoOptions
    splits = True
    groups = GROUPS
    closed = CLOSED

    def __init__(
        self,
        options: VideoOptions,
        clips: ClipDataset,
        base: Bundle,
        supervisor: FlowSupervisor,
        device: DeviceManager,
        *,
        teacher: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.options = options
        self.clips = clips
        self.base = base
        self.device = device
        self.model = VideoModel(
            options, base, device, gradient_checkpointing=gradient_checkpointing
        )
        self.generator = self.model.generator
        self.network = self.model.network
        self.modules = self.model.modules
        self.supervisor = supervisor
        self._empty: dict[tuple[int, int], dict[str, Any]] = {}
        self._teacher = teacher or type(supervisor).__name__
        spatial_widths = [self._width(block) for block in self.network.spatial.up_blocks[-2:]]
        supervisor.attach(spatial_widths, self.generator.schedule)
        if isinstance(supervisor, nn.Module) and any(True for _ in supervisor.parameters()):
            self.modules["supervisor"] = supervisor.train()
        single_frames = options.image_share > 0 or options.domain_adapter is not None
        # A grid above the limit of the pixel look-up leaves its layers out.
        self.uneven = single_frames or self.model.motion.config.pixel_aware

    def prepare(self, cache: Path, share: Share, reporter: Reporter) -> None:
        if share.index == 0:
            for told in self.model.passed_over:
                reporter.warn(told)
        coder = ClipCoder(
            encode=self._encode,
            flow=self._flow,
            features=self._features,
            downscale=latent_downscale(self.model.vae),
            channels=self.network.spatial.config.in_channels,
            vae_key=self.base.hash_of("vae"),
            teacher=self._teacher,
            features_key=self._features_key(),
            dtype=str(self.device.dtype).removeprefix("torch."),
        )
        self.clips.prepare(coder, cache, share, reporter)
        self.held_out = self.clips.held_out()

    def draw(
        self, step: int, batch_size: int, share: Share, generator: torch.Generator
    ) -> ClipBatch:
        options, schedule = self.options, self.generator.schedule
        domain = options.domain_adapter is not None and step < options.domain_adapter.batches
        single = domain or (
            options.image_share > 0 and torch.rand((), generator=generator) < options.image_share
        )
        views = self.clips.draw(step, batch_size, share, generator)
        shape = self._latent_shape(views)
        drop = torch.rand(2, batch_size, generator=generator)
        noise_shape = (shape[0], 1 if single else shape[1], *shape[2:])
        noise = torch.randn(batch_size, *noise_shape, generator=generator)
        t = schedule.sample_t(batch_size, generator, options.density)
        no_text, no_image = drop[0] < options.text_dropout, drop[1] < options.image_dropout
        if options.both_dropout:
            both = torch.rand(batch_size, generator=generator) < options.both_dropout
            no_text, no_image = no_text | both, no_image | both
        frame = None
        if single:
            frame = share.of(torch.randint(shape[1], (batch_size,), generator=generator))
        first_noise = None
        if options.time_noise and not single:
            size = (batch_size, 3, *views.first_frame.shape[-2:])
            level = self._time_noise(t, torch.randn(batch_size, generator=generator))
            latent = torch.randn(batch_size, shape[0], *shape[2:], generator=generator)
            pixels = torch.randn(size, generator=generator)
            first_noise = (share.of(latent * level), share.of(pixels * level))
        return ClipBatch(
            names=views.names,
            views=views,
            noise=share.of(noise),
            t=share.of(t),
            no_text=share.of(no_text),
            no_image=share.of(no_image),
            frame=frame,
            domain=domain,
            first_noise=first_noise,
        )

    def loss(self, batch: ClipBatch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.model.domain is not None:
            # It learns alone, and is then a part of the scenery.
            self.model.domain.requires_grad_(batch.domain)
        denoising, flow = self._errors(batch)
        if batch.frame is not None:
            return denoising, {"denoising_single": denoising}
        return denoising + self.options.flow_weight * flow, {"denoising": denoising, "flow": flow}

    def probe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Return the length of the flow's gradient on motion, in lengths of the denoising one's."""
        if batch.frame is not None or "supervisor" not in self.modules:
            return {}
        denoising, flow = self._errors(batch)
        weights = [p for p in self.modules["motion"].parameters() if p.requires_grad]
        lengths = [
            _length(torch.autograd.grad(part, weights, retain_graph=keep, allow_unused=True))
            for part, keep in ((denoising, True), (self.options.flow_weight * flow, False))
        ]
        return {"flow_ratio": lengths[1] / lengths[0].clamp(min=1e-12)}

    def compile(self) -> None:
        """Compile the layers that repeat, base's and ours; the walk between them stays as it is.

        Ours: layers of one kind and width share their compiled code, where the whole walk is one
        program that takes minutes and is compiled anew for every other size.
        """
        # One entry for each width of a kind: many are no mistake here.
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, _MOST_WIDTHS)
        for layer in self.network.modules():
            if type(layer).__name__ in REPEATED:
                layer.compile(dynamic=False)

    def validate(self) -> dict[str, float]:
        schedule, here = self.generator.schedule, self.device.torch_device
        total = sum(len(part.views.names) for part in self.held_out)
        times = torch.linspace(20, schedule.num_steps - 1, total).long()
        errors, seen = 0.0, 0
        for part in self.held_out:
            views = part.views.to(here)
            rows = range(seen, seen + len(views.names))
            seen = rows.stop
            assert views.latents is not None, "held-out clips are encoded"
            t = times[rows.start : rows.stop].to(here)
            noise = initial_noise(tuple(views.latents.shape[1:]), list(rows)).to(here)
            noisy = schedule.add_noise(views.latents, noise, t)
            output = self.generator.predict(noisy, t, self._condition(views, views.latents)).output
            wanted = schedule.target(views.latents, noise, t)
            error = mean_square(output.float(), wanted, views.counts)
            errors += error.item() * len(rows)
        return {"loss": errors / total}

    def drawing(self) -> Drawing:
        self.network.eval()
        with self.model.as_drawn():
            return draw_held_out(self.generator, self.held_out, self.options)

    def components(self) -> Mapping[str, Any]:
        return self.model.components()

    def beside(self) -> Mapping[str, nn.Module]:
        kept = ("supervisor", "domain_adapter")
        return {name: self.modules[name] for name in kept if name in self.modules}

    def information(self) -> Mapping[str, Any]:
        return {**self.base.information, "name": "video"}

    def troubles(self) -> dict[str, str]:
        return self.clips.troubles()

    def _errors(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """The denoising and the flow error of a batch, two scalars with graphs."""
        views, schedule = batch.views, self.generator.schedule
        latents = views.latents
        if latents is None:
            assert views.frames is not None, "views have frames or latents"
            with torch.no_grad():
                latents = self.generator.encode(views.frames).float()
        if batch.frame is not None:
            latents = latents[torch.arange(len(latents)), :, batch.frame][:, :, None]
            condition = self._still_condition(views, latents)
        else:
            condition = self._condition(views, latents, batch.first_noise)
            condition = condition.drop_image(batch.no_image)
        condition = self._drop_text(condition, batch.no_text, views)
        prediction = self.generator.predict(
            schedule.add_noise(latents, batch.noise, batch.t), batch.t, condition
        )
        wanted = schedule.target(latents, batch.noise, batch.t)
        denoising = mean_square(prediction.output.float(), wanted, self._counts(batch, latents))
        return denoising, self._flow_error(prediction, batch)

    def _counts(self, batch: ClipBatch, latents: Tensor) -> Tensor | None:
        """How much each cell counts in denoising, (B, 1, 1 or F, h, w); None: all alike."""
        counts = batch.views.counts
        if batch.frame is not None or not self.options.changed_weight:
            return counts
        weights = changed_weights(latents, self.options.changed_weight)
        return weights if counts is None else weights * counts

    def _flow_error(self, prediction: Prediction, batch: ClipBatch) -> Tensor:
        target, counts = batch.views.target, batch.views.counts
        if batch.frame is not None:
            return prediction.output.new_zeros(())
        if counts is not None:
            # The flow too: it would be counted into the unit in which PredictNet answers.
            target = FlowTarget(target.flow * counts, target.visibility * counts)
        return self.supervisor.loss(prediction, target, batch.t)

    def _condition(
        self, views: Views, latents: Tensor, first_noise: tuple[Tensor, Tensor] | None = None
    ) -> VideoCondition:
        known = views.features
        if known is None:
            condition = self.generator.condition(views.first_frame, views.pairs, views.fps)
        else:
            fresh = {} if self.model.frozen_text else self.generator.motion_tokens(views.pairs)
            condition = VideoCondition(
                first_latent=latents[:, :, 0],
                first_frame=views.first_frame,
                fps=views.fps,
                views=self.generator.views(views.first_frame) if first_noise is None else None,
                **{"image": None, **known, **fresh},
            )
        if first_noise is None:
            return condition
        noisy_frame = condition.first_frame + first_noise[1]
        return replace(
            condition,
            first_latent=condition.first_latent + first_noise[0],
            first_frame=noisy_frame,
            views=self.generator.views(noisy_frame),
        )

    def _still_condition(self, views: Views, latents: Tensor) -> VideoCondition:
        """A picture alone is what its base drew before: a caption, and nothing of a first frame."""
        known = views.features
        if known is None:
            captions = [pair.appearance for pair in views.pairs]
            known = self.generator.appearance_tokens(captions, self._size(views))
        return VideoCondition(
            image=None,
            first_latent=latents[:, :, 0],
            first_frame=views.first_frame,
            fps=views.fps,
            text=known["text"],
            added=known.get("added"),
        )

    def _drop_text(
        self, condition: VideoCondition, dropped: Tensor, views: Views
    ) -> VideoCondition:
        size = self._size(views)
        if size not in self._empty:
            with torch.no_grad():
                self._empty[size] = self.generator.appearance_tokens([""], size)
        empty = self._empty[size] | self.generator.motion_tokens([_EMPTY])
        return condition.drop_text(
            dropped,
            empty["text"],
            empty.get("motion_text"),
            empty.get("motion_mask"),
            empty.get("added"),
        )

    def _time_noise(self, t: Tensor, chance: Tensor) -> Tensor:
        """How much noise the first frame gets, (B, 1, 1, 1): more where the clip has more.

        Source: TimeNoise, arXiv 2406.15735: the level is beta_m times the logistic of a normal
        whose mean rises as 2 (t / T)^5 - 1. Ours: the frame's latent and its pixels get it alike,
        its tokens do not.
        """
        share = t.float() / (self.generator.schedule.num_steps - 1)
        level = self.options.time_noise * torch.sigmoid(chance + 2 * share**5 - 1)
        return level[:, None, None, None]

    def _latent_shape(self, views: Views) -> tuple[int, ...]:
        """(C, F, h, w) of the views."""
        if views.latents is not None:
            return tuple(views.latents.shape[1:])
        assert views.frames is not None, "views have frames or latents"
        downscale = latent_downscale(self.model.vae)
        frames, height, width = views.frames.shape[2:]
        channels = self.network.spatial.config.in_channels
        return (channels, frames, height // downscale, width // downscale)

    @torch.no_grad()
    def _encode(self, frames: np.ndarray) -> Tensor:
        pictures = to_unit(rearrange(frames, "b f h w c -> (b f) h w c"))
        video = rearrange(pictures, "(b f) c h w -> b c f h w", f=frames.shape[1])
        return self.generator.encode(video).float().cpu()

    @torch.no_grad()
    def _flow(self, sample: VideoSample) -> np.ndarray:
        target = self.supervisor.targets(sample)
        planes = torch.cat([target.flow, target.visibility], 1)
        cell = latent_downscale(self.model.vae)
        return F.avg_pool3d(planes, (1, cell, cell)).cpu().numpy()

    @torch.no_grad()
    def _features(self, first: np.ndarray, pairs: list[CaptionPair]) -> dict[str, Tensor]:
        """What frozen encoders say: fields of a condition, on the CPU."""
        return self.generator.frozen_features(
            to_unit(first), pairs, motion_text=self.model.frozen_text
        )

    def _features_key(self) -> str:
        names = ["text_encoder", "text_encoder_2", "image_encoder", "tokenizer", "tokenizer_2"]
        if self.model.frozen_text:
            names += ["motion_text_encoder", "motion_tokenizer"]
        conventions = json.dumps(self.base.information.get("encoders"), sort_keys=True)
        return f"{self.base.hash_of(*filter(self.base.has, names))} {conventions}"

    @staticmethod
    def _size(views: Views) -> tuple[int, int]:
        return views.first_frame.shape[-2], views.first_frame.shape[-1]

    @staticmethod
    def _width(block: nn.Module) -> int:
        return int(block.resnets[-1].out_channels)  # type: ignore[index, union-attr]


def _length(gradients: tuple[Tensor | None, ...]) -> Tensor:
    return torch.stack([g.norm() for g in gradients if g is not None]).norm()
