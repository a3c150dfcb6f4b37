"""Every recipe in the tree is valid, explains itself, and survives being copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdream.core.recipe_io import load_recipe
from fdream.pipelines.training import check_recipe

ROOT = Path(__file__).parent.parent.parent / "recipes"
SHIPPED = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.toml"))


def test_the_model_inside_can_be_trained_again() -> None:
    assert {"pocket/vae", "pocket/clip", "pocket/t2i", "pocket/video"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_is_valid_with_all_its_options(name: str) -> None:
    is_base = name.endswith("base")  # only extended, never run
    load_recipe(ROOT / f"{name}.toml", checks=[] if is_base else [check_recipe])


@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_opens_with_its_command_or_its_purpose(name: str) -> None:
    first = (ROOT / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("# " if name.endswith("base") else f"# fdream train {name} ")


@pytest.mark.parametrize("name", SHIPPED)
def test_copy_means_the_same(
    name: str, fdream, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fdream("recipes", "copy", name, "elsewhere/copy.toml").code == 0
    monkeypatch.chdir(in_tmp / "elsewhere")
    copied = load_recipe("copy.toml").recipe.model_dump(exclude={"extends"})
    assert copied == load_recipe(ROOT / f"{name}.toml").recipe.model_dump(exclude={"extends"})
