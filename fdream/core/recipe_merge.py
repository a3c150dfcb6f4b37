"""Laying recipes over each other, and remembering which layer set each key."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

Location = tuple[str, ...]
"""The path of a key: ``train.lr`` is ``("train", "lr")``."""

DEFAULT_ORIGIN = "default"


class Layers:
    """Tables laid over each other: tables merge, everything else is replaced."""

    def __init__(self) -> None:
        """Start with nothing set."""
        self.tree: dict[str, Any] = {}
        self._origins: dict[Location, str] = {}

    def lay(self, table: Mapping[str, Any], origin: str) -> None:
        """Lay a table over what is there.

        Args:
            table: parsed TOML.
            origin: who says it, for messages.
        """
        self._merge(self.tree, table, (), origin)

    def remove(self, location: Location) -> bool:
        """Forget a key or table, so that its default holds; say whether it was set."""
        table: Any = self.tree
        for part in location[:-1]:
            table = table.get(part) if isinstance(table, dict) else None
        if not isinstance(table, dict) or location[-1] not in table:
            return False
        del table[location[-1]]
        self._forget(location)
        return True

    def origin(self, location: Location) -> str:
        """Return who set a key, as ``origin_of`` does."""
        return origin_of(self.origins(), ".".join(location))

    def origins(self) -> dict[str, str]:
        """Return who set each key, by dotted name."""
        return {".".join(key): who for key, who in self._origins.items()}

    def _merge(
        self, base: dict[str, Any], table: Mapping[str, Any], at: Location, origin: str
    ) -> None:
        if len(at) == 2 and at[0] == "stages" and _changes_stage(base, table):
            # The options of one stage mean nothing to another.
            base.pop("options", None)
            self._forget((*at, "options"))
        for key, value in table.items():
            here = (*at, key)
            if isinstance(value, Mapping) and (value or isinstance(base.get(key), dict)):
                if not isinstance(base.get(key), dict):
                    base[key] = {}
                    self._forget(here)
                self._merge(base[key], value, here, origin)
            else:
                self._forget(here)
                base[key] = deepcopy(value)
                self._origins[here] = origin

    def _forget(self, location: Location) -> None:
        for key in [k for k in self._origins if k[: len(location)] == location]:
            del self._origins[key]


def origin_of(origins: Mapping[str, str], key: str) -> str:
    """Return who set a key; for a part of a value, who set all of it; for a table, the last part.

    What nobody set has ``DEFAULT_ORIGIN``.

    Args:
        origins: who set each key, by dotted name.
        key: dotted name of a key, a table, or a part of either.
    """
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if found := origins.get(".".join(parts[:length])):
            return found
    inside = [who for name, who in origins.items() if key and name.startswith(f"{key}.")]
    return inside[-1] if inside else DEFAULT_ORIGIN


def _changes_stage(base: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    return "use" in table and "use" in base and table["use"] != base["use"]


def parse_key(text: str) -> Location:
    """Split ``train.lr`` into its parts; ``emphasis."moving left"`` has two, as in TOML.

    Raises:
        ValueError: not a dotted key.
    """
    rule = '; a part with a space is quoted, a."b c"' if " " in text else ""
    wrong = ValueError(f"{text!r} is not a key such as train.lr{rule}")
    if "\n" in text or "\r" in text:
        # A second line would be a second TOML statement.
        raise wrong
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        raise wrong from None
    parts: list[str] = []
    while table != 0:
        ((part, table),) = table.items()
        parts.append(part)
    return tuple(parts)


def parse_assignment(text: str) -> tuple[Location, Any]:
    """Read ``KEY=VALUE``: the value is TOML where it can be, else a bare string.

    Raises:
        ValueError: no ``=``, no key, or more than one line.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not KEY=VALUE, such as train.lr=1e-4")
    if "\n" in value or "\r" in value:
        # A second line would be a second TOML statement.
        raise ValueError(f"{text!r} has more than one line")
    return parse_key(key.strip()), parse_value(value.strip())


def parse_value(text: str) -> Any:
    """Return the TOML value that ``text`` writes, or ``text`` itself."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    # No recipe key is a date, and "2025-01-01" is a fine name.
    is_date = isinstance(value, (datetime.date, datetime.time))
    return text if is_date else value


def nest(location: Location, value: object) -> dict[str, Any]:
    """Return the table in which ``location`` holds ``value``."""
    table: Any = value
    for part in reversed(location):
        table = {part: table}
    assert isinstance(table, dict), "a location has at least one part"
    return table


def differing_keys(before: Mapping[str, Any], after: Mapping[str, Any], at: str = "") -> list[str]:
    """Return the dotted names of all keys in which two tables differ."""
    found: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differing_keys(old, new, f"{at}{key}.")
        elif old != new:
            found.append(f"{at}{key}")
    return found
