"""What is installed and whether it can be used: the facts behind ``fdream plugins``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fdream.core.errors import PluginError
from fdream.stages.declarations import Declaration, all_declarations
from fdream.stages.registry import load_spec, missing_requirements
from fdream.stages.spec import StageKind

Status = Literal["declared", "ready", "lacks requirements", "disabled", "clash", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One installed stage.

    The fields after ``detail`` come from the stage's spec; they stay empty when it was not read.

    Attributes:
        kind: of the stage.
        name: what the user writes.
        distribution: who declares it.
        version: of the distribution.
        builtin: whether fdream itself declares it.
        status: ``declared`` means that metadata alone was read.
        detail: why it cannot be used; empty when it can.
        summary: one line.
        licence: SPDX identifier.
        requires: modules it needs.
        missing: those of them that are not installed.
        downloads: what it fetches on first use.
    """

    kind: StageKind
    name: str
    distribution: str
    version: str
    builtin: bool
    status: Status
    detail: str = ""
    summary: str = ""
    licence: str = ""
    requires: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def survey(kinds: Iterable[StageKind], *, check: bool) -> list[Finding]:
    """List the stages of some kinds.

    Args:
        kinds: which, in the order wanted.
        check: import each stage's light spec too; a broken one becomes a finding. What is
            disabled is never imported.
    """
    return [_find(d, check=check) for kind in kinds for d in all_declarations(kind)]


def _find(found: Declaration, *, check: bool) -> Finding:
    def finding(status: Status, detail: str = "", **more: Any) -> Finding:
        return Finding(
            kind=found.kind,
            name=found.name,
            distribution=found.distribution,
            version=found.version,
            builtin=found.builtin,
            status=status,
            detail=detail,
            **more,
        )

    if found.disabled is not None:
        return finding("disabled", found.disabled)
    if found.rivals:
        return finding("clash", f"also declared by {' and '.join(found.rivals)}")
    if not check:
        return finding("declared")
    try:
        declares = load_spec(found)
    except PluginError as error:
        return finding("broken", str(error))
    missing = tuple(missing_requirements(declares))
    return finding(
        "lacks requirements" if missing else "ready",
        f"not installed: {', '.join(missing)}" if missing else "",
        summary=declares.summary,
        licence=declares.licence,
        requires=declares.requires,
        missing=missing,
        downloads=declares.downloads,
    )
