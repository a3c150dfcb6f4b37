from __future__ import annotations

import tomllib

import pytest

from fdream.core.toml_text import dumps


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": 1, "b": -2.5e-7, "c": True, "d": "text", "e": [1, "two", [3.0]]},
        {"t": {"x": 1, "u": {"y": "deep"}}, "after": "table"},
        {"empty": {}, "also": {"empty": {}}},
        {"quoted key": 1, "dotted.key": {"dpm++": 2}, "caf\u00e9": 3},
        {"text": 'quote " backslash \\ newline \n tab \t del \x7f bell \x07 emoji \U0001f600'},
        {"rows": [{"a": 1}, {"b": {"c": "x"}}, {}]},
        {"big": 1e16, "small": 5e-324, "infinite": float("inf"), "long": 2**62},
    ],
)
def test_what_is_written_reads_back_the_same(document: dict[str, object]) -> None:
    assert tomllib.loads(dumps(document)) == document


def test_none_is_left_out_and_tuples_are_lists() -> None:
    assert tomllib.loads(dumps({"a": None, "b": (1, 2), "c": {"d": None}})) == {
        "b": [1, 2],
        "c": {},
    }


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="no TOML for bytes"):
        dumps({"a": b"bytes"})
