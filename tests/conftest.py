"""What every test may rely on: a home of its own, a bare environment, no network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home and cache, and take away what the developer's shell says."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("FDREAM_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("FDREAM_CACHE", str(home / "cache"))
    monkeypatch.setenv("FDREAM_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("COLUMNS", "100")
    return home


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but those over unix sockets."""
    if request.node.get_closest_marker("network"):
        return

    def refuse(what: str, original: Any) -> Any:
        def guarded(self: socket.socket, address: Any, *rest: Any) -> Any:
            if self.family == getattr(socket, "AF_UNIX", None):
                return original(self, address, *rest)
            raise AssertionError(f"a test tried to {what} {address!r}; the network is blocked")

        return guarded

    monkeypatch.setattr(socket.socket, "connect", refuse("reach", socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", refuse("reach", socket.socket.connect_ex))
    monkeypatch.setattr(socket.socket, "sendto", refuse("send to", socket.socket.sendto))


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
