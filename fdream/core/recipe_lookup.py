"""Where recipes are found: a path, ./recipes, the checkout, then those inside the package."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from fdream.core.errors import RecipeError

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe that can be asked for by name.

    Attributes:
        name: such as ``pocket/video``.
        path: of the file.
        origin: ``./recipes``, ``checkout`` or ``packaged``.
        summary: the file's first comment line, or nothing.
    """

    name: str
    path: Path
    origin: str
    summary: str


def recipe_roots() -> list[tuple[str, Path]]:
    """Return the folders of recipes in the order of search, with their names.

    An editable install puts its copy of the recipes outside the imported package, so the checkout
    is searched as well.
    """
    roots = [("./recipes", Path("recipes"))]
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        roots.append(("checkout", _PACKAGE.parent / "recipes"))
    roots.append(("packaged", _PACKAGE / "_recipes"))
    seen: set[Path] = set()
    kept = []
    for name, root in roots:
        if root.is_dir() and root.resolve() not in seen:
            seen.add(root.resolve())
            kept.append((name, root))
    return kept


def find_recipe(name: str, beside: Path | None = None) -> Path:
    """Find a recipe by path or name.

    Args:
        name: ``run.toml``, ``pocket/video`` or ``recipes/pocket/video.toml``; the last is found in
            the package too, so that commands from the README work after a plain install.
        beside: for ``extends``, the folder of the recipe that says it; searched first.

    Raises:
        RecipeError: there is none; names the nearest.
    """
    direct = [Path(name)] if name.endswith(".toml") else []
    if beside is not None:
        direct = [beside / name, beside / f"{name}.toml"]
    stem = name.removeprefix("recipes/").removesuffix(".toml")
    named = [root / f"{stem}.toml" for _, root in recipe_roots()] if stem else []
    for candidate in [*direct, *named]:
        if candidate.is_file():
            return candidate
    known = [found.name for found in list_recipes()]
    near = difflib.get_close_matches(stem, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "`fdream recipes list` names those known"
    )
    raise RecipeError(
        f"recipe {name!r}: no such file or recipe; {hint} "
        "(searched: the path itself, ./recipes, the packaged recipes)."
    )


def list_recipes() -> list[RecipeFile]:
    """Return every recipe that has a name; of two with one name the first found counts."""
    found: dict[str, RecipeFile] = {}
    for origin, root in recipe_roots():
        for path in sorted(root.rglob("*.toml")):
            name = path.relative_to(root).with_suffix("").as_posix()
            found.setdefault(name, RecipeFile(name, path, origin, _first_comment(path)))
    return [found[name] for name in sorted(found)]


def full_name(path: Path) -> str | None:
    """Return the name under which a recipe file is found from anywhere, if it has one."""
    wanted = path.resolve()
    return next((r.name for r in list_recipes() if r.path.resolve() == wanted), None)


def _first_comment(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as lines:
            first = lines.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"(cannot be read: {error})"
    return first.lstrip("# ") if first.startswith("#") else ""
