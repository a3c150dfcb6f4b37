"""Captions of other languages are told from English ones."""

from __future__ import annotations

import pytest

from fdream.data.prep.languages import language_of


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("A woman in a yellow hoodie makes a sign", "en"),
        ("Eine Frau geht mit ihrem Hund am Strand spazieren", "de"),
        ("una mujer camina por la playa con su perro al atardecer", "es"),
        ("aerial view of hong kong, 2016", "en"),
        ("4k", "en"),
    ],
)
def test_language(caption: str, language: str) -> None:
    assert language_of(caption) == language
