"""Whether a caption is English, which is all that the grammar reads."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any, Final

from fdream.stages.builtin.grammar.tagger import CaptionTagger

_SAMPLE: Final = 60
"""Words that are looked at."""

_FEWEST: Final = 3
"""Fewer words in Latin letters say nothing about their language."""

_CERTAIN: Final = 0.5
"""Probability from which py3langid is believed."""


def foreign(tagger: CaptionTagger, text: str) -> str:
    """Return the language of a caption that is not English, or nothing.

    Args:
        tagger: knows the English words.
        text: from ``clean``.

    Returns:
        An ISO 639 code, ``"und"`` for a script that English is not written in, or ``""``.

    Ours: only captions with half of their words unknown are shown to py3langid, because on a few
    words it errs, and "barista preparing matcha" is English all the same.
    """
    words = re.findall(r"[^\W\d_]+", text)[:_SAMPLE]
    if not words:
        return ""
    if 2 * sum(not _latin(word) for word in words) > len(words):
        return _language(text)[0] or "und"
    if len(words) < _FEWEST or 2 * sum(not tagger.is_known(word) for word in words) < len(words):
        return ""
    code, certainty = _language(text)
    return code if code != "en" and certainty >= _CERTAIN else ""


def _latin(word: str) -> bool:
    return word.isascii() or "LATIN" in unicodedata.name(word[0], "")


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _language(text: str) -> tuple[str, float]:
    code, certainty = _identifier().classify(text[:1000])
    return str(code), float(certainty)
