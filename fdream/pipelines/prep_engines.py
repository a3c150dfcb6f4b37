"""Where shards are made: by processes of this machine, or by Ray over a cluster.

Either makes every shard from its own rows alone, with the same functions, so the shards are the
same; what needs all of them comes afterwards, in one place.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.core.errors import FdreamError
from fdream.core.prep_recipe import PrepRecipe
from fdream.data.prep.isolation import IsolatedWorkers, Job
from fdream.data.prep.shard_builder import Partition, ShardBuilder
from fdream.data.shards.folder import ShardFolder, shard_name
from fdream.stages import registry

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.data.prep.clipping import SourceResult
    from fdream.stages.interfaces import SplitterStage

ENGINES: Final = ("local", "ray")
_WAVE: Final = 512
"""Shards that Ray is handed at once: their rows lie in its memory."""


@dataclass(frozen=True, slots=True)
class Making:
    """What making a shard takes.

    Attributes:
        folder: where shards go; on a cluster every machine sees it under this name.
        recipe: of the run.
        workers: processes that decode, in all.
        device: chooses the device when a stage needs one.
    """

    folder: Path
    recipe: PrepRecipe
    workers: int
    device: Callable[[], DeviceManager]

    def builder(self) -> ShardBuilder:
        """Return what writes the shards."""
        split = self.recipe.split.use
        return ShardBuilder(
            ShardFolder(self.folder), self.recipe, partial(_splitter, self) if split else None
        )


def make_locally(making: Making, parts: Iterable[Partition]) -> Iterator[int]:
    """Make shards with processes of this machine.

    Yields:
        One for each row that is done, as it is done.
    """
    spool = making.folder / "_prep" / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    builder = making.builder()
    with IsolatedWorkers(making.workers, making.recipe.limits) as pool:
        for done in _gathered(parts, pool, making.recipe, spool):
            if isinstance(done, int):
                yield done
                continue
            part, results = done
            builder.build(part, results)
            shutil.rmtree(spool / shard_name(part.number), ignore_errors=True)
    shutil.rmtree(spool, ignore_errors=True)


def make_on_ray(making: Making, parts: Iterable[Partition]) -> Iterator[int]:
    """Make shards on a Ray cluster: the one that RAY_ADDRESS names, else one on this machine.

    Yields:
        The number of rows of each shard that is done.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # libraries report to nobody
    import ray

    ray.init(
        ignore_reinit_error=True,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    waiting = iter(parts)
    while wave := list(islice(waiting, _WAVE)):
        packed = [{"part": pickle.dumps(part)} for part in wave]
        data = ray.data.from_items(packed, override_num_blocks=len(wave))
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # set anew by the line above
        made = data.map(
            _RayMaker,
            fn_constructor_kwargs={"making": making},
            compute=ray.data.ActorPoolStrategy(size=min(making.workers, len(wave))),
            num_cpus=1,
        )
        try:
            for row in made.iter_rows():
                yield int(row["rows"])
        except ray.exceptions.RayError as error:
            raise _ours(error) from error


class _RayMaker:
    """Makes one shard after another in an actor of Ray, with a worker process of its own."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self._builder = making.builder()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part: Partition = pickle.loads(row["part"])  # packed by make_on_ray, a moment ago
        recipe = self._making.recipe
        with (
            tempfile.TemporaryDirectory(prefix="fdream-") as spool,
            IsolatedWorkers(1, recipe.limits) as pool,
        ):
            for done in _gathered([part], pool, recipe, Path(spool)):
                if not isinstance(done, int):
                    self._builder.build(*done)
        return {"rows": len(part.rows)}


def _gathered(
    parts: Iterable[Partition], pool: IsolatedWorkers, recipe: PrepRecipe, spool: Path
) -> Iterator[int | tuple[Partition, list[SourceResult]]]:
    """Run all rows through the workers without a pause between shards.

    Yields:
        1 for every row that is done, and every shard with its results once all are there.
    """
    begun: deque[Partition] = deque()

    def jobs() -> Iterator[Job]:
        for part in parts:
            begun.append(part)
            for index, row in enumerate(part.rows):
                yield Job(row, recipe, spool / shard_name(part.number) / f"{index:04d}")

    gathered: list[SourceResult] = []
    for result in pool.results(jobs()):
        gathered.append(result)
        yield 1
        if len(gathered) == len(begun[0].rows):
            yield begun.popleft(), gathered
            gathered = []


def _splitter(making: Making) -> SplitterStage:
    choice = making.recipe.stages.splitter
    return registry.build("splitter", choice.use, choice.options, device=making.device())


def _ours(error: BaseException) -> BaseException:
    """Find our own error inside Ray's, whose text alone would not help."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, FdreamError) and not hasattr(cause, "cause"):
            return cause
        if isinstance(inner, FdreamError):
            return inner
        cause = inner
    return error
