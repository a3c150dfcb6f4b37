"""Work shared out on a Ray cluster: one part for each device, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from fdream.core.errors import StageError

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter

Result = TypeVar("Result")


def on_every_device(
    work: Callable[..., Result],
    told: tuple[Any, ...],
    device: DeviceManager,
    reporter: Reporter,
    what: str,
) -> Iterator[Result]:
    """Call ``work(*told, (index, count))`` for each part; there are as many as devices.

    Args:
        work: a function of a module, which the other processes import.
        told: its first arguments; they travel.
        device: GPUs are counted where it is one, CPUs elsewhere.
        reporter: told of each part that is done.
        what: the parts, in words.

    Yields:
        What each part gives, in the order in which they end.

    Raises:
        StageError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise StageError(
            "--engine ray: Ray is not installed; pip install 'fdream[ray]', or leave it out."
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    unit = "GPU" if device.kind == "cuda" else "CPU"
    count = max(1, int(ray.cluster_resources().get(unit, 1)))
    needs: dict[str, Any] = {"num_gpus": 1} if unit == "GPU" else {"num_cpus": 1}
    there = ray.remote(**needs)(work)
    waiting = [there.remote(*told, (index, count)) for index in range(count)]
    with reporter.progress(count, what) as bar:
        while waiting:
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
            bar.update(len(ready))
