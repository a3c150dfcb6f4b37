"""What a run did, counted from its tables; nothing may be missing from the sum."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fdream.core.paths import atomic_write
from fdream.data.prep.samples import QUARANTINED

if TYPE_CHECKING:
    from pathlib import Path

    from fdream.data.shards.folder import ShardFolder


@dataclass(slots=True)
class Tally:
    """Counts of a run.

    Attributes:
        sources: rows of the input.
        shards: how many.
        kept: clips.
        filtered: clips that did not pass, by the threshold.
        quarantined: sources, or clips named by the input, that could not be read, and why.
        seconds: of the kept clips.
        bytes: of the kept clips.
    """

    sources: int = 0
    shards: int = 0
    kept: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    bytes: int = 0

    @property
    def came_in(self) -> int:
        """Samples: every clip, and every source that did not become one."""
        return self.kept + self.filtered.total() + self.quarantined.total()

    def sentence(self) -> str:
        """Say it in one line."""
        return (
            f"{self.came_in} in = {self.kept} kept + {self.filtered.total()} filtered + "
            f"{self.quarantined.total()} quarantined"
        )

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "sources": self.sources,
            "shards": self.shards,
            "in": self.came_in,
            "kept": self.kept,
            "filtered": self.filtered.total(),
            "quarantined": self.quarantined.total(),
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "filtered_by": dict(self.filtered.most_common()),
            "quarantined_by": dict(self.quarantined.most_common()),
        }


def count(folder: ShardFolder) -> Tally:
    """Count the samples of all shards, by the tables that stand beside them."""
    from pyarrow import parquet

    tally = Tally()
    first: dict[str, str] = {}
    columns = ["key", "status", "error_message", "seconds", "bytes"]
    for number in folder.done():
        rows = parquet.read_table(folder.table(number), columns=columns).to_pylist()
        tally.shards += 1
        tally.sources += len({row["key"].partition("_")[0] for row in rows})
        for row in rows:
            if row["status"] == "success":
                tally.kept += 1
                tally.seconds += row["seconds"] or 0.0
                tally.bytes += row["bytes"]
            elif row["status"] in QUARANTINED:
                reason = row["error_message"]
                # Alike ones are counted together, under the first of them.
                tally.quarantined[first.setdefault(_kind(reason), reason)] += 1
            else:
                tally.filtered[row["error_message"].partition(":")[0]] += 1
    return tally


def _kind(reason: str) -> str:
    """Leave out the numbers of a reason, so that alike ones are found."""
    return re.sub(r"\d+(\.\d+)?", "#", reason)


def write_quarantine(folder: ShardFolder) -> Path:
    """Gather what was quarantined in all shards into ``quarantine.parquet``."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    from fdream.data.prep.samples import schema

    found = [schema().empty_table()]
    for number in folder.done():
        table = parquet.read_table(folder.table(number))
        found.append(table.filter(compute.field("status").isin(list(QUARANTINED))))
    path = folder.root / "quarantine.parquet"
    with atomic_write(path) as temporary:
        parquet.write_table(pa.concat_tables(found), temporary)
    return path
