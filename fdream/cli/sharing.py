"""A long list shared out: each process makes every n-th result, under the name it has in the whole.

Processes are started by torchrun or ``accelerate launch``, or by Ray on a cluster. They plan the
same list and meet only at its end: a result is found by its name, so that the same command goes on
after any of them was lost, and the files are those that one process makes.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fdream.cli.standard_input import PLACE
from fdream.core import launch
from fdream.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from fdream.cli.delivery import Delivery
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter

ENGINES: Final = ("local", "accelerate", "ray")
WORDS: Final = "fdream.words"
"""Key of a context's ``meta``: the command line, which Ray's processes run again."""

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="local; accelerate: with the processes that torchrun or accelerate launch started; "
        "ray: on a cluster that sees the same folders. Several need --seed, or seeds in the list.",
    ),
]

# One process may have the long videos; the others wait for it at the end.
_PATIENCE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Part:
    """Which results of a list are this process' to make.

    Attributes:
        index: which of the processes it is, from 0; the first one speaks for all.
        count: how many there are.
        launched: whether a launcher started them, which ends all with the first that fails.
    """

    index: int = 0
    count: int = 1
    launched: bool = False

    def has(self, number: int) -> bool:
        """Say whether the result of that number, from 0, is made here."""
        return number % self.count == self.index

    def wait(self) -> None:
        """Wait until the others are done too."""
        if self.launched and self.count > 1:
            from accelerate import PartialState

            PartialState(timeout=_PATIENCE).wait_for_everyone()


_PART: ContextVar[Part | None] = ContextVar("part", default=None)


def part_of(engine: str, delivery: Delivery, place: str) -> Part:
    """Find this process' part.

    Args:
        engine: as given.
        delivery: where results go.
        place: where prompts come from.

    Raises:
        UsageError: no such engine, or a list or a destination that cannot be shared.
    """
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: expected {', '.join(ENGINES)}.")
    if engine == "accelerate" and not launch.is_launched():
        raise UsageError(
            "--engine accelerate: this is one process; start several with `accelerate launch -m "
            "fdream ...` or `torchrun --nproc-per-node N -m fdream ...`."
        )
    part = _PART.get() or Part(launch.index(), launch.num_processes(), launched=True)
    if part.count > 1 or engine == "ray":
        if place == PLACE:
            raise UsageError("several processes cannot read one standard input; give --prompts.")
        delivery.refuse_finding("several processes")
    return part


def is_for_ray(engine: str) -> bool:
    """Say whether this process only hands the work out."""
    return engine == "ray" and _PART.get() is None


def share_on_ray(ctx: typer.Context, device: DeviceManager, reporter: Reporter) -> None:
    """Have the command run on every device of a Ray cluster, a part on each.

    What a part writes to its streams is passed on when it is done.

    Raises:
        StageError: Ray is not installed.
        typer.Exit: a part failed, with its code; what it said stands on stderr.
    """
    from fdream.pipelines.ray_cluster import on_every_device

    codes = []
    told = (ctx.meta[WORDS], Path.cwd())
    for code, results, messages in on_every_device(
        _run_part, told, device, reporter, "parts of the list"
    ):
        sys.stdout.write(results)
        sys.stderr.write(messages)
        codes.append(code)
    if any(codes):
        # Lines left out are told by the first part, whatever became of the others.
        raise typer.Exit(max(codes, key=lambda code: (code not in (0, DataError.exit_code), code)))


def _run_part(words: Sequence[str], folder: Path, part: tuple[int, int]) -> tuple[int, str, str]:
    """Make a part; runs in a process of Ray's: its exit code, and what it wrote."""
    from fdream.cli.app import run

    os.chdir(folder)
    results, messages = io.StringIO(), io.StringIO()
    token = _PART.set(Part(*part))
    try:
        with redirect_stdout(results), redirect_stderr(messages):
            code = run(words)
    finally:
        _PART.reset(token)
    return code, results.getvalue(), messages.getvalue()
