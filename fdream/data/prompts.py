"""Captions as text: what may stand in one, wherever it came from."""

from __future__ import annotations

import unicodedata
from typing import Final

from fdream.core.errors import UsageError

MAX_CHARACTERS: Final = 2000


def clean_prompt(text: str, place: str, *, may_be_empty: bool = False) -> str:
    """Return a prompt on one line, or say why it is none.

    Args:
        text: as the user gave it; line breaks and tabs become spaces.
        place: what to call it in messages, such as ``"PROMPT"``.
        may_be_empty: whether nothing at all is an answer.

    Raises:
        UsageError: empty, too long, or with characters that act on a terminal.
    """
    cleaned = " ".join(text.split())
    if not cleaned and not may_be_empty:
        raise UsageError(f'{place}: empty; say what to draw, such as "a corgi surfing".')
    if len(cleaned) > MAX_CHARACTERS:
        raise UsageError(
            f"{place}: {len(cleaned)} characters, the limit is {MAX_CHARACTERS}; shorten it "
            "(models read the first few dozen words)."
        )
    found = control_character(cleaned)
    if found is not None:
        raise UsageError(
            f"{place}: holds the control character U+{ord(found):04X} at position "
            f"{cleaned.index(found) + 1}; remove it."
        )
    return cleaned


def control_character(text: str) -> str | None:
    """Return the first character that is a command to a terminal or half a character, or None.

    Joiners and marks of direction stay: Persian, Hindi and many emoji need them, and whatever is
    shown is escaped by ``core.report`` anyway.
    """
    return next((c for c in text if unicodedata.category(c) in {"Cc", "Cs"}), None)
