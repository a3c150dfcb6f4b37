"""``fdream config``: the settings of this machine, and who set each."""

from __future__ import annotations

import typer

from fdream.cli import render
from fdream.cli.params import JsonOption

app = typer.Typer(help="Show the settings of this machine.", rich_markup_mode=None)


@app.callback()
def config() -> None:
    """Show the settings of this machine."""


@app.command()
def show(json: JsonOption = False) -> None:
    """Show every setting with its origin.

    The first that speaks wins: command line, FDREAM_* variables, ./fdream.toml, the user's file,
    defaults.

    \b
    Examples:
      fdream config show
      FDREAM_DEVICE=cpu fdream config show --json
    """
    from fdream.core.settings import Settings, load_settings, shown

    loaded = load_settings()
    rows = {
        name: {"value": shown(getattr(loaded.settings, name)), "origin": loaded.origin(name)}
        for name in Settings.model_fields
    }
    if json:
        render.as_json(rows)
        return
    cells = [
        [name, "" if row["value"] is None else str(row["value"]), str(row["origin"])]
        for name, row in rows.items()
    ]
    render.table(["setting", "value", "origin"], cells)
