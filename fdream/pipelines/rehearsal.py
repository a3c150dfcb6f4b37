"""A dry run: everything that can be known to be wrong before a device is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.core import host_memory
from fdream.core.asking import asking
from fdream.core.errors import DeviceError, FdreamError, OutputError, UnconvertedError
from fdream.core.paths import cache_root
from fdream.core.recipe import Recipe
from fdream.core.recipe_io import LoadedRecipe
from fdream.pipelines.assembly import open_base
from fdream.pipelines.training import refuse_another_recipe
from fdream.stages import registry
from fdream.training.clips.shards import ShardsOptions, Survey, survey
from fdream.training.demand import RunDemand, video_demand
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.run_folder import RunFolder

if TYPE_CHECKING:
    from fdream.core.report import Reporter
    from fdream.models.bundle import Bundle

_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        told: what it is like; empty where it is wrong.
        fault: what is wrong.
    """

    subject: str
    told: str
    fault: FdreamError | None = None


class Rehearsal:
    """Looks at stages, weights, data, run folder, disk and memory; nothing is loaded.

    Nothing is fetched, converted or written either, but for the index of the shards: it is kept in
    the cache, for reading every clip takes long and the run needs it too. What depends on a single
    file that is not converted yet cannot be known, and that is told.

    Args:
        loaded: the recipe, of the right shape.
        device: what the command line or the recipe says; ``auto`` is a GPU where there is one.
        dtype: likewise.
        reporter: told how far the reading of shards is.
    """

    def __init__(
        self, loaded: LoadedRecipe[Recipe], device: str, dtype: str, reporter: Reporter
    ) -> None:
        self._recipe = loaded.recipe
        self._loaded = loaded
        self._device = device
        self._dtype = dtype
        self._reporter = reporter
        self._base: Bundle | None = None
        self._survey: Survey | None = None
        self._demand: RunDemand | None = None

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after the other; what depends on a wrong one is left out."""
        yield self._look("stages", self._stages)
        if self._recipe.train.init_from is not None:
            yield self._look("weights", self._weights)
        yield self._look("data", self._data)
        yield self._look("run folder", self._folder)
        if self._recipe.train.objective != "video" or self._base is None:
            return
        needs = self._look("trained", self._trained)
        yield needs
        if needs.fault is None:
            yield self._look("disk", self._disk)
            yield self._look("memory", self._memory)

    @staticmethod
    def _look(subject: str, look: Callable[[], str]) -> Finding:
        try:
            with asking():
                return Finding(subject, look())
        except FdreamError as error:
            return Finding(subject, "", error)

    def _stages(self) -> str:
        chosen = self._recipe.stages
        registry.options("supervisor", chosen.supervisor.use, chosen.supervisor.options)
        return f"generator {chosen.generator.use}, supervisor {chosen.supervisor.use}"

    def _weights(self) -> str:
        try:
            base = open_base(self._recipe)
            for name in base.component_names:
                base.check(name)
        except UnconvertedError as error:
            return f"{error} What learns, and the disk and memory it takes, are known then."
        self._base = base
        return f"{self._recipe.train.init_from}, {base.bytes_on_disk / _GB:.2f} GB on this machine"

    def _data(self) -> str:
        table = self._recipe.data
        if table.source != "shards":
            return f"{table.source}, drawn on the spot"
        found = survey(
            ShardsOptions.model_validate(table.options), table.validation, self._reporter
        )
        self._survey = found
        clips = found.sorted
        out = sum(clips.left_out.values())
        return (
            f"{len(found.shards)} shards, {clips.num_training} clips to train on in "
            f"{len(clips.training)} buckets, {len(clips.held_out)} held out, {out} left out"
        )

    def _folder(self) -> str:
        folder = RunFolder(Path(self._recipe.output_folder()))
        refuse_another_recipe(folder, self._loaded)
        return str(folder.root)

    def _trained(self) -> str:
        assert self._base is not None, "weights come first"
        buckets = self._buckets()
        options = VideoOptions.model_validate(self._recipe.objective)
        found = video_demand(options, self._recipe.train, self._base, buckets)
        self._demand = found
        for told in found.passed_over:
            self._reporter.warn(told)
        return (
            f"{found.trained / 1e6:.1f} million parameters learn, {found.frozen / 1e6:.1f} million "
            "stay"
        )

    def _disk(self) -> str:
        demand = self._known_demand()
        folder = Path(self._recipe.output_folder())
        needs = {_existing(folder): demand.run_folder}
        stored = sum(clips * demand.view_bytes[bucket] for bucket, clips in self._buckets().items())
        cache = _existing(cache_root())
        needs[cache] = needs.get(cache, 0) + stored
        for place, wanted in needs.items():
            free = shutil.disk_usage(place).free
            if wanted > free:
                raise OutputError(
                    f"{place}: the run needs up to {wanted / _GB:.1f} GB there, {free / _GB:.1f} "
                    "GB are free; make room, name another folder with -s run.output=FOLDER and "
                    "FDREAM_CACHE, or set data.options.cache=false."
                )
        return (
            f"{demand.run_folder / _GB:.2f} GB for {folder}, at most {stored / _GB:.2f} GB for the "
            "cache; both are free"
        )

    def _memory(self) -> str:
        total = None if self._device == "cpu" else host_memory.gpu_bytes()
        on_gpu = total is not None or self._device not in ("auto", "cpu")
        total = total if on_gpu else host_memory.free_bytes()
        half = self._dtype in ("bfloat16", "float16") or (self._dtype == "auto" and on_gpu)
        wanted = self._known_demand().memory(half)
        told = f"{wanted / _GB:.2f} GB before the first layer computes"
        if total is None:
            return f"{told}; how much there is, is not known"
        where = "the GPU" if on_gpu else "this machine"
        if wanted > total:
            raise DeviceError(
                f"{where} has {total / _GB:.1f} GB, and the run needs {told}; take a smaller "
                'base, or objective.spatial = "lora" or "frozen".'
            )
        return f"{told}, {where} has {total / _GB:.1f} GB; `--plan` measures the rest"

    def _known_demand(self) -> RunDemand:
        assert self._demand is not None, "what is trained comes first"
        return self._demand

    def _buckets(self) -> dict[Any, int]:
        """Views that the store will hold, by bucket."""
        if self._survey is None:
            return {}
        options = ShardsOptions.model_validate(self._recipe.data.options)
        views = options.views if options.cache else 0
        return {b: views * len(clips) for b, clips in self._survey.sorted.training.items()}


def refuse_faults(findings: list[Finding]) -> None:
    """Raise one error for all that is wrong; its exit code is that of the first.

    Raises:
        FdreamError: something is.
    """
    faults = [finding for finding in findings if finding.fault is not None]
    if not faults:
        return
    first = faults[0].fault
    assert first is not None
    if len(faults) == 1:
        raise first
    lines = "\n".join(f"  {one.subject}: {one.fault}" for one in faults)
    raise type(first)(f"{len(faults)} things are in the way:\n{lines}") from first


def _existing(place: Path) -> Path:
    """Return the nearest folder above that is there already."""
    place = place.absolute()
    return next(p for p in (place, *place.parents) if p.is_dir())
