"""Which stages are installed, from package metadata alone: the cheapest of the three depths.

Built-in stages are declared in fdream's own pyproject through the same entry-point groups as
anyone's. Nothing is imported here, so no plugin can break a listing.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Final

from fdream.stages.spec import KINDS, StageKind

LIMIT_VARIABLE: Final = "FDREAM_PLUGINS"
"""Unset: every installed plugin is on. Empty: none. Otherwise: only these distributions."""

_OURS: Final = "fdream"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One stage as its distribution's metadata declares it.

    Attributes:
        kind: the entry-point group without its prefix.
        name: what the user writes.
        distribution: who declares it.
        version: of the distribution.
        entry_point: leads to the ``StageSpec``.
        rivals: other distributions that declare the same name; then none of them is usable.
        disabled: why the stage is switched off, or None.
    """

    kind: StageKind
    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint = field(repr=False, compare=False)
    rivals: tuple[str, ...] = ()
    disabled: str | None = None

    @property
    def builtin(self) -> bool:
        """Whether fdream itself declares it."""
        return canonical(self.distribution) == _OURS

    @property
    def owner(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}"


def canonical(distribution: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def group(kind: StageKind) -> str:
    """Return the entry-point group of a kind."""
    return f"fdream.{kind}"


def declared(kind: StageKind) -> dict[str, Declaration]:
    """Return the stages of a kind that may be chosen, by name; disabled ones are left out."""
    return {d.name: d for d in reversed(all_declarations(kind)) if d.disabled is None}


def all_declarations(kind: StageKind) -> list[Declaration]:
    """Return every declaration of a kind, disabled ones too, ordered by name and owner."""
    by_name: dict[str, list[Declaration]] = defaultdict(list)
    for entry_point in metadata.entry_points(group=group(kind)):
        found = _declaration(kind, entry_point)
        by_name[found.name].append(found)
    settled = (d for name in sorted(by_name) for d in _settle(by_name[name]))
    return list(settled)


def unmatched_limits() -> list[str]:
    """Return the names in ``FDREAM_PLUGINS`` that no installed plugin bears: likely misspelt."""
    limit = _limit()
    if limit is None:
        return []
    known = {canonical(d.distribution) for kind in KINDS for d in all_declarations(kind)}
    return sorted(limit - known)


def _declaration(kind: StageKind, entry_point: metadata.EntryPoint) -> Declaration:
    owner = entry_point.dist
    return Declaration(
        kind=kind,
        name=entry_point.name,
        distribution=owner.name if owner else "an unnamed distribution",
        version=owner.version if owner else "?",
        entry_point=entry_point,
    )


def _settle(claims: Iterable[Declaration]) -> list[Declaration]:
    """Decide between all that claim one name: ours first, then a single plugin, else nobody."""
    ordered = sorted(claims, key=lambda d: (not d.builtin, canonical(d.distribution)))
    limit = _limit()
    settled: list[Declaration] = []
    for claim in ordered:
        reason = None
        if claim.builtin:
            pass
        elif limit is not None and canonical(claim.distribution) not in limit:
            reason = f"{LIMIT_VARIABLE} does not name {claim.distribution}"
        elif ordered[0].builtin:
            reason = f"fdream has a built-in {claim.kind} of this name, and built-in names are kept"
        settled.append(replace(claim, disabled=reason))
    active = [d for d in settled if d.disabled is None]
    return [
        replace(d, rivals=tuple(other.owner for other in active if other is not d))
        if d.disabled is None
        else d
        for d in settled
    ]


def _limit() -> set[str] | None:
    value = os.environ.get(LIMIT_VARIABLE)
    if value is None:
        return None
    return {canonical(part.strip()) for part in value.split(",") if part.strip()}
