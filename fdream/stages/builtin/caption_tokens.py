"""Captions into token features, in training and in generation alike.

A caption must meet the same padding and the same mask in both, or the network sees captions it was
never shown; hence one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from fdream.core.device import DeviceManager


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

    Returns:
        (B, L, D) hidden states, and the mask (B, L), true where a token stands. T5 was trained
        with its padding masked, so it is masked here and again where the features are used.
    """
    tokens = _tokens(tokenizer, captions)
    mask = device.place(tokens["attention_mask"])
    hidden: Tensor = encoder(
        device.place(tokens["input_ids"]), attention_mask=mask
    ).last_hidden_state
    return hidden, mask.bool()


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
    """Return the words of a caption that a word-level tokenizer does not have, in order, once each.

    Tokenizers that spell unknown words out of pieces (CLIP's and T5's own) know every word.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    tokens = tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True)
    words = [
        caption[start:end]
        for token, (start, end) in zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
        if token == unknown
    ]
    return list(dict.fromkeys(words))
