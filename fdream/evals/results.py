"""The result of a measurement as JSON, and reading it back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from fdream.core.errors import DataError
from fdream.core.paths import atomic_write
from fdream.evals.figures import Figure

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What is known of a set that was measured.

    Attributes:
        source: what the user named, without folders that lead to it.
        count: videos measured.
        content: hash of the videos, whatever their order.
        keys: hash of the videos' keys, in drawn order: equal keys can be compared pair by pair.
        fps: how many clips have which rate.
        codecs: how many clips are of which codec.
        sizes: how many clips are of which size.
        rejected: reasons by key.
    """

    source: str
    count: int
    content: str
    keys: str
    fps: Mapping[str, int] = field(default_factory=Counter)
    codecs: Mapping[str, int] = field(default_factory=Counter)
    sizes: Mapping[str, int] = field(default_factory=Counter)
    rejected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a measurement found.

    Attributes:
        recipe: its name.
        protocol_of: whose protocol it is.
        note: what keeps its figures from being compared.
        figures: in the order asked for.
        real: facts of the reference set; None without one.
        fake: facts of the generated set.
        skipped: metrics that were not run, and why.
        warnings: of the whole measurement.
        published: rows of the recipe.
        environment: versions and device.
    """

    recipe: str
    protocol_of: str
    note: str
    figures: list[Figure]
    real: SetFacts | None
    fake: SetFacts
    skipped: Mapping[str, str]
    warnings: list[str]
    published: list[dict[str, Any]]
    environment: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "schema": SCHEMA,
            "kind": "fdream eval",
            "recipe": self.recipe,
            "protocol_of": self.protocol_of,
            "note": self.note,
            "figures": {figure.name: figure.record() for figure in self.figures},
            "real": None if self.real is None else _facts(self.real),
            "fake": _facts(self.fake),
            "skipped": dict(self.skipped),
            "warnings": list(self.warnings),
            "published": self.published,
            "environment": self.environment,
        }


def write_result(path: Path, record: Mapping[str, Any]) -> None:
    """Write a result as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class StoredFigure(BaseModel):
    """What comparing needs of a figure; ``Figure.record`` wrote it."""

    value: float
    better: Literal["lower", "higher", "neither"]
    n_real: int
    n_fake: int
    protocol: dict[str, str]
    without: tuple[float, ...]

    def said(self) -> dict[str, str]:
        """Return everything that decides the figure, the counts among it."""
        return {**self.protocol, "n": f"{self.n_real} real, {self.n_fake} generated"}


class StoredSet(BaseModel):
    """What comparing needs of a set; ``SetFacts`` wrote it."""

    content: str
    keys: str


class StoredResult(BaseModel):
    """What comparing needs of a result."""

    figures: dict[str, StoredFigure]
    real: StoredSet | None
    fake: StoredSet


def read_result(path: Path) -> StoredResult:
    """Read a result back.

    Raises:
        DataError: it cannot be read, or is no result of ``fdream eval``.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read as a result ({reason}).") from error
    if not isinstance(record, dict) or record.get("kind") != "fdream eval":
        raise DataError(f"{path}: no result of `fdream eval --json`.")
    if record.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: of schema {record.get('schema')!r}; this fdream reads {SCHEMA}. Measure "
            "again, or use a matching fdream."
        )
    try:
        return StoredResult.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {place}: {first['msg'].lower()}; the result was changed since it was "
            "written. Measure again."
        ) from error


def _facts(facts: SetFacts) -> dict[str, Any]:
    return {
        "source": facts.source,
        "count": facts.count,
        "content": facts.content,
        "keys": facts.keys,
        "fps": dict(facts.fps),
        "codecs": dict(facts.codecs),
        "sizes": dict(facts.sizes),
        "rejected": dict(facts.rejected),
    }
