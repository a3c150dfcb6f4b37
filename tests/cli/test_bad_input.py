"""Whatever is wrong: its exit code, one clear line, no traceback, and no file made or changed."""

from __future__ import annotations

import io
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdream.core.errors import UsageError
from fdream.core.report import printable
from fdream.stages.builtin.dreamer_scheduler import DreamerSampler
from tests.cli.bad_input.faults import World
from tests.cli.bad_input.files import picture, write_files
from tests.cli.bad_input.table import BAD
from tests.cli.conftest import Fdream


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the table, written once."""
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture
def world(
    files: Path,
    in_tmp: Path,
    own_home: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """A folder with these files, to be spoilt further."""
    shutil.copytree(files, in_tmp, dirs_exist_ok=True)
    world = World(monkeypatch, tiny_bundle, own_home)
    with world.after:
        yield world


def contents() -> dict[str, bytes]:
    return {str(path): held(path) if path.is_file() else b"" for path in Path().rglob("*")}


def held(path: Path) -> bytes:
    with io.FileIO(path) as file:  # not by Path.open, which a fault may have locked
        return file.readall()


def test_there_are_more_than_sixty() -> None:
    assert len(BAD) > 60


@pytest.mark.parametrize("name", BAD)
def test_bad_input(tiny_fdream: Fdream, world: World, name: str) -> None:
    code, says, command, *fault = BAD[name]
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    for spoil in fault:
        spoil(world)
    words = shlex.split(command)
    stdin = None
    if "<" in words:
        stdin = Path(words.pop()).read_bytes()
        words.remove("<")
    if code == UsageError.exit_code:  # known before any work
        world.patch.setattr(DreamerSampler, "step", lambda *_: pytest.fail("samples"))
    before = contents()
    with world.after:
        result = tiny_fdream(*words, stdin=stdin)
    assert result.code == code, result.err
    said = [line for line in result.err.splitlines() if not line.startswith("warning: ")]
    assert len(said) == bool(says), result.err
    assert all(line.startswith("fdream: error: ") and says in line for line in said)
    assert "Traceback" not in result.err
    assert result.err == printable(result.err)  # nothing in it commands a terminal
    assert len(result.err) < 2000
    assert result.out == b""
    assert contents() == before


HOSTILE = {
    "names of stages": {"stages": {"generator": {"name": "evil"}, "prior": {"name": "pocket:/"}}},
    "paths": {"output": "/etc/passwd", "image": "../../x", "bundle": "/", "path": "~/.ssh/id"},
    "options": {"options": {"generator": {"size": "8192x8192", "frames": 10**9, "steps": 10**9}}},
    "escapes": {"captions": {"appearance": "a corgi", "motion": "\x1b]0;owned\x07"}},
    "huge text": {"captions": {"appearance": "a corgi", "motion": "x" * 60_000}},
    "numbers of text": {"seed": "1; rm -rf /", "index": "2", "fps": "fast"},
    "numbers without end": {"seed": 10**40, "index": -1, "fps": 1e300},
}


def test_hostile_chunks_change_nothing(tiny_fdream: Fdream, world: World) -> None:
    """Of a piped image captions, seed, index and fps are believed, where they are what they say."""
    stream = b"".join([picture(), *(picture(**changes) for changes in HOSTILE.values())])
    before = contents()
    result = tiny_fdream("i2v", "--json", "--seed", "1", "-o", "new/", stdin=stream)
    assert result.code == 0, result.err
    assert result.err == printable(result.err)
    clean, *hostile = map(json.loads, result.lines)
    assert len(hostile) == len(HOSTILE)
    made = {"new", clean["path"], *(told["path"] for told in hostile)}
    assert contents().keys() - before.keys() == made
    kept = ("frames_sha256", "captions", "seed", "index", "fps", "stages", "options")
    for name, told in zip(HOSTILE, hostile, strict=True):
        assert {key: told[key] for key in kept} == {key: clean[key] for key in kept}, name
