"""The plugin that strangers copy installs, is found, keeps the rules and makes a picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PLUGINS = Path(__file__).parents[2] / "plugins"
TEMPLATE = PLUGINS / "fdream-template"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder the template is installed into, from a copy, as a user would have it."""
    copy = tmp_path_factory.mktemp("source") / "fdream-template"
    shutil.copytree(TEMPLATE, copy)
    target = tmp_path_factory.mktemp("site")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", target, copy],
        check=True,
    )
    return target


def fdream(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the installed template in reach, somewhere else than the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "fdream", *args],
        env=environment,
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_stages_are_ready(site: Path) -> None:
    done = fdream(site, "plugins", "--check", "--json")
    assert done.returncode == 0, done.stderr
    found = {f"{row['kind']}/{row['name']}": row for row in json.loads(done.stdout)}
    for stage in ("prior/stripes", "scheduler/momentum"):
        assert found[stage]["status"] == "ready"
        assert found[stage]["distribution"] == "fdream-template"


@pytest.mark.parametrize("stage", ["prior/stripes", "prior/stripes:5", "scheduler/momentum"])
def test_both_stages_keep_the_rules(site: Path, stage: str) -> None:
    done = fdream(site, "plugins", "test", stage)
    assert done.returncode == 0, done.stdout + done.stderr


def test_t2i_paints_stripes_as_wide_as_asked_for(site: Path, tmp_path: Path) -> None:
    picture = tmp_path / "stripes.png"
    done = fdream(
        site, "t2i", "a zebra", "--prior", "stripes:24", "--seed", "3", "-o", str(picture)
    )
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert pixels.shape == (128, 128, 3)
    assert bool((pixels == pixels[:1]).all())
    changes = np.flatnonzero((pixels[0, 1:] != pixels[0, :-1]).any(axis=-1)) + 1
    assert set(changes) <= {24, 48, 72, 96, 120}
    assert len(changes) > 0


def test_the_template_stays_small() -> None:
    sources = [path.read_text() for path in (TEMPLATE / "fdream_template").glob("*.py")]
    lines = [line.strip() for source in sources for line in source.splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) < 80


def test_every_install_line_is_pinned() -> None:
    for readme in PLUGINS.rglob("README.md"):
        installs = [line for line in readme.read_text().splitlines() if "pip install" in line]
        assert installs
        assert all("-c constraints.txt" in line for line in installs), readme
