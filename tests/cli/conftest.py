"""Generation commands in this process, with stages that take a blink."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from fdream.cli.app import run


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


Fdream = Callable[..., Result]


@pytest.fixture
def tiny_fdream(
    tiny_bundle: Path,
    in_tmp: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Fdream:
    """Run a command in this process, in a folder of its own, with the tiny bundle's stages."""
    del in_tmp

    def call(*args: str, stdin: bytes | BinaryIO | None = None, terminal: bool = False) -> Result:
        words = list(args)
        if words[0] in ("t2i", "t2v") and "--prior" not in words:
            words += ["--prior", f"pocket:{tiny_bundle}"]
        if words[0] in ("i2v", "t2v") and "--generator" not in words:
            words += ["--generator", f"dreamer:{tiny_bundle}"]
        if stdin is not None:
            stream = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
        capfdbinary.readouterr()
        code = run(words)
        said = capfdbinary.readouterr()
        return Result(code, said.out, said.err.decode())

    return call
