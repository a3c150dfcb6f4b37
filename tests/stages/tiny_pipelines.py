"""Random pipelines of a few thousand weights, in the format that real ones are saved in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import diffusers as d
import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_CLASSIC: Final = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
_T5: Final = {
    "vocab_size": 100,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
}


def stable_diffusion() -> Any:
    """SD 1.5 in small: pictures of 16x16 and multiples of 4."""
    return d.StableDiffusionPipeline(
        vae=_image_vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_clip_text(2))),
        tokenizer=_clip_tokenizer(),
        unet=_image_unet(cross_attention_dim=16),
        scheduler=d.DDIMScheduler(**_CLASSIC, clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    """SDXL in small: two text encoders, pooled text and size embeddings."""
    return d.StableDiffusionXLPipeline(
        vae=_image_vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_clip_text(3))),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**_clip_text(3))),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=_image_unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 6 + 16,
            use_linear_projection=True,
        ),
        scheduler=d.EulerDiscreteScheduler(**_CLASSIC),
    )


def stable_video_diffusion() -> Any:
    """SVD in small: four frames, no caption."""
    return d.StableVideoDiffusionPipeline(
        vae=d.AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            latent_channels=4,
        ),
        image_encoder=_vision(size=224, patch=32),
        unet=d.UNetSpatioTemporalConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=8,
            in_channels=8,
            out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            cross_attention_dim=16,
            num_attention_heads=4,
            projection_class_embeddings_input_dim=24,
            addition_time_embed_dim=8,
            num_frames=4,
        ),
        scheduler=d.EulerDiscreteScheduler(
            **_CLASSIC,
            prediction_type="v_prediction",
            use_karras_sigmas=True,
            timestep_type="continuous",
            sigma_min=0.002,
            sigma_max=700.0,
        ),
        feature_extractor=_image_processor(224),
    )


def wan_2_1() -> Any:
    """Wan 2.1 I2V in small: image tokens beside the text, 4 k + 1 frames."""
    return d.WanImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=UMT5EncoderModel(UMT5Config(**_T5)),
        vae=d.AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0),
        image_processor=_image_processor(32),
        image_encoder=_vision(size=32, patch=4),
        transformer=_wan_network(in_channels=36, out_channels=16, image_dim=16),
    )


def wan_2_2() -> Any:
    """Wan 2.2 TI2V in small: the first frame enters through its time steps."""
    return d.WanImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=UMT5EncoderModel(UMT5Config(**_T5)),
        vae=d.AutoencoderKLWan(
            base_dim=3,
            z_dim=48,
            in_channels=12,
            out_channels=12,
            is_residual=True,
            patch_size=2,
            latents_mean=[0.0] * 48,
            latents_std=[1.0] * 48,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            scale_factor_spatial=16,
            scale_factor_temporal=4,
            temperal_downsample=[False, True, True],
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=5.0),
        image_processor=None,
        image_encoder=None,
        transformer=_wan_network(in_channels=48, out_channels=48),
        transformer_2=None,
        boundary_ratio=None,
        expand_timesteps=True,
    )


def ltx_video() -> Any:
    """LTX-Video in small: 8 k + 1 frames in the large one, 4 k + 1 cells here."""
    return d.LTXImageToVideoPipeline(
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        vae=d.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1,) * 5,
            decoder_layers_per_block=(1,) * 5,
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False),
            decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4,
            upsample_factor=(1,) * 4,
            timestep_conditioning=False,
            patch_size=1,
            patch_size_t=1,
            encoder_causal=True,
            decoder_causal=False,
        ),
        text_encoder=T5EncoderModel(T5Config(**_T5)),
        tokenizer=_t5_tokenizer(),
        transformer=d.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=32,
        ),
    )


def cogvideox() -> Any:
    """CogVideoX I2V in small: 4 k + 1 frames of 16x16."""
    return d.CogVideoXImageToVideoPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=T5EncoderModel(T5Config(**_T5)),
        vae=d.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
        ),
        transformer=d.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=8,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=1,
            sample_width=2,
            sample_height=2,
            sample_frames=9,
            patch_size=2,
            temporal_compression_ratio=4,
            max_text_seq_length=226,
            use_rotary_positional_embeddings=True,
            use_learned_positional_embeddings=True,
        ),
        scheduler=d.DDIMScheduler(steps_offset=1, clip_sample=False),
    )


PRIORS: Final[dict[str, Callable[[], Any]]] = {
    "sd": stable_diffusion,
    "sdxl": stable_diffusion_xl,
}
GENERATORS: Final[dict[str, Callable[[], Any]]] = {
    "svd": stable_video_diffusion,
    "wan-2.1": wan_2_1,
    "wan-2.2": wan_2_2,
    "ltx": ltx_video,
    "cogvideox": cogvideox,
}


def build(name: str) -> Any:
    """Build one by name; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {**PRIORS, **GENERATORS}[name]()


def _image_unet(**options: Any) -> Any:
    return d.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
        **options,
    )


def _image_vae() -> Any:
    return d.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def _wan_network(**options: Any) -> Any:
    return d.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
        **options,
    )


def _clip_text(layers: int) -> dict[str, int]:
    return {
        "vocab_size": 100,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "projection_dim": 16,
    }


def _vision(size: int, patch: int) -> Any:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            projection_dim=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=size,
            intermediate_size=16,
            patch_size=patch,
        )
    )


def _image_processor(size: int) -> Any:
    return CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )


def _clip_tokenizer() -> Any:
    words = ["<|startoftext|>", "<|endoftext|>", *_LETTERS, *(f"{c}</w>" for c in _LETTERS)]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _t5_tokenizer() -> Any:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), ("\u2581", -2.5)]
    letters = [(letter, -5.0) for letter in _LETTERS]
    return T5TokenizerFast(vocab=[*special, *letters], extra_ids=0, model_max_length=64)
