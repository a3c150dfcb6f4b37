"""The language of a caption, as the splitter ``grammar`` judges it."""

from __future__ import annotations

from functools import cache

from fdream.stages.builtin.grammar.languages import foreign
from fdream.stages.builtin.grammar.tagger import CaptionTagger, clean


def language_of(caption: str) -> str:
    """Return the ISO 639-1 code of a caption's language.

    English is what nothing speaks against: a few words, or names of places, are no proof of
    another language. ``und`` is a script that English is not written in.
    """
    return foreign(_tagger(), clean(caption)) or "en"


@cache
def _tagger() -> CaptionTagger:
    return CaptionTagger()
