"""Captions and the first frame into token features, in training and in generation alike.

A caption must meet the same padding and the same mask in both, and a picture the same scaling, or
the network is shown what it never learned from; hence one place. Where encoders differ in this, the
bundle says so under ``fdream.encoders`` of its index.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from fdream.core.device import DeviceManager
    from fdream.models.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a bundle's CLIP pair was trained to be fed; the defaults are those of fdream's own.

    Released CLIP models encode padding unmasked in Stable Diffusion and have other means and
    deviations; a bundle that holds one states them.

    Attributes:
        mask_padding: whether the text encoder attends to the caption alone.
        image_mean: of RGB in [0, 1], subtracted.
        image_std: of RGB in [0, 1], divided by.
    """

    mask_padding: bool = True
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def of(cls, bundle: Bundle) -> Conventions:
        """Read them from a bundle.

        Raises:
            WeightsError: what it states is not of these types.
        """
        return bundle.stated(cls, "encoders")


def encode_text(
    tokenizer: PreTrainedTokenizerFast,
    encoder: Any,
    captions: list[str],
    device: DeviceManager,
    conventions: Conventions,
) -> Tensor:
    """Encode captions with a CLIP text encoder.

    Args:
        tokenizer: of the encoder.
        encoder: a ``CLIPTextModel`` or ``CLIPTextModelWithProjection``, on the device.
        captions: B texts; longer ones are cut at the tokenizer's length.
        device: where the encoder is.
        conventions: of the encoder.

    Returns:
        (B, L, D), the last hidden state, padding included.
    """
    ids, mask = _tokens(tokenizer, captions, device)
    hidden: Tensor = encoder(
        input_ids=ids, attention_mask=mask if conventions.mask_padding else None
    ).last_hidden_state
    return hidden


def encode_text_pair(
    tokenizers: Sequence[PreTrainedTokenizerFast],
    encoders: Sequence[Any],
    captions: list[str],
    device: DeviceManager,
) -> tuple[Tensor, Tensor]:
    """Encode captions with the two CLIP text encoders of SDXL.

    Args:
        tokenizers: of the encoders.
        encoders: on the device; the second has a projection.
        captions: B texts.
        device: where the encoders are.

    Returns:
        (B, L, D1 + D2), the last hidden states but one, and (B, P), the pooled projection.

    Source: Podell et al., arXiv 2307.01952, as diffusers' pipeline has it: padding is encoded.
    """
    hidden, pooled = [], None
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        ids, _ = _tokens(tokenizer, captions, device)
        answer = encoder(input_ids=ids, output_hidden_states=True)
        hidden.append(answer.hidden_states[-2])
        pooled = answer[0]
    assert pooled is not None
    return torch.cat(hidden, dim=-1), pooled


def encode_motion_text(
    tokenizer: PreTrainedTokenizerFast, encoder: Any, captions: list[str], device: DeviceManager
) -> tuple[Tensor, Tensor]:
    """Encode captions of the motion with a T5 encoder.

    Args:
        tokenizer: of the encoder.
        encoder: a ``T5EncoderModel``, on the device.
        captions: B texts; longer ones are cut at the tokenizer's length.
        device: where the encoder is.

    Returns:
        (B, L, D) hidden states, and the mask (B, L), true where a token stands. T5 is trained
        with its padding masked, so it is masked here and again where the features are used.
    """
    ids, mask = _tokens(tokenizer, captions, device)
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden, mask.bool()


def encode_picture(encoder: Any, pictures: Tensor, conventions: Conventions) -> Tensor:
    """Encode pictures with a CLIP image encoder.

    Args:
        encoder: a ``CLIPVisionModel`` or ``CLIPVisionModelWithProjection``.
        pictures: (B, 3, H, W) in [-1, 1], where the encoder is.
        conventions: of the encoder.

    Returns:
        (B, N, D), the last hidden state: the class token, then one token a patch.
    """
    pixels = clip_pixels(pictures, encoder.config.image_size, conventions)
    hidden: Tensor = encoder(pixel_values=pixels).last_hidden_state
    return hidden


def clip_pixels(pictures: Tensor, side: int, conventions: Conventions) -> Tensor:
    """Bring pictures to the size and scale that a CLIP image encoder takes.

    Args:
        pictures: (B, 3, H, W) in [-1, 1].
        side: of the square that the encoder takes.
        conventions: of the encoder.

    Returns:
        (B, 3, side, side), normalised. The picture is squeezed, not cropped: what moves may be
        at its edge.
    """
    pixels = pictures.float()
    height, width = pixels.shape[-2:]
    if height >= side and width >= side:
        pixels = F.interpolate(pixels, (side, side), mode="area")
    else:
        pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    mean = torch.tensor(conventions.image_mean, device=pixels.device)[:, None, None]
    std = torch.tensor(conventions.image_std, device=pixels.device)[:, None, None]
    return ((pixels / 2 + 0.5 - mean) / std).to(pictures.dtype)


def _tokens(
    tokenizer: PreTrainedTokenizerFast, captions: list[str], device: DeviceManager
) -> tuple[Tensor, Tensor]:
    tokens = tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return device.place(tokens["input_ids"]), device.place(tokens["attention_mask"])


def unknown_words(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[str]:
    """Return the words of a caption that a word-level tokenizer lacks, in order, once each.

    Symbols that it passes over, such as emoji, are words too. Tokenizers that spell words out of
    pieces (CLIP's and T5's own) know every word.
    """
    tokens = tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True)
    places = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    unknown = tokenizer.unk_token_id
    read: set[int] = set()
    found: dict[int, str] = {}
    for token, (start, end) in places:
        read.update(range(start, end))
        if token == unknown:
            found[start] = caption[start:end]
    passed_over = (place for place in range(len(caption)) if place not in read)
    found |= {k: caption[k] for k in passed_over if unicodedata.category(caption[k]) == "So"}
    words: dict[str, str] = {}
    for place in sorted(found):
        words.setdefault(found[place].lower(), found[place])
    return list(words.values())
