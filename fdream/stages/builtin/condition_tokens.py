"""Captions and the first frame into token features, in training and in generation alike.

A caption must meet the same padding and the same mask in both, and a picture the same scaling, or
the network is shown what it never learned from; hence one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from fdream.core.device import DeviceManager

# Means and deviations of RGB in [0, 1] that every CLIP image encoder is trained on.
# Source: Radford et al., arXiv 2103.00020, by way of the released models.
_CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)


def encode_text(
    tokenizer: PreTrainedTokenizerFast, encoder: Any, captions: list[str], device: DeviceManager
) -> Tensor:
    """Encode captions with a CLIP text encoder.

    Args:
        tokenizer: of the encoder.
        encoder: a ``CLIPTextModel`` or ``CLIPTextModelWithProjection``.
        captions: B texts; longer ones are cut at the tokenizer's length.
        device: where the encoder is.

    Returns:
        (B, L, D), the last hidden state. Padding is encoded along and not masked, as Stable
        Diffusion does: its attention was trained to find the end of the caption there.
    """
    tokens = _tokens(tokenizer, captions)
    hidden: Tensor = encoder(device.place(tokens["input_ids"])).last_hidden_state
    return hidden


def encode_motion_text(
    tokenizer: PreTrainedTokenizerFast, encoder: Any, captions: list[str], device: DeviceManager
) -> tuple[Tensor, Tensor]:
    """Encode captions of the motion with a T5 encoder.

    Args:
        tokenizer: of the encoder.
        encoder: a ``T5EncoderModel``.
        captions: B texts; longer ones are cut at the tokenizer's length.
        device: where the encoder is.

    Returns:
        (B, L, D) hidden states, and the mask (B, L), true where a token stands. T5 is trained
        with its padding masked, so it is masked here and again where the features are used.
    """
    tokens = _tokens(tokenizer, captions)
    mask = device.place(tokens["attention_mask"])
    hidden: Tensor = encoder(
        device.place(tokens["input_ids"]), attention_mask=mask
    ).last_hidden_state
    return hidden, mask.bool()


def encode_picture(encoder: Any, pictures: Tensor) -> Tensor:
    """Encode pictures with a CLIP image encoder.

    Args:
        encoder: a ``CLIPVisionModel`` or ``CLIPVisionModelWithProjection``.
        pictures: (B, 3, H, W) in [-1, 1], where the encoder is.

    Returns:
        (B, N, D), the last hidden state: the class token, then one token a patch.
    """
    hidden: Tensor = encoder(clip_pixels(pictures, encoder.config.image_size)).last_hidden_state
    return hidden


def clip_pixels(pictures: Tensor, side: int) -> Tensor:
    """Bring pictures to the size and scale of CLIP image encoders.

    Args:
        pictures: (B, 3, H, W) in [-1, 1].
        side: of the square that the encoder takes.

    Returns:
        (B, 3, side, side), normalised. The picture is squeezed, not cropped: what moves may be
        at its edge.
    """
    if pictures.shape[-2:] != (side, side):
        pictures = F.interpolate(pictures.float(), (side, side), mode="bicubic", antialias=True).to(
            pictures.dtype
        )
    mean = torch.tensor(_CLIP_MEAN, device=pictures.device, dtype=pictures.dtype)
    std = torch.tensor(_CLIP_STD, device=pictures.device, dtype=pictures.dtype)
    return (pictures / 2 + 0.5 - mean[:, None, None]) / std[:, None, None]


def _tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Any:
    return tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_attention_mask=True,
        return_tensors="pt",
    )


def unknown_words(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[str]:
    """Return the words of a caption that a word-level tokenizer lacks, in order, once each.

    Tokenizers that spell unknown words out of pieces (CLIP's and T5's own) know every word.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    tokens = tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True)
    places = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    words = [caption[start:end] for token, (start, end) in places if token == unknown]
    return list(dict.fromkeys(words))
