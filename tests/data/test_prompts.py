"""Prompts: any language passes, commands to a terminal do not."""

from __future__ import annotations

import pytest

from fdream.core.errors import UsageError
from fdream.data.prompts import clean_prompt


@pytest.mark.parametrize(
    "text",
    [
        "a corgi",
        "\u30b3\u30fc\u30ae\u30fc",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f680 in space",
        "50 % & <b>",
    ],
)
def test_any_language_passes_unchanged(text: str) -> None:
    assert clean_prompt(text, "PROMPT") == text


def test_line_breaks_become_spaces() -> None:
    assert clean_prompt("  a corgi\n\tsurfing \r\n", "PROMPT") == "a corgi surfing"


@pytest.mark.parametrize(
    "text", ["", "   ", "\n", "x" * 100_000, "a\x1b[31mred", "a\x00b", "\ud800", "a\x9bb"]
)
def test_what_is_no_prompt_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="PROMPT"):
        clean_prompt(text, "PROMPT")


def test_nothing_is_an_answer_where_it_may_be() -> None:
    assert clean_prompt(" ", "--negative", may_be_empty=True) == ""
