"""``fdream recipes``: reach the recipes that come with fdream, also after a plain install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdream.cli import render
from fdream.cli.params import JsonOption

app = typer.Typer(help="List the recipes at hand, copy one to change it.", rich_markup_mode=None)


@app.callback()
def recipes() -> None:
    """List the recipes at hand, copy one to change it."""


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List recipes by the name under which `fdream train` takes them.

    Searched: ./recipes, the checkout, then those inside the package.

    \b
    Examples:
      fdream recipes list
      fdream recipes list --json
    """
    from fdream.core.recipe_lookup import list_recipes

    found = list_recipes()
    if json:
        render.as_json(
            [
                {"name": r.name, "origin": r.origin, "path": str(r.path), "summary": r.summary}
                for r in found
            ]
        )
        return
    render.table(["name", "origin", "summary"], [[r.name, r.origin, r.summary] for r in found])


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name or path of a recipe.")],
    target: Annotated[
        Path | None, typer.Argument(help="File to write; NAME.toml here when not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of yours and print its path.

    If it extends another, the copy names that one in full, so that it is found from anywhere.

    \b
    Examples:
      fdream recipes copy pocket/video
      fdream recipes copy pocket/video mine.toml
    """
    from fdream.core.errors import OutputError
    from fdream.core.paths import atomic_write
    from fdream.core.recipe_io import portable_text
    from fdream.core.recipe_lookup import find_recipe

    source = find_recipe(name)
    place = target or Path(source.name)
    if place.is_dir():
        place = place / source.name
    if place.exists() and not force:
        raise OutputError(f"{place} exists; name another file, or overwrite it with --force.")
    with atomic_write(place) as temporary:
        temporary.write_text(portable_text(source), encoding="utf-8")
    render.line(str(place))
