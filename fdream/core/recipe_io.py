"""Reading recipes: find, extend, merge, validate, and explain everything that is wrong at once.

Order, later over earlier: defaults, the recipe it extends, the file, ``--unset``, ``--set`` in the
order given. The command line's own flags are sugar for ``--set``.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, overload

from pydantic import BaseModel, ValidationError

from fdream.core.errors import RecipeError
from fdream.core.recipe import AnyRecipe, Recipe
from fdream.core.recipe_lookup import find_recipe, full_name
from fdream.core.recipe_merge import (
    DEFAULT_ORIGIN,
    Layers,
    Location,
    nest,
    origin_of,
    parse_assignment,
    parse_key,
)
from fdream.core.toml_text import dumps

_LONGEST_VALUE: Final = 60
_CHOOSING: Final = ("use", "objective", "source")
"""Keys whose value decides what the options of their table may be."""

R = TypeVar("R", bound=AnyRecipe)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a recipe.

    Attributes:
        location: the key.
        rule: what should hold, and the next step where there is one.
        value: what was found; ``...`` when there is nothing to show.
    """

    location: Location
    rule: str
    value: object = field(default=...)


Check = Callable[[R], Iterable[Problem]]
"""A later look at a recipe of the right shape, such as each stage's at its options."""


@dataclass(frozen=True, slots=True)
class LoadedRecipe(Generic[R]):
    """A recipe together with where it comes from.

    Attributes:
        recipe: the whole, valid recipe.
        origins: who set each key, by dotted name; keys not in it have their default.
        path: the file it was read from.
    """

    recipe: R
    origins: Mapping[str, str]
    path: Path

    def origin(self, key: str) -> str:
        """Return who set a key, as ``origin_of`` does."""
        return origin_of(self.origins, key)

    def toml(self) -> str:
        """Return the recipe with every key written out and nothing left to extend."""
        return resolved_toml(self.recipe)

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Raise one error for all the problems, if there are any.

        Raises:
            RecipeError: there is at least one.
        """
        found = list(problems)
        if found:
            raise RecipeError(_letter(self.path, found, lambda at: self.origin(".".join(at))))


@overload
def load_recipe(
    name_or_path: str | Path,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    checks: Sequence[Check[Recipe]] = (),
) -> LoadedRecipe[Recipe]: ...
@overload
def load_recipe(
    name_or_path: str | Path,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    checks: Sequence[Check[R]] = (),
    *,
    model: type[R],
) -> LoadedRecipe[R]: ...
def load_recipe(
    name_or_path: str | Path,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    checks: Sequence[Check[Any]] = (),
    *,
    model: type[Any] = Recipe,
) -> LoadedRecipe[Any]:
    """Read a recipe and everything laid over it.

    Args:
        name_or_path: as ``find_recipe`` takes it.
        sets: ``KEY=VALUE`` changes, in order.
        unsets: keys that get their defaults back, before any of ``sets``.
        checks: run on a recipe of the right shape; what they find is reported together.
        model: what the recipe describes, a training run unless said otherwise.

    Raises:
        RecipeError: it cannot be found, read, or is not valid; names every problem at once.
    """
    path = find_recipe(str(name_or_path))
    layers = Layers()
    _lay_default_stages(layers, model)
    for file, table in _lineage(path):
        layers.lay(table, str(file))
    problems = _apply_unsets(layers, unsets, sets, model)
    _lay_default_stages(layers, model)
    problems += _apply_sets(layers, sets)
    layers.tree.setdefault("name", path.stem)
    try:
        recipe = model.model_validate(layers.tree)
    except ValidationError as error:
        problems += problems_in(error, model=model)
        problems += _beside(error, layers.tree, checks, model)
        raise RecipeError(_letter(path, problems, layers.origin)) from error
    if problems:
        raise RecipeError(_letter(path, problems, layers.origin))
    loaded = LoadedRecipe(recipe, layers.origins(), path)
    loaded.refuse(problem for check in checks for problem in check(recipe))
    return loaded


def resolved_toml(recipe: AnyRecipe) -> str:
    """Write a recipe with every key, so that it means the same when defaults change."""
    return dumps(recipe.model_dump(by_alias=True, exclude={"extends"}))


def portable_text(path: Path) -> str:
    """Return a recipe's text, comments and all, with its parent named so that a copy finds it.

    Raises:
        RecipeError: the recipe cannot be read, or its parent cannot be found.
    """
    parent = read_toml(path).get("extends")
    text = path.read_text(encoding="utf-8")
    if not isinstance(parent, str):
        return text
    found = find_recipe(parent, path.parent)
    line = f"extends = {json.dumps(full_name(found) or str(found.resolve()))}"
    return re.sub(r"^extends\s*=.*$", lambda _: line, text, count=1, flags=re.MULTILINE)


def problems_in(
    error: ValidationError, prefix: Location = (), model: type[AnyRecipe] = Recipe
) -> list[Problem]:
    """Translate pydantic's findings.

    Args:
        error: from validating a recipe, or a free table of one.
        prefix: where that table stands in the recipe.
        model: the recipe's, whose keys are named where one is not known.
    """
    return [_problem(finding, prefix, model) for finding in error.errors(include_url=False)]


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        RecipeError: it cannot be read or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: not valid TOML: {error}.") from error


def _lineage(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the recipe and all it extends, the eldest first."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    seen: list[Path] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen:
            circle = " -> ".join(str(p) for p in [*(file for file, _ in chain), current])
            raise RecipeError(f"recipe {path}: extends itself in a circle: {circle}.")
        seen.append(current.resolve())
        table = read_toml(current)
        parent = table.get("extends")
        if chain:
            # A name and a parent belong to one file; children do not inherit them.
            table.pop("extends", None)
            table.pop("name", None)
        chain.append((current, table))
        current = find_recipe(parent, current.parent) if isinstance(parent, str) else None
    return chain[::-1]


def _beside(
    error: ValidationError, tree: dict[str, Any], checks: Sequence[Check[Any]], model: type[Any]
) -> list[Problem]:
    """Look at the rest of a recipe of the wrong shape, so that all its mistakes are told at once.

    Returns:
        What ``checks`` find where the wrong keys have their defaults; nothing where a wrong key
        would have chosen what the others are for, or where that is no recipe either.
    """
    places = [finding["loc"] for finding in error.errors(include_url=False)]
    if any(not place or place[-1] in _CHOOSING for place in places):
        return []
    rest = copy.deepcopy(tree)
    for place in places:
        table: Any = rest
        for part in place[:-1]:
            # The parts of a list are one key's.
            if not isinstance(table.get(part), dict):
                break
            table = table[part]
        else:
            part = place[-1]
        table.pop(part, None)
    try:
        recipe = model.model_validate(rest)
    except ValidationError:
        return []
    wrong = {tuple(map(str, place)) for place in places}
    found = [problem for check in checks for problem in check(recipe)]
    return [problem for problem in found if problem.location not in wrong]


def _lay_default_stages(layers: Layers, model: type[AnyRecipe]) -> None:
    """Name each stage that nobody chose, so that a recipe may set its options alone.

    It is a layer because a later ``use`` has to be seen as a change, which empties the options.
    """
    stages = layers.tree.get("stages", {})
    for kind, choice in model.model_fields["stages"].default:
        table = stages.get(kind, {}) if isinstance(stages, dict) else None
        if isinstance(table, dict) and "use" not in table:
            layers.lay(nest(("stages", kind, "use"), choice.use), DEFAULT_ORIGIN)


def _apply_unsets(
    layers: Layers, unsets: Sequence[str], sets: Sequence[str], model: type[AnyRecipe]
) -> list[Problem]:
    set_keys = set()
    for text in sets:
        with suppress(ValueError):  # told by _apply_sets
            set_keys.add(parse_assignment(text)[0])
    problems = []
    for text in unsets:
        try:
            location = parse_key(text)
        except ValueError as error:
            problems.append(Problem(("--unset",), f"{error}."))
            continue
        if location in set_keys:
            problems.append(Problem(location, "both --set and --unset; keep one of them."))
        elif not layers.remove(location) and not _is_known(location, model):
            problems.append(Problem(location, f"cannot be unset: {_unknown(location, model)}"))
    return problems


def _apply_sets(layers: Layers, sets: Sequence[str]) -> list[Problem]:
    problems = []
    for text in sets:
        try:
            location, value = parse_assignment(text)
        except ValueError as error:
            problems.append(Problem(("--set",), f"{error}."))
            continue
        if location == ("extends",):
            problems.append(Problem(location, "can be said in a recipe file only, not by --set."))
            continue
        layers.lay(nest(location, value), f"--set {text}")
    return problems


def _problem(finding: Any, prefix: Location, model: type[AnyRecipe]) -> Problem:
    location = (*prefix, *(str(part) for part in finding["loc"]))
    rule = finding["msg"].removeprefix("Value error, ").rstrip(".")
    match finding["type"]:
        case "missing":
            return Problem(location, "is missing and has no default.")
        case "extra_forbidden":
            return Problem(location, _unknown(location, model), finding["input"])
        case "model_type" | "dict_type":
            rule = "a table is expected, such as { key = value }"
        case "string_pattern_mismatch" if location == ("run", "device"):
            rule = "expected auto, cuda, cuda:N, mps or cpu"
    return Problem(location, f"{rule[0].lower()}{rule[1:]}.", finding["input"])


def _unknown(location: Location, model: type[AnyRecipe]) -> str:
    """Say that a key is unknown, with the nearest known one or all of them."""
    known = sorted(_keys_of(location[:-1], model))
    near = difflib.get_close_matches(location[-1], known, n=1)
    if near:
        return f"no such key; did you mean {near[0]}?"
    return f"no such key; known here: {', '.join(known)}." if known else "no such key."


def _is_known(location: Location, model: type[AnyRecipe]) -> bool:
    return location[-1] in _keys_of(location[:-1], model)


def _keys_of(location: Location, model: type[AnyRecipe]) -> set[str]:
    """Return the keys that the recipe's table at ``location`` may hold; none for a free table."""
    table: type[BaseModel] = model
    for part in location:
        found = table.model_fields.get(part)
        kind = found.annotation if found else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return set()
        table = kind
    return {field.alias or name for name, field in table.model_fields.items()}


def _letter(path: Path, problems: Sequence[Problem], origin: Callable[[Location], str]) -> str:
    lines = [_line(problem, origin) for problem in problems]
    if len(lines) == 1:
        return f"recipe {path}: {lines[0]}"
    return f"recipe {path}: {len(lines)} problems\n" + "\n".join(f"  {line}" for line in lines)


def _line(problem: Problem, origin: Callable[[Location], str]) -> str:
    key = ".".join(problem.location)
    if problem.value is ...:
        return f"{key}: {problem.rule}"
    value = repr(problem.value)
    if len(value) > _LONGEST_VALUE:
        value = f"{value[:_LONGEST_VALUE]}..."
    return f"{key} = {value} (from {origin(problem.location)}): {problem.rule}"
