"""Measure on many devices first: every process fills its share of one cache of rows.

The cache is what makes it simple. A helper decodes every n-th video and measures it; the figures
are then made by one process, which finds the rows there. A helper that dies costs its share of the
time, not of the result.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from fdream.core.errors import UsageError
from fdream.core.launch import index, is_main, num_processes
from fdream.core.paths import CACHE_VARIABLE, cache_root
from fdream.core.report import SilentReporter
from fdream.evals.measuring import SetMeasurer
from fdream.pipelines.eval_plan import Plan, Request, make_plan
from fdream.pipelines.ray_cluster import on_every_device

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter


def spread(request: Request, plan: Plan, device: DeviceManager, reporter: Reporter) -> bool:
    """Measure with whatever help there is.

    Returns:
        Whether this process makes the figures.

    Raises:
        UsageError: an unknown engine.
        StageError: Ray is not installed.
    """
    if request.engine not in ("local", "ray"):
        raise UsageError(f"--engine {request.engine}: local or ray.")
    if request.engine == "ray":
        _with_ray(request, device, reporter)
        return True
    if num_processes() == 1:
        return True
    from accelerate import PartialState

    fill(plan, (index(), num_processes()), request.recipe.sets.num)
    PartialState().wait_for_everyone()
    return is_main()


def fill(plan: Plan, part: tuple[int, int], wanted: int | None) -> int:
    """Measure the i-th of every n videos of both sets into the cache; return how many."""
    mine, parts = part
    done = 0
    for job, sources in ((plan.real, plan.real_sources), (plan.fake, plan.fake_sources)):
        share = sources[:wanted][mine::parts]
        if share:
            measured = SetMeasurer(job, SilentReporter()).measure(share, None, "videos")
            done += len(measured.keys)
    return done


def _with_ray(request: Request, device: DeviceManager, reporter: Reporter) -> None:
    """Give every node's every device a share; the cache has to be a folder that all nodes see."""
    told = (request, device.kind, str(device.dtype).removeprefix("torch."), str(cache_root()))
    deque(on_every_device(_help, told, device, reporter, "shares measured"), maxlen=0)


def _help(request: Request, kind: str, dtype: str, cache: str, part: tuple[int, int]) -> int:
    """Do a share of the work; runs in a process of Ray's."""
    from fdream.core.device import DeviceManager

    os.environ[CACHE_VARIABLE] = cache
    device = DeviceManager.choose(kind, dtype, threads=1 if kind == "cpu" else None)
    return fill(make_plan(request, device, SilentReporter()), part, request.recipe.sets.num)
