"""What may be wrong with the world around a command, where its words and files are right."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from fdream.models.bundle_folder import INDEX_NAME
from tests.cli.bad_input.files import picture


@dataclass(frozen=True)
class World:
    """What a fault may change; all of it is as before when the command has ended.

    Attributes:
        patch: for modules.
        bundle: the tiny bundle.
        home: a folder beside the one the command runs in.
        after: called when the command has ended.
    """

    patch: pytest.MonkeyPatch
    bundle: Path
    home: Path
    after: ExitStack = field(default_factory=ExitStack)


Fault = Callable[[World], object]


# --- weights: a copy of the bundle as ./bad, changed


def bundle(change: Callable[[Path], object]) -> Fault:
    def spoil(world: World) -> None:
        shutil.copytree(world.bundle, "bad")
        change(Path("bad"))

    return spoil


def cut(part: str, keep: int) -> Fault:
    def change(folder: Path) -> None:
        weights = next((folder / part).glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:keep])

    return bundle(change)


class _Evil:
    """Runs code in whatever program unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


def as_pickle(part: str, name: str) -> Fault:
    def change(folder: Path) -> None:
        next((folder / part).glob("*.safetensors")).unlink()
        (folder / part / name).write_bytes(pickle.dumps(_Evil()))

    return bundle(change)


def index(**changes: Any) -> Fault:
    def change(folder: Path) -> None:
        path = folder / INDEX_NAME
        table = json.loads(path.read_text())
        ours = {**table["fdream"], **changes.get("fdream", {})}
        path.write_text(json.dumps({**table, **changes, "fdream": ours}))

    return bundle(change)


def text(name: str, written: str) -> Fault:
    return bundle(lambda folder: (folder / name).write_text(written))


# --- a record that somebody else wrote, in x.png


def record(**changes: Any) -> Fault:
    def write(world: World) -> None:
        Path("x.png").write_bytes(picture(**changes))
        world.patch.setattr("fdream.pipelines.replay.remake", _never)

    return write


def _never(*_: object) -> None:
    raise AssertionError("a refused record was worked on")


# --- a plugin of somebody else


def broken_plugin(source: str) -> Fault:
    """Install a prior ``broken`` whose module holds this."""

    def install(world: World) -> None:
        info = world.home / "fdream_broken-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fdream-broken\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[fdream.prior]\nbroken = broken_plugin:SPEC\n")
        (world.home / "broken_plugin.py").write_text(source)
        world.patch.syspath_prepend(str(world.home))
        world.after.callback(sys.modules.pop, "broken_plugin", None)

    return install


# --- what may not be read, also by root, whom permissions do not stop


def locked(name: str) -> Fault:
    def lock(world: World) -> None:
        opened = Path.open

        def refusing(path: Path, *args: Any, **options: Any) -> Any:
            if path.name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return opened(path, *args, **options)

        world.patch.setattr(Path, "open", refusing)

    return lock


class FailingDisk(io.RawIOBase):
    """Hands out what it holds, and fails where there should be more."""

    def __init__(self, held: bytes) -> None:
        super().__init__()
        self._held = held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        piece, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


# --- no room, and nobody who reads


def quota(world: World) -> None:
    """No file may be larger than this; what the command says is smaller."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    world.after.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)


def full_stdout(world: World) -> None:
    _stdout(world, Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115


def reader_gone(world: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    _stdout(world, os.fdopen(writing, "wb", buffering=0))


def _stdout(world: World, stream: Any) -> None:
    world.patch.setattr(sys, "stdout", io.TextIOWrapper(stream, write_through=True))
    world.after.callback(stream.close)


# --- Ctrl-C and SIGTERM, whenever they come

_PHASES: Final = {
    "reading": "fdream.data.prompt_list.read_prompts",
    "decoding": "fdream.data.images.to_rgb",
    "splitting": "fdream.stages.builtin.grammar_splitter.GrammarSplitter.split",
    "loading": "fdream.models.bundle.Bundle.load",
    "sampling": "fdream.stages.builtin.dreamer_scheduler.DreamerSampler.step",
    "encoding": "fdream.data.writers.subprocess.run",
    "renaming": "pathlib.Path.replace",
}


def interrupted(phase: str) -> Fault:
    return _ended(phase, KeyboardInterrupt)


def terminated(phase: str) -> Fault:
    from fdream.cli.app import Terminated

    return _ended(phase, Terminated)


def _ended(phase: str, signal: type[BaseException]) -> Fault:
    def raise_it(*_: object, **__: object) -> None:
        raise signal

    return lambda world: world.patch.setattr(_PHASES[phase], raise_it)
