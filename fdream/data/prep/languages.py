"""The language of a caption."""

from __future__ import annotations


def language_of(caption: str) -> str:
    """Return the ISO 639-1 code of a caption's most likely language.

    It is a guess, and the shorter the caption the worse: names of places mislead it.
    """
    import py3langid

    return str(py3langid.classify(caption)[0])
