"""A long run takes no more memory than a short one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fdream.core.device import DeviceManager
from fdream.core.prep_recipe import PrepRecipe
from fdream.data.prep import isolation
from fdream.data.prep.sources.find import open_source
from fdream.data.shards.folder import ShardFolder
from fdream.pipelines.prep import partitions
from fdream.pipelines.prep_engines import Making, make_locally


def resident_kb() -> int:
    """Resident memory of this process and all that descend from it."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            lines = (entry / "status").read_text().splitlines()
        except OSError:  # it has ended meanwhile
            continue
        facts = dict(line.split(":", 1) for line in lines)
        pid = int(entry.name)
        parents[pid] = int(facts["PPid"])
        sizes[pid] = int(facts.get("VmRSS", "0 kB").split()[0])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(sizes[pid] for pid in family)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_after_two_thousand_clips_is_that_after_two_hundred(
    make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_SOURCES_A_WORKER", 1 << 30)  # no fresh worker hides a leak
    videos = [make_video(f"{n}.mp4", [(n, 8)]) for n in range(8)]
    table = tmp_path / "t.csv"
    rows = (f"{videos[n % 8].name},caption {n}" for n in range(2000))
    table.write_text("video,caption\n" + "\n".join(rows) + "\n")
    recipe = PrepRecipe.model_validate({"name": "x", "shard": {"rows": 100}})
    source = open_source(str(table), recipe.read)
    making = Making(tmp_path / "out", recipe, 2, lambda: DeviceManager.choose("cpu"))
    done, sizes = 0, {}
    with ShardFolder(making.folder).locked():
        for rows_done in make_locally(making, partitions(source.rows(), 100)):
            done += rows_done
            if done in (200, 2000):
                sizes[done] = resident_kb()
    assert sizes[2000] <= 1.1 * sizes[200], sizes
