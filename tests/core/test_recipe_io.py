from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from fdream.core import recipe_lookup
from fdream.core.errors import RecipeError
from fdream.core.recipe import Recipe, SampleTable
from fdream.core.recipe_io import Problem, load_recipe, problems_in, resolved_toml
from fdream.core.recipe_lookup import find_recipe, list_recipes


@pytest.fixture
def recipes(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ./recipes and a package of its own, away from the real ones."""
    package = in_tmp / "site" / "fdream"
    (package / "_recipes").mkdir(parents=True)
    monkeypatch.setattr(recipe_lookup, "_PACKAGE", package)
    folder = in_tmp / "recipes"
    folder.mkdir()
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(name: str | Path, *sets: str, unsets: Iterable[str] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, sets, list(unsets))
    return str(caught.value)


# Layers


def test_empty_file_is_a_recipe_of_defaults_named_after_it(recipes: Path) -> None:
    write(recipes / "mine.toml", "")
    loaded = load_recipe("mine")
    assert loaded.recipe == Recipe(name="mine")
    assert loaded.path == Path("recipes/mine.toml")
    assert loaded.recipe.output_folder() == "runs/mine"


def test_later_layers_win_and_are_remembered(recipes: Path) -> None:
    write(recipes / "base.toml", "[train]\nlr = 1.0\nsteps = 10\nbatch_size = 4\n")
    write(recipes / "mine.toml", 'extends = "base"\n[train]\nlr = 2.0\nsteps = 20\n')
    loaded = load_recipe("mine", ["train.lr=3", "train.lr=4.5"])
    train = loaded.recipe.train
    assert (train.lr, train.steps, train.batch_size) == (4.5, 20, 4)
    assert loaded.origin("train.lr") == "--set train.lr=4.5"
    assert loaded.origin("train.steps") == "recipes/mine.toml"
    assert loaded.origin("train.batch_size") == "recipes/base.toml"
    assert loaded.origin("train.weight_decay") == "default"
    assert loaded.origin("train") == "--set train.lr=4.5"  # a table: who touched it last


def test_unset_restores_the_default_not_the_parent(recipes: Path) -> None:
    write(recipes / "base.toml", "[train]\nlr = 1.0\n")
    write(recipes / "mine.toml", 'extends = "base"\n[train]\nlr = 2.0\n')
    loaded = load_recipe("mine", unsets=["train.lr"])
    assert loaded.recipe.train.lr == Recipe(name="x").train.lr
    assert loaded.origin("train.lr") == "default"


def test_whole_table_can_be_unset_and_one_key_of_it_set(recipes: Path) -> None:
    write(recipes / "mine.toml", "[train]\nlr = 2.0\nsteps = 5\n")
    train = load_recipe("mine", ["train.steps=7"], ["train"]).recipe.train
    assert (train.steps, train.lr) == (7, Recipe(name="x").train.lr)


def test_name_and_parent_are_not_inherited(recipes: Path) -> None:
    write(recipes / "a.toml", 'name = "grandparent"\n')
    write(recipes / "b.toml", 'extends = "a"\nname = "parent"\n')
    write(recipes / "c.toml", 'extends = "b"\n')
    recipe = load_recipe("c").recipe
    assert (recipe.name, recipe.extends) == ("c", "b")


def test_parent_is_looked_for_beside_the_child_first(recipes: Path, in_tmp: Path) -> None:
    write(recipes / "base.toml", "[run]\nseed = 1\n")
    write(in_tmp / "other" / "base.toml", "[run]\nseed = 2\n")
    child = write(in_tmp / "other" / "mine.toml", 'extends = "base"\n')
    assert load_recipe(child).recipe.run.seed == 2
    (in_tmp / "other" / "base.toml").unlink()
    assert load_recipe(child).recipe.run.seed == 1


def test_circle_is_refused_and_drawn(recipes: Path) -> None:
    write(recipes / "a.toml", 'extends = "b"\n')
    write(recipes / "b.toml", 'extends = "a"\n')
    message = refused("a")
    assert "circle: recipes/a.toml -> recipes/b.toml -> recipes/a.toml" in message


def test_options_may_be_set_without_naming_the_default_stage(recipes: Path) -> None:
    write(recipes / "mine.toml", "[stages.generator.options]\nbundle = 'x'\n")
    choice = load_recipe("mine").recipe.stages.generator
    assert (choice.use, choice.options) == ("pocket", {"bundle": "x"})


def test_another_stage_than_the_default_starts_with_empty_options(recipes: Path) -> None:
    write(recipes / "base.toml", "[stages.generator.options]\nbundle = 'x'\n")
    write(recipes / "mine.toml", 'extends = "base"\n[stages.generator]\nuse = "dreamer"\n')
    assert load_recipe("mine").recipe.stages.generator.options == {}
    assert (
        load_recipe("base", ["stages.generator.use=dreamer"]).recipe.stages.generator.options == {}
    )


def test_unset_stage_is_the_default_stage_again(recipes: Path) -> None:
    write(recipes / "mine.toml", '[stages.generator]\nuse = "dreamer"\n')
    for key in ("stages.generator", "stages.generator.use", "stages"):
        assert load_recipe("mine", unsets=[key]).recipe.stages.generator.use == "pocket"


# What is refused


def test_all_problems_are_told_at_once_with_value_rule_and_layer(recipes: Path) -> None:
    write(recipes / "base.toml", "[train]\nsteps = true\n")
    write(recipes / "mine.toml", 'extends = "base"\n[train]\nlerning_rate = 1\n')
    message = refused("mine", "run.device=cudda", "data.validation", unsets=["train.nothing"])
    assert message.splitlines()[0] == "recipe recipes/mine.toml: 5 problems"
    assert (
        "train.steps = True (from recipes/base.toml): input should be a valid integer." in message
    )
    assert "train.lerning_rate = 1 (from recipes/mine.toml): no such key" in message
    assert (
        "run.device = 'cudda' (from --set run.device=cudda): "
        "expected auto, cuda, cuda:N, mps or cpu."
    ) in message
    assert "--set: 'data.validation' is not KEY=VALUE" in message
    assert "train.nothing: cannot be unset: no such key" in message


def test_single_problem_is_one_line(recipes: Path) -> None:
    write(recipes / "mine.toml", "")
    assert refused("mine", "train.setps=3") == (
        "recipe recipes/mine.toml: train.setps = 3 (from --set train.setps=3): "
        "no such key; did you mean steps?"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.lr=0", "greater than 0"),
        ("train.lr=inf", "finite"),
        ("train.steps=1.5", "valid integer"),
        ("train.compile=yes", "valid boolean"),
        ("train.objective=speech", "'autoencoder', 'contrastive', 'image', 'decoder' or 'video'"),
        ("train=3", "a table is expected"),
        ("sample.size=[96, 160]", "WIDTHxHEIGHT"),
        ("sample.size=64x0", "WIDTHxHEIGHT"),
        ("run.seed=-1", "greater than or equal to 0"),
        ("stages.generator=pocket", "a table is expected"),
        ("schema=2", "1"),
        ("name=../../etc", "pattern"),
        ("extends=base", "in a recipe file only"),
        ("tarin.lr=1", "did you mean train?"),
        ("run.device.name=x", "valid string"),
    ],
)
def test_wrong_values_are_refused(recipes: Path, change: str, told: str) -> None:
    write(recipes / "mine.toml", "")
    assert told in refused("mine", change)


def test_long_values_are_cut(recipes: Path) -> None:
    write(recipes / "mine.toml", f"nonsense = '{'x' * 500}'\n")
    assert len(refused("mine")) < 400


def test_set_and_unset_of_one_key_is_a_contradiction(recipes: Path) -> None:
    write(recipes / "mine.toml", "")
    assert "both --set and --unset" in refused("mine", "train.lr=1", unsets=["train.lr"])
    assert "both --set and --unset" in refused("mine", 'train."lr"=1', unsets=["train.lr"])


def test_unset_of_a_known_key_that_is_not_set_does_nothing(recipes: Path) -> None:
    write(recipes / "mine.toml", "")
    assert load_recipe("mine", unsets=["train.lr", "run"]).recipe == Recipe(name="mine")


def test_broken_toml_names_file_and_line(recipes: Path) -> None:
    write(recipes / "mine.toml", "a = 1\nb = = 2\n")
    message = refused("mine")
    assert "recipes/mine.toml" in message
    assert "line 2" in message


def test_file_that_is_not_text_is_refused(recipes: Path) -> None:
    (recipes / "mine.toml").write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in refused("mine")


def test_later_checks_are_reported_together_with_their_layers(recipes: Path) -> None:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        frames: int = 16

    def check(recipe: Recipe) -> Iterable[Problem]:
        try:
            Options.model_validate(recipe.stages.generator.options)
        except ValidationError as error:
            yield from problems_in(error, ("stages", "generator", "options"))
        yield Problem(("data", "source"), "does not fit.", recipe.data.source)

    write(recipes / "mine.toml", '[stages.generator.options]\nframes = "many"\nspeed = 2\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe("mine", checks=[check])
    message = str(caught.value)
    assert "3 problems" in message
    assert "stages.generator.options.frames = 'many' (from recipes/mine.toml)" in message
    assert "stages.generator.options.speed = 2 (from recipes/mine.toml): no such key." in message
    assert "data.source = 'spriteworld' (from default): does not fit." in message


def test_a_wrong_shape_hides_nothing_of_what_later_checks_find(recipes: Path) -> None:
    def check(recipe: Recipe) -> Iterable[Problem]:
        if recipe.train.objective == "video":
            yield Problem(("objective", "cilps"), "no such key.", recipe.objective.get("cilps"))
        yield Problem(("train", "lr"), "is wrong where it is the default.", recipe.train.lr)

    write(recipes / "mine.toml", "[objective]\ncilps = 4\n[train]\nbetas = [0.9, true]\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("mine", ["train.lr=fast", "train.objective=video"], checks=[check])
    told = str(caught.value)
    assert told.startswith("recipe recipes/mine.toml: 3 problems\n")
    assert "train.betas.1 = True (from recipes/mine.toml)" in told
    assert "train.lr = 'fast' (from --set train.lr=fast)" in told
    assert "objective.cilps = 4 (from recipes/mine.toml): no such key." in told
    # Nobody can say what the options of an objective may be that there is not.
    with pytest.raises(RecipeError) as caught:
        load_recipe("mine", ["train.objective=vidio"], checks=[check])
    assert "objective.cilps" not in str(caught.value)


# What is written


def test_resolved_recipe_reads_back_equal_and_extends_nothing(recipes: Path) -> None:
    write(recipes / "base.toml", "[sample]\nsize = '160x96'\nfps = 8\n[eval]\nmetrics = ['fvd']\n")
    write(recipes / "mine.toml", 'extends = "base"\n[objective]\n"odd key" = [1, "two"]\n')
    loaded = load_recipe("mine")
    write(recipes / "again.toml", loaded.toml())
    again = load_recipe("again").recipe
    assert again.extends is None
    assert again == loaded.recipe.model_copy(update={"extends": None})
    assert tomllib.loads(loaded.toml())["schema"] == 1


def test_recipe_cannot_be_changed() -> None:
    recipe = Recipe(name="x")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.lr = 1.0  # type: ignore[misc]


def test_size_is_width_first_in_a_recipe(recipes: Path) -> None:
    table = SampleTable.model_validate({"size": "160x96"})
    assert table.size == (96, 160)
    assert 'size = "160x96"' in resolved_toml(Recipe(name="x", sample=table))
    assert SampleTable.model_validate({"size": 64}).size == (64, 64)


# Where recipes are found


def test_lookup_takes_path_then_working_folder_then_checkout_then_package(
    recipes: Path, in_tmp: Path
) -> None:
    package = in_tmp / "site" / "fdream"
    write(package / "_recipes" / "pocket" / "vae.toml", "")
    assert find_recipe("pocket/vae") == package / "_recipes" / "pocket" / "vae.toml"
    write(in_tmp / "site" / "pyproject.toml", "")
    write(in_tmp / "site" / "recipes" / "pocket" / "vae.toml", "")
    assert find_recipe("pocket/vae") == in_tmp / "site" / "recipes" / "pocket" / "vae.toml"
    write(recipes / "pocket" / "vae.toml", "")
    assert find_recipe("pocket/vae") == Path("recipes/pocket/vae.toml")
    write(in_tmp / "vae.toml", "")
    assert find_recipe("vae.toml") == Path("vae.toml")


def test_path_from_the_readme_is_found_in_the_package(recipes: Path, in_tmp: Path) -> None:
    packaged = write(in_tmp / "site" / "fdream" / "_recipes" / "pocket" / "vae.toml", "")
    assert find_recipe("recipes/pocket/vae.toml") == packaged


def test_folder_is_not_a_recipe(recipes: Path) -> None:
    (recipes / "pocket.toml").mkdir()
    with pytest.raises(RecipeError):
        find_recipe("pocket")


def test_unknown_recipe_names_the_nearest(recipes: Path) -> None:
    write(recipes / "pocket" / "video.toml", "")
    with pytest.raises(RecipeError, match="did you mean pocket/video"):
        find_recipe("pocket/vidoe")
    with pytest.raises(RecipeError, match="fdream recipes list"):
        find_recipe("zzz")


def test_listing_takes_the_first_of_one_name_and_its_summary(recipes: Path, in_tmp: Path) -> None:
    write(recipes / "a.toml", "# fdream train a   a laptop, one minute\n[run]\n")
    packaged = in_tmp / "site" / "fdream" / "_recipes"
    write(packaged / "a.toml", "# hidden\n")
    write(packaged / "b.toml", "[run]\n")
    assert [(r.name, r.origin, r.summary) for r in list_recipes()] == [
        ("a", "./recipes", "fdream train a   a laptop, one minute"),
        ("b", "packaged", ""),
    ]
