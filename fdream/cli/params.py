"""Options that several commands share, and what they lead to.

A command declares ``device: DeviceOption = None`` and hands the value to ``choose_device``; so an
option means the same, and is explained in the same words, everywhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fdream.core import launch

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter

DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu."),
]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads.")
]
OffloadOption = Annotated[
    bool,
    typer.Option("--offload", help="Keep each network on the CPU while it is not used."),
]
FitOption = Annotated[
    bool,
    typer.Option(
        "--fit",
        help="Choose number format, offload and tiles so that it fits into the memory that is "
        "free, and say what was chosen. A model that is not here is fetched first; `fdream doctor "
        "--model` answers without.",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, max=2**63 - 1, metavar="N", help="Seed; drawn and recorded when not given."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."
    ),
]
UnsetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--unset", metavar="KEY", help="Give a key of the recipe its default; repeatable."
    ),
]


@dataclass(frozen=True, slots=True)
class Verbosity:
    """How much the user wants to be told; the root command puts it into ``ctx.obj``."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False


def verbosity_of(ctx: typer.Context) -> Verbosity:
    """Return what ``-v``, ``-q`` and ``--debug`` said."""
    found = ctx.find_object(Verbosity)
    return found or Verbosity()


def reporter_of(ctx: typer.Context) -> Reporter:
    """Return the reporter that ``-v`` and ``-q`` ask for."""
    from fdream.core.report import reporter

    told = verbosity_of(ctx)
    # Of several processes one tells the rest of the story; all tell what goes wrong.
    return reporter(quiet=told.quiet or not launch.is_main(), verbose=told.verbose)


def choose_device(
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    offload: bool = False,
) -> DeviceManager:
    """Choose the device by the command's options, then by this machine's settings.

    Args:
        device: ``--device``; None leaves it to the settings.
        dtype: ``--dtype``; likewise.
        threads: ``--threads``; likewise.
        offload: ``--offload``.

    Raises:
        SettingsError: the settings are not valid.
        UsageError: an unknown word.
        DeviceError: the device cannot be used.
    """
    from fdream.core.device import DeviceManager
    from fdream.core.settings import load_settings

    settings = load_settings({"device": device, "dtype": dtype, "threads": threads}).settings
    # Library code and child processes ask the environment, wherever the setting came from.
    os.environ["FDREAM_CACHE"] = str(settings.cache)
    return DeviceManager.choose(
        settings.device, settings.dtype, "model" if offload else "none", settings.threads
    )
