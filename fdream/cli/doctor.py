"""``fdream doctor``: what this machine can run, and why not."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from fdream.cli import render
from fdream.cli.params import JsonOption
from fdream.core.errors import FdreamError

Status = Literal["ok", "note", "problem"]

_PACKAGES: Final = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "numpy",
    "pillow",
    "av",
    "imageio-ffmpeg",
    "opencv-python-headless",
    "pydantic-settings",
)
_ENOUGH_DISK: Final = 2 * 2**30
_ENOUGH_MEMORY: Final = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was looked at.
        name: which one.
        status: ``problem`` is something to repair, ``note`` something to know.
        detail: what was found, and what to do.
    """

    topic: str
    name: str
    status: Status
    detail: str


def doctor(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Say whether this model fits here, fetching nothing: a short name of `fdream "
            "models`, or what may stand after --prior or --generator; repeatable, each by itself.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what this machine can run, and why not.

    Looks at versions, devices, memory, disk, settings, FDREAM_ variables, the emoji font of
    SpriteWorld and the installed stages. Exits with 1 if something needs repair, or if a model does
    not fit, whatever --fit would choose; a tenth of the free memory is left for what no estimate
    knows. Memory is in GiB (2^30 bytes), what is fetched in GB (10^9), as the Hub counts.

    \b
    Examples:
      fdream doctor
      fdream doctor --json
      fdream doctor --model sdxl
      fdream doctor --model dreamer:runs/mine
    """
    findings = [found for name in model for found in _model(name)] if model else list(examine())
    if json:
        render.as_json([asdict(finding) for finding in findings])
    else:
        rows = [[f.topic, f.name, f.status, f.detail] for f in findings]
        render.table(["topic", "name", "status", "detail"], rows)
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at everything; a fault in one place never hides the next."""
    yield from _versions()
    yield from _devices()
    yield from _memory()
    yield from _disk()
    yield from _settings()
    yield from _variables()
    yield from _font()
    yield from _stages()


def _model(name: str) -> Iterator[Finding]:
    from fdream.cli.params import choose_device
    from fdream.pipelines.fitting import ask_model

    statuses: dict[bool | None, Status] = {True: "ok", False: "problem", None: "note"}
    for answer in ask_model(name, choose_device()):
        yield Finding("model", answer.stage, statuses[answer.fits], answer.detail)


def _versions() -> Iterator[Finding]:
    from fdream import __version__

    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("version", "fdream", "ok", f"{__version__}, {system}")
    for package in _PACKAGES:
        try:
            yield Finding("version", package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            repair = f"not installed; pip install {package}"
            yield Finding("version", package, "problem", repair)


def _devices() -> Iterator[Finding]:
    try:
        from fdream.core.device import DeviceManager, survey

        for state in survey():
            yield Finding("device", state.kind, "ok" if state.usable else "note", state.detail)
        chosen = DeviceManager.choose()
        facts = chosen.describe()
        detail = f"{facts['device']}, {facts['dtype']} ({facts['dtype_reason']})"
        yield Finding("device", "chosen", "ok", f"{detail}, {facts['threads']} threads")
    except ImportError as error:
        yield Finding("device", "torch", "problem", f"cannot be imported: {error}")


def _memory() -> Iterator[Finding]:
    from fdream.core import host_memory

    free, total = host_memory.free_bytes(), host_memory.total_bytes()
    if free is None or total is None:
        yield Finding("memory", "free", "note", "this system does not say")
        return
    status: Status = "ok" if free >= _ENOUGH_MEMORY else "note"
    yield Finding("memory", "free", status, f"{_gib(free)} of {_gib(total)}")


def _disk() -> Iterator[Finding]:
    from fdream.core.paths import cache_root

    for name, place in (("cache", cache_root()), ("here", Path.cwd())):
        free = shutil.disk_usage(_existing(place)).free
        status: Status = "ok" if free >= _ENOUGH_DISK else "note"
        yield Finding("disk", name, status, f"{_gib(free)} free at {place}")


def _settings() -> Iterator[Finding]:
    from fdream.core.settings import Settings, load_settings, shown

    try:
        loaded = load_settings()
    except FdreamError as error:
        yield Finding("settings", "all", "problem", str(error))
        return
    for name in Settings.model_fields:
        value = shown(getattr(loaded.settings, name))
        said = "not set" if value is None else f"{value}"
        yield Finding("settings", name, "ok", f"{said} ({loaded.origin(name)})")


def _variables() -> Iterator[Finding]:
    from fdream.core.settings import misspelt_variables
    from fdream.stages.declarations import unmatched_limits

    for name, nearest in misspelt_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else ""
        yield Finding("environment", name, "problem", f"means nothing to fdream{hint}")
    for plugin in unmatched_limits():
        yield Finding(
            "environment", "FDREAM_PLUGINS", "problem", f"names {plugin}, which is not installed"
        )


def _font() -> Iterator[Finding]:
    from fdream.data.spriteworld.sprites import font_path

    found = font_path()
    if found:
        yield Finding("font", "Noto Color Emoji", "ok", str(found))
        return
    detail = (
        'not found: SpriteWorld cannot draw sprites = "noto", which only training needs; '
        'install fonts-noto-color-emoji, or use sprites = "plain"'
    )
    yield Finding("font", "Noto Color Emoji", "note", detail)


def _stages() -> Iterator[Finding]:
    from fdream.stages.spec import KINDS
    from fdream.stages.survey import survey

    found = survey(KINDS, check=True)
    if not found:
        repair = "none is declared: fdream runs uninstalled; pip install -e ."
        yield Finding("stage", "all", "problem", repair)
    for stage in found:
        name = f"{stage.kind}/{stage.name}"
        if stage.status == "ready":
            yield Finding("stage", name, "ok", stage.summary)
            continue
        # Switched off, or of use to those alone who install more: no fault of this machine.
        harmless = stage.status in ("disabled", "lacks requirements")
        detail = f"{stage.status}: {stage.detail}"
        yield Finding("stage", name, "note" if harmless else "problem", detail)


def _existing(place: Path) -> Path:
    """Return the nearest folder that exists, for a cache that was never made."""
    return next(folder for folder in (place, *place.absolute().parents) if folder.exists())


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
