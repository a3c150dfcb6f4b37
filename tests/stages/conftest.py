"""Fixtures for stages: a CPU device, and distributions that exist only as metadata on the path."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fdream.core.device import DeviceManager

InstallFake = Callable[..., None]


@pytest.fixture
def cpu() -> DeviceManager:
    return DeviceManager.choose(device="cpu")


@pytest.fixture
def install_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallFake]:
    """Install a distribution: ``.dist-info`` with entry points, and modules of source text."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(
        name: str, entries: dict[str, dict[str, str]], version: str = "1.0", **modules: str
    ) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = [
            f"[fdream.{kind}]\n" + "".join(f"{key} = {value}\n" for key, value in named.items())
            for kind, named in entries.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(groups))
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    yield install
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]
