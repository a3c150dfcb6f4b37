"""What docs/pipes.md and docs/python.md show is run as it stands, with a model of a blink."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from fdream.data.metadata import read_record
from tests.docs.command_server import CLIENT

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"((?:<!-- .* -->\n)*)```sh\n(.*)\n```")
_MARK = re.compile(r"<!-- (\w+): (.*) -->")


@dataclass(frozen=True)
class Line:
    """A command of the page.

    Attributes:
        command: for a shell.
        needs: programs that have to be there.
        makes: globs, and how many files each is to find; with a plus: at least.
        holds: what the record of each of them says.
    """

    command: str
    needs: list[str]
    makes: list[tuple[str, str]]
    holds: str


def lines_of(page: str) -> list[Line]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = []
    for marks, command in _BLOCK.findall(text):
        told = dict(_MARK.findall(marks))
        makes = [
            tuple(part.split(maxsplit=1)) for part in told.get("makes", "").split(", ") if part
        ]
        found.append(Line(command, told.get("needs", "").split(), makes, told.get("holds", "")))
    return found


LINES = lines_of("pipes.md")


@pytest.fixture(scope="module")
def pocket(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights in which ``pocket`` is the tiny bundle."""
    weights = tmp_path_factory.mktemp("weights")
    shutil.copytree(tiny_bundle, weights / "pocket")
    index = weights / "pocket" / "model_index.json"
    table = json.loads(index.read_text(encoding="utf-8"))
    table["fdream"]["name"] = "pocket"
    index.write_text(json.dumps(table), encoding="utf-8")
    return weights


@pytest.fixture(scope="module")
def programs(pocket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the PATH with ``fdream``, served by one process, and FFmpeg."""
    if sys.platform == "win32" or shutil.which("bash") is None:
        pytest.skip("these lines are for a Unix shell")
    from imageio_ffmpeg import get_ffmpeg_exe

    folder = tmp_path_factory.mktemp("programs")
    address = folder / "socket"
    fdream = folder / "fdream"
    fdream.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    fdream.chmod(0o755)
    (folder / "ffmpeg").symlink_to(get_ffmpeg_exe())
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.command_server", str(address), str(pocket)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    yield folder
    server.terminate()
    server.wait()
    server.stdout.close()


@pytest.fixture
def workplace(in_tmp: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the lines of the page take for granted."""
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    # What ffplay looks for on a machine without a screen.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(in_tmp))
    for part in ("VIDEO", "AUDIO"):
        monkeypatch.setenv(f"SDL_{part}DRIVER", "dummy")
    Path("prompts.txt").write_text("# mine\na corgi surfing\na red car\n\nthe sea\n")
    rows = [
        {"id": "surf", "prompt": "a corgi surfing", "seed": 3},
        {"id": "zoom", "appearance": "a corgi", "motion": "zooming in"},
    ]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for folder, ending in (("photos", "jpg"), ("frames", "png")):
        Path(folder).mkdir()
        for colour in ("red", "blue"):
            Image.new("RGB", (48, 32), colour).save(f"{folder}/{colour}.{ending}")
    shutil.copy("photos/red.jpg", "photo.jpg")
    if any("sent.mp4" in line.command for line in LINES):
        shell('fdream t2v "a corgi" --seed 1 -o sent.mp4')
    return in_tmp


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=240, check=False
    )


def is_there(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    # Other programs are called convert, too.
    return program != "convert" or "ImageMagick" in shell("convert -version").stdout


def test_there_are_twenty() -> None:
    assert len(LINES) == 20


@pytest.mark.parametrize("number", range(1, len(LINES) + 1))
def test_a_line_of_the_page_does_what_it_says(number: int, workplace: Path) -> None:
    line = LINES[number - 1]
    for program in line.needs:
        if not is_there(program):
            pytest.skip(f"needs {program}")
    done = shell(line.command)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert line.makes or done.stdout
    for wanted, pattern in line.makes:
        made = [path for path in workplace.glob(pattern) if path.stat().st_size]
        least = int(wanted.rstrip("+"))
        assert len(made) == least or (wanted.endswith("+") and len(made) > least), made
        assert all(line.holds in json.dumps(read_record(path).record) for path in made)


def test_the_python_page_runs(
    pocket: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fdream.models import bundle_survey

    monkeypatch.setattr(bundle_survey, "PACKAGED", pocket)
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), {})
    said = capsys.readouterr().out
    assert "(3, 32, 32, 3) 8.0" in said
    told = re.search(r"print\(error\)  # (.*)", page)
    assert told is not None
    assert told[1] in said
    made = sorted(path.name for path in in_tmp.iterdir())
    assert made == ["a-corgi-surfing.gif", "a-red-car-in-a-city.gif", "corgi.mp4"]
