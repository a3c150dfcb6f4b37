"""The video network: a frozen two-dimensional UNet, walked layer by layer with ours in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fdream.models.base_layout import block_layers, check_no_freeu
from fdream.models.conditions import Prediction, PreparedCondition, VideoCondition
from fdream.models.first_frame_condition import FirstFrameCondition

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from fdream.models.motion_modules import MotionModules


class FactorizedUNet(nn.Module):
    """The factorized spatiotemporal network of the paper's abstract: space frozen, time ours.

    Args:
        spatial: the base, taken whole and changed in nothing; frozen and in eval mode here, but
            never under `no_grad`, since gradients of later layers of ours pass through it.
        motion: our modules, built or loaded for this base.

    Attributes:
        gradient_checkpointing: recompute each layer (ResNet, temporal, attention) in backward.
        bypass_temporal: skip the temporal layers, to measure what they do.
        window: frames that see each other at once in attention over time; None for all.

    Raises:
        WeightsError: the base is not the one `motion` was made for.

    Source: the abstract's "factorized spatiotemporal framework". Ours: the walk calls the base's
    modules itself, without hooks, which run twice under checkpointing and break compilation.
    """

    def __init__(self, spatial: UNet2DConditionModel, motion: MotionModules) -> None:
        super().__init__()
        motion.check_base(spatial)
        self.spatial = spatial.requires_grad_(False).eval()
        self.motion = motion
        self.gradient_checkpointing = False
        self.bypass_temporal = False
        self.window: int | None = None
        # Not buffers: these must stay float32 when the network is cast to half precision.
        steps = torch.arange(motion.schedule.num_steps)
        self._angles = motion.schedule.noise_angle(steps)
        self._base_steps = motion.schedule.remap(steps, motion.base_schedule)

    def train(self, mode: bool = True) -> FactorizedUNet:
        """Set our modules to train or eval; the base stays in eval."""
        super().train(mode)
        self.spatial.eval()
        return self

    def forward(self, noisy: Tensor, t: Tensor, condition: VideoCondition) -> Prediction:
        """Predict, in the base's parametrisation, what `NoiseSchedule.target` defines.

        Args:
            noisy: (B, C, F, h, w) noisy latents. With F = 1 there is no video: the temporal layers,
                the first frame and its pixels are skipped, and the base draws an image.
            t: (B,) steps of the motion modules' schedule, whole or fractional.
            condition: of the B clips; prepared once by `motion.prepare`, or here when it is not.

        Returns:
            The raw output, and the features that PredictNet reads (none for F = 1).
        """
        check_no_freeu(self.spatial)
        if condition.prepared is None:
            condition = self.motion.prepare(condition)
        prepared = condition.prepared
        assert prepared is not None
        num_frames = noisy.shape[2]
        emb, level = self._embed(noisy, t, condition)
        walk = _Walk(self, prepared, emb, level, num_frames)
        features = rearrange(noisy, "b c f h w -> (b f) c h w")
        if self.spatial.config.center_input_sample:
            features = 2 * features - 1
        features = self.spatial.conv_in(features)
        if num_frames > 1 and prepared.first_frame is not None:
            features = features + FirstFrameCondition.over_frames(prepared.first_frame, num_frames)
        features, skips = walk.down(features)
        features = walk.block("mid", self.spatial.mid_block, features)[-1]
        features, taps = walk.up(features, skips)
        if self.spatial.conv_norm_out is not None:
            features = self.spatial.conv_act(self.spatial.conv_norm_out(features))
        output = rearrange(
            self.spatial.conv_out(features), "(b f) c h w -> b c f h w", f=num_frames
        )
        if num_frames > 1 and self.motion.recall is not None:
            output = self.motion.recall(
                output,
                features,
                noisy,
                t,
                condition.first_latent,
                level,
                self.motion.schedule,
                prepared.views,
            )
        return Prediction(output, taps)

    def _embed(self, noisy: Tensor, t: Tensor, condition: VideoCondition) -> tuple[Tensor, Tensor]:
        """The base's time embedding per frame (B F, T), and ours of the noise level (B, E)."""
        spatial, batch, num_frames = self.spatial, noisy.shape[0], noisy.shape[2]
        steps = _at(self._base_steps, t)
        emb = spatial.time_embedding(spatial.time_proj(steps).to(noisy.dtype))
        # The pooled caption is what the base was trained to pool: the text, without the image.
        pooled = spatial.get_aug_embed(emb, condition.text, condition.added or {})
        emb = emb if pooled is None else emb + pooled
        level = self.motion.level(_at(self._angles, t), condition.fps, noisy.dtype)
        if num_frames > 1:
            emb = emb + self.motion.level.to_time(level)
        if spatial.time_embed_act is not None:
            emb = spatial.time_embed_act(emb)
        emb = emb.expand(batch, -1)
        return repeat(emb, "b d -> (b f) d", f=num_frames), level


class _Walk:
    """One pass over the base's blocks, with what every layer of it needs.

    Args:
        net: the network.
        prepared: what was computed once per clip.
        emb: (B F, T) time embedding, per frame.
        level: (B, E) noise level embedding.
        num_frames: F.
    """

    def __init__(
        self,
        net: FactorizedUNet,
        prepared: PreparedCondition,
        emb: Tensor,
        level: Tensor,
        num_frames: int,
    ) -> None:
        self.net, self.prepared = net, prepared
        self.emb, self.level, self.num_frames = emb, level, num_frames
        self.text = repeat(prepared.tokens, "b l d -> (b f) l d", f=num_frames)
        self.temporal = num_frames > 1 and not net.bypass_temporal
        self.recompute = net.gradient_checkpointing and torch.is_grad_enabled()

    def down(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Walk the down blocks: the last features, and the skips in order."""
        skips = [features]
        for index, block in enumerate(self.net.spatial.down_blocks):
            outputs = self.block(f"down_{index}", block, features)
            features = outputs[-1]
            skips += outputs
            for sampler in block.downsamplers or ():
                features = sampler(features)
            if block.downsamplers is not None:
                skips.append(features)
        return features, skips

    def up(self, features: Tensor, skips: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Walk the up blocks: the last features, and the taps of the last two blocks."""
        blocks = self.net.spatial.up_blocks
        taps: list[Tensor] = []
        for index, block in enumerate(blocks):
            features = self.block(f"up_{index}", block, features, skips)[-1]
            if self.num_frames > 1 and index >= len(blocks) - 2:
                taps.append(rearrange(features, "(b f) c h w -> b c f h w", f=self.num_frames))
            for sampler in block.upsamplers or ():
                # The size of the skip that comes next: sizes that do not divide are kept.
                size = skips[-1].shape[-2:]
                exact = all(a == 2 * b for a, b in zip(size, features.shape[-2:], strict=True))
                features = sampler(features, None if exact else size)
        return features, taps

    def block(
        self, name: str, block: nn.Module, features: Tensor, skips: list[Tensor] | None = None
    ) -> list[Tensor]:
        """Walk the layers of one block; with skips, each layer takes one off their end."""
        outputs: list[Tensor] = []
        for index, (resnet, attention) in enumerate(block_layers(block)):
            if skips is not None:
                features = torch.cat([features, skips.pop()], dim=1)
            features = self._layer(f"{name}_{index}", features, resnet, attention)
            outputs.append(features)
        return outputs

    def _layer(
        self, place: str, features: Tensor, resnet: nn.Module, attention: nn.Module | None
    ) -> Tensor:
        """ResNet, temporal convolution, attention, pixel look-up, temporal attention."""
        ours, frames, prepared = self.net.motion.layer(place), self.num_frames, self.prepared
        features = self._run(resnet, features, self.emb)
        if self.temporal and ours.convolution is not None:
            features = self._run(ours.convolution, features, frames)
        if attention is not None:
            features = self._run(attention, features, self.text, return_dict=False)
            features = features[0]
        pixel_keys = prepared.pixel_keys.get(place)
        if frames > 1 and ours.pixel_aware is not None and pixel_keys is not None:
            features = self._run(ours.pixel_aware, features, frames, pixel_keys)
        if self.temporal and ours.attention is not None:
            features = self._run(
                ours.attention,
                features,
                frames,
                self.level,
                prepared.motion_keys.get(place),
                prepared.motion_mask,
                self.net.window,
            )
        return features

    def _run(self, layer: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        """Call a layer, or set it up to be computed again in backward."""
        if self.recompute:
            return checkpoint(layer, *inputs, use_reentrant=False, **options)
        return layer(*inputs, **options)


def _at(table: Tensor, t: Tensor) -> Tensor:
    """Rows of a (T,) table at whole steps, or between its rows at fractional ones: (B,) float32."""
    table = table.to(t.device)
    if not t.is_floating_point():
        return table[t]
    position = t.float().clamp(0, len(table) - 1)
    below = position.long().clamp(max=len(table) - 2)
    return torch.lerp(table[below], table[below + 1], position - below)
