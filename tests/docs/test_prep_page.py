"""docs/prep.md names what the recipe of preparation has, and leaves out no threshold."""

from __future__ import annotations

import re
from pathlib import Path

from fdream.core.prep_recipe import PrepRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "prep.md").read_text(encoding="utf-8")
TABLES = {name: type(table) for name, table in PrepRecipe(name="x") if hasattr(table, "model_dump")}


def test_every_key_that_the_page_names_is_one() -> None:
    named = set(re.findall(r"\b([a-z]+)\.([a-z_]+)\b(?:=|`| = )", PAGE))
    keys = {(table, key) for table, key in named if table in TABLES and key != "html"}
    assert len(keys) > 20
    unknown = {(table, key) for table, key in keys if key not in TABLES[table].model_fields}
    assert not unknown


def test_every_threshold_and_every_step_stands_there() -> None:
    missing = {key for key in TABLES["filter"].model_fields if f"`filter.{key}`" not in PAGE}
    assert not missing
    steps = TABLES.keys() - {"read", "stages"}
    assert not {step for step in steps if f"`[{step}]`" not in PAGE}
