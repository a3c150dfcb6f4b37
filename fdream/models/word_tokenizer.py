"""A word-level tokenizer for small vocabularies, in transformers' own format.

Ours: pocket knows some two hundred words; whole words keep its captions short and make it plain
which words it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_PAD, _UNKNOWN, _START, _END = "<pad>", "<unk>", "<s>", "</s>"


def word_tokenizer(words: Sequence[str], max_words: int) -> PreTrainedTokenizerFast:
    """Build a lower-casing tokenizer that keeps letters and digits and splits at everything else.

    Args:
        words: the vocabulary, without duplicates; order fixes the ids.
        max_words: length with the two marks at the ends, for padding and truncation.
    """
    vocabulary = {token: k for k, token in enumerate([_PAD, _UNKNOWN, _START, _END, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}]+"), behavior="removed")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(_START, vocabulary[_START]), (_END, vocabulary[_END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_words,
        padding_side="right",
        truncation_side="right",
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        bos_token=_START,
        eos_token=_END,
    )
