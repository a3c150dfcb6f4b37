"""Every recipe in the tree is valid, explains itself, and survives being copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fdream.core.eval_recipe import EvalRecipe
from fdream.core.prep_recipe import PrepRecipe
from fdream.core.recipe_io import load_recipe
from fdream.pipelines.eval_plan import check_eval
from fdream.pipelines.prep import check_prep
from fdream.pipelines.training import check_recipe

ROOT = Path(__file__).parent.parent.parent / "recipes"
SHIPPED = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.toml"))


def load(name: str, path: Path, *, checked: bool = False) -> dict[str, Any]:
    """Read a recipe as the command does that its folder is for; leave out whom it extends."""
    if name.startswith("prep/"):
        recipe: Any = load_recipe(
            path, checks=[check_prep] if checked else [], model=PrepRecipe
        ).recipe
    elif name.startswith("eval/"):
        recipe = load_recipe(path, checks=[check_eval] if checked else [], model=EvalRecipe).recipe
    else:
        recipe = load_recipe(path, checks=[check_recipe] if checked else []).recipe
    return recipe.model_dump(exclude={"extends"})


def test_the_model_inside_can_be_trained_again() -> None:
    assert {"pocket/vae", "pocket/clip", "pocket/t2i", "pocket/video"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_is_valid_with_all_its_options(name: str) -> None:
    is_base = name.endswith("base")  # only extended, never run
    load(name, ROOT / f"{name}.toml", checked=not is_base)


@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_opens_with_its_command_or_its_purpose(name: str) -> None:
    first = (ROOT / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0]
    command = f"# fdream train {name} "
    if name.startswith("prep/"):
        recipe = "" if name == "prep/default" else f" -r {name}"
        command = f"# fdream prep INPUT -o FOLDER{recipe} "
    if name.startswith("eval/"):
        command = "# fdream eval "
    assert first.startswith("# " if name.endswith("base") else command)


@pytest.mark.parametrize("name", SHIPPED)
def test_copy_means_the_same(
    name: str, fdream, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fdream("recipes", "copy", name, "elsewhere/copy.toml").code == 0
    monkeypatch.chdir(in_tmp / "elsewhere")
    assert load(name, Path("copy.toml")) == load(name, ROOT / f"{name}.toml")
