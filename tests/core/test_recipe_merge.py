from __future__ import annotations

import pytest

from fdream.core.recipe_merge import (
    Layers,
    differing_keys,
    nest,
    parse_assignment,
    parse_key,
    parse_value,
)


def layered(*tables: dict[str, object]) -> Layers:
    layers = Layers()
    for number, table in enumerate(tables):
        layers.lay(table, f"layer {number}")
    return layers


def test_tables_merge_and_lists_replace() -> None:
    layers = layered({"a": {"x": 1, "l": [1, 2]}}, {"a": {"y": 2, "l": [3]}})
    assert layers.tree == {"a": {"x": 1, "y": 2, "l": [3]}}


def test_each_key_remembers_who_set_it_last() -> None:
    layers = layered({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}})
    assert layers.origins() == {"a.x": "layer 0", "a.y": "layer 1"}
    assert layers.origin(("a", "x")) == "layer 0"
    assert layers.origin(("a", "y", "2")) == "layer 1"
    assert layers.origin(("a",)) == "layer 1"
    assert layers.origin(("b",)) == "default"


def test_value_that_replaces_a_table_forgets_its_keys() -> None:
    layers = layered({"a": {"x": 1}}, {"a": 3})
    assert layers.tree == {"a": 3}
    assert layers.origins() == {"a": "layer 1"}


def test_table_that_replaces_a_value_takes_its_place() -> None:
    layers = layered({"a": 3}, {"a": {"x": 1}})
    assert layers.tree == {"a": {"x": 1}}
    assert layers.origins() == {"a.x": "layer 1"}


def test_layers_keep_no_reference_to_what_was_laid() -> None:
    table = {"a": {"l": [1]}}
    layers = layered(table)
    layers.lay({"a": {"l": [2], "x": 1}}, "later")
    assert table == {"a": {"l": [1]}}


def test_changed_stage_starts_with_empty_options() -> None:
    layers = layered(
        {"stages": {"generator": {"use": "dreamer", "options": {"frames": 16}}}},
        {"stages": {"generator": {"use": "other", "options": {"mode": "x"}}}},
    )
    assert layers.tree["stages"]["generator"] == {"use": "other", "options": {"mode": "x"}}
    assert "stages.generator.options.frames" not in layers.origins()


def test_same_stage_named_again_keeps_its_options() -> None:
    layers = layered(
        {"stages": {"generator": {"use": "dreamer", "options": {"frames": 16}}}},
        {"stages": {"generator": {"use": "dreamer"}}},
    )
    assert layers.tree["stages"]["generator"]["options"] == {"frames": 16}


def test_use_means_nothing_special_elsewhere() -> None:
    layers = layered({"data": {"x": {"use": 1, "options": {}}}}, {"data": {"x": {"use": 2}}})
    assert layers.tree["data"]["x"] == {"use": 2, "options": {}}


def test_removing_a_table_removes_its_keys() -> None:
    layers = layered({"a": {"x": 1, "y": 2}, "b": 1})
    assert layers.remove(("a",))
    assert layers.tree == {"b": 1}
    assert layers.origins() == {"b": "layer 0"}
    assert not layers.remove(("a", "x"))
    assert not layers.remove(("b", "x"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("[256, 256]", [256, 256]),
        ("true", True),
        ("cuda", "cuda"),
        ('"7"', "7"),
        ("", ""),
        ("{ a = 1 }", {"a": 1}),
        ("2025-01-01", "2025-01-01"),
        ("07:32:00", "07:32:00"),
        ("dpm++", "dpm++"),
        ("a=b", "a=b"),
        ("007", "007"),
    ],
)
def test_value_is_toml_where_it_can_be_and_a_string_elsewhere(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_assignment() -> None:
    assert parse_assignment("train.lr = 1e-4") == (("train", "lr"), 1e-4)
    assert parse_assignment("name=a=b") == (("name",), "a=b")


@pytest.mark.parametrize("text", ["train.lr", "=1", ".lr=1", "a b=1", "a..b=1", "a=1\nb=2", "a=\r"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|more than one line"):
        parse_assignment(text)


def test_a_key_with_a_space_is_quoted_as_in_toml() -> None:
    assert parse_assignment('emphasis."moving left"=2') == (("emphasis", "moving left"), 2)
    with pytest.raises(ValueError, match="is not a key"):
        parse_key("emphasis.moving left")


@pytest.mark.parametrize("text", ["a\nb", "a # b", "[a]", '"a', "a = 1"])
def test_a_key_is_one_toml_key(text: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        parse_key(text)


def test_keys_nest() -> None:
    assert nest(parse_key("a.b.c"), 1) == {"a": {"b": {"c": 1}}}


def test_keys_that_differ_are_named_with_their_tables() -> None:
    before = {"a": 1, "b": {"c": 2, "d": [3]}, "e": 5}
    after = {"a": 1, "b": {"c": 2, "d": [4]}, "f": 6}
    assert differing_keys(before, after) == ["b.d", "e", "f"]
    assert differing_keys(before, before) == []
