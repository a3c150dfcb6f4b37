"""What an installed fdream declares and contains."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = {
    (group, name): target
    for group, entries in {**PROJECT["entry-points"], "console_scripts": PROJECT["scripts"]}.items()
    for name, target in entries.items()
}


def test_installed_metadata_is_that_of_the_checkout() -> None:
    """If this fails, install again: metadata is frozen at install."""
    installed = {
        (entry.group, entry.name): entry.value
        for entry in metadata.distribution("fdream").entry_points
    }
    assert installed == DECLARED


@pytest.mark.parametrize("key", DECLARED, ids="/".join)
def test_every_declared_target_exists(key: tuple[str, str]) -> None:
    module, _, attribute = DECLARED[key].partition(":")
    target = getattr(import_module(module), attribute)
    if key[0] == "console_scripts":
        assert callable(target)
        return
    assert f"fdream.{target.kind}" == key[0]
    assert target.name == key[1]
    factory_module, _, factory = target.factory.partition(":")
    assert callable(getattr(import_module(factory_module), factory))


def test_gitignore_does_not_empty_the_wheel() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert [ln for ln in lines if "safetensors" in ln and not ln.startswith("#")] == []


def test_pins_cover_every_dependency_and_name_no_build() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(ln.split("==") for ln in lines if ln and not ln.startswith("#"))
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {requirement.partition(">=")[0] for requirement in wanted}
    assert names <= set(pins)
    assert [name for name, version in pins.items() if "+" in version] == []


BLOCK_NETWORK = """\
import socket
def _refuse(self, address, *rest):
    raise RuntimeError(f"tried to reach {address!r}; the network is blocked")
socket.socket.connect = socket.socket.connect_ex = _refuse
"""


@pytest.mark.slow
def test_wheel_makes_a_video_far_from_the_checkout(tmp_path: Path) -> None:
    def python(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran

    arguments = ["--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    python("-m", "build", *arguments)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.startswith("fdream/weights/") and n.endswith(".safetensors") for n in names)
    assert any(n.startswith("fdream/_recipes/") and n.endswith(".toml") for n in names)
    assert "fdream/py.typed" in names
    templates = {f"fdream/{part}/report.html.jinja" for part in ("data/prep", "evals", "training")}
    assert templates <= set(names)

    site, blocked = tmp_path / "site", tmp_path / "blocked"
    python("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCK_NETWORK)
    path = os.pathsep.join([str(blocked), str(site)])
    where = python("-c", "import fdream; print(fdream.__file__)", PYTHONPATH=path)
    assert Path(where.stdout.strip()).is_relative_to(site)

    run = ["-m", "fdream", "t2v", "a corgi surfing", "--seed", "1", "-o", "out.mp4"]
    told = python(*run, PYTHONPATH=path)
    assert told.stdout == "out.mp4\n"
    video = (tmp_path / "out.mp4").read_bytes()
    assert video[4:8] == b"ftyp"
    assert len(video) > 1000
