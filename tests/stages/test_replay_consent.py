"""A replay runs no code of a plugin, and downloads nothing, that nobody agreed to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

InstallFake = Callable[..., None]

SPEC = """
from fdream.stages.spec import StageSpec
SPEC = StageSpec(
    kind="prior", name="grey", summary="grey", factory="grey_code:Grey", licence="MIT",
)
"""
CODE = """
import numpy as np
from fdream.core.sizes import Size
from fdream.stages.interfaces import TextToImagePrior

class Grey(TextToImagePrior):
    default_size = Size(16, 16)

    def __init__(self, options, *, device):
        pass

    def draw(self, captions, size, seeds, options):
        return np.full((len(captions), *size, 3), seeds[0] % 256, np.uint8)

    def unknown_words(self, caption):
        return []

    def check(self, options):
        pass

    def provenance(self):
        return {}
"""


def test_code_of_a_plugin_waits_for_consent(
    fdream, in_tmp: Path, install_fake: InstallFake
) -> None:
    entries = {"prior": {"grey": "grey_spec:SPEC"}}
    install_fake("fdream-grey", entries, grey_spec=SPEC, grey_code=CODE)
    made = fdream("t2i", "a corgi", "--prior", "grey", "--seed", "1", "-o", "x.png")
    assert made.code == 0, made.err
    for module in ("grey_spec", "grey_code"):
        del sys.modules[module]
    refused = fdream("replay", "x.png")
    assert (refused.code, refused.out) == (2, "")
    assert "'grey' is code of fdream-grey 1.0" in refused.err
    assert "--yes" in refused.err
    assert not {"grey_spec", "grey_code"} & set(sys.modules)
    for args in (("--yes",), ("--prior", "grey")):
        ran = fdream("replay", "x.png", *args)
        assert (ran.code, ran.out) == (0, "bit-equal\n"), ran.err


def test_a_plugin_that_is_not_installed_is_named_and_not_fetched(
    fdream, in_tmp: Path, install_fake: InstallFake, monkeypatch
) -> None:
    entries = {"prior": {"grey": "grey_spec:SPEC"}}
    install_fake("fdream-grey", entries, grey_spec=SPEC, grey_code=CODE)
    assert fdream("t2i", "a corgi", "--prior", "grey", "-o", "x.png").code == 0
    monkeypatch.setenv("FDREAM_PLUGINS", "")
    ran = fdream("replay", "x.png", "--yes")
    assert (ran.code, ran.out) == (3, "")
    assert "grey" in ran.err
