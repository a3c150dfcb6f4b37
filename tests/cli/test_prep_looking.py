"""What ``fdream prep`` shows: the report, ``--inspect`` and single steps."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fdream.data.shards.overlay import read_overlay
from fdream.data.shards.writer import write_tar
from fdream.data.spriteworld.degrade import watermark

SMALL = ["-s", "clip.preset=ultrafast", "--workers", "1"]
HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png"> \x1b[31m\u202egnp'


def write_clip(path: Path, *seeds: int, frames: int = 14, mark: bool = False) -> Path:
    """Write a picture that drifts for each seed, like no other seed's, marked or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opacity = watermark(96, 160) if mark else np.zeros((96, 160, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for seed in seeds:
            rng = np.random.default_rng(seed)
            tiles = rng.integers(0, 256, (int(rng.integers(4, 9)), int(rng.integers(5, 12)), 3))
            wide = cv2.resize(tiles.astype(np.uint8), (200, 96), interpolation=cv2.INTER_CUBIC)
            for frame in range(frames):
                shown = wide[:, 2 * frame : 2 * frame + 160] * (1 - opacity) + 255 * opacity
                made = av.VideoFrame.from_ndarray(shown.astype(np.uint8), format="rgb24")
                container.mux(stream.encode(made.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


class Addresses(HTMLParser):
    """Collects every address and every tag of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def shards(fdream, tmp_path: Path) -> Path:
    """Prepared shards with something kept, filtered and quarantined."""
    pile = tmp_path / "pile"
    for number in range(3):
        write_clip(pile / f"v{number}.mp4", number)
    (pile / "v0.txt").write_text(HOSTILE)
    write_clip(pile / "v3.mp4", 3, frames=3)
    (pile / "v4.mp4").write_text("no video")
    ran = fdream("prep", str(pile), "-o", str(tmp_path / "out"), *SMALL)
    assert ran.code == 0, ran.err
    return tmp_path / "out"


def test_the_report_shows_all_and_loads_nothing(shards: Path) -> None:
    page = (shards / "report.html").read_text(encoding="utf-8")
    found = Addresses()
    found.feed(page)
    assert len(found.addresses) == 3 * 4  # three pictures of each clip, three kept and one filtered
    assert all(address.startswith("data:image/") for address in found.addresses)
    assert "script" not in found.tags
    assert "default-src 'none'" in page
    assert "5 in = 3 kept + 1 filtered + 1 quarantined" in page
    assert "min_seconds: 0.12 &lt; 0.5" in page
    assert "cannot be read as a video" in page


def test_a_caption_of_several_clips_is_shown_split_once(fdream, tmp_path: Path) -> None:
    write_clip(tmp_path / "pile" / "v.mp4", 1, 2, frames=20)
    (tmp_path / "pile" / "v.txt").write_text("a dog runs")
    out = tmp_path / "out"
    assert fdream("prep", str(tmp_path / "pile"), "-o", str(out), *SMALL).code == 0
    assert report(out).count("<td>a dog runs</td>") == 1
    assert report(out).count("a dog runs") == 3  # and beside either clip


def test_words_of_strangers_stay_words(shards: Path) -> None:
    page = (shards / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_inspect_tells_of_our_shards(fdream, shards: Path, tmp_path: Path) -> None:
    ran = fdream("prep", "--inspect", str(shards))
    assert ran.code == 0, ran.err
    assert "5 in = 3 kept + 1 filtered + 1 quarantined" in ran.out
    told = json.loads(fdream("prep", "--inspect", str(shards), "--json").out)
    assert (told["kept"], told["filtered_by"]) == (3, {"min_seconds": 1})
    page = tmp_path / "page.html"
    assert fdream("prep", "--inspect", str(shards), "-o", str(page)).out.endswith(f"{page}\n")
    assert "<h2>Kept</h2>" in page.read_text()


def test_inspect_measures_shards_of_others(fdream, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{n}.mp4", n) for n in range(3)]
    folder = tmp_path / "theirs"
    folder.mkdir()
    samples = [(f"{n}", {"mp4": clip, "txt": b"a b c"}) for n, clip in enumerate(clips)]
    write_tar(folder / "00000.tar", [*samples, ("3", {"mp4": b"broken", "txt": b""})])
    page = tmp_path / "page.html"
    ran = fdream("prep", "--inspect", str(folder), "-o", str(page), "--json", "--workers", "1")
    told = json.loads(ran.out)
    assert (told["sources"], told["kept"], told["quarantined"], told["shards"]) == (4, 3, 1, 1)
    assert told["seconds"] == pytest.approx(3 * 14 / 25)
    assert page.read_text().count("data:image/jpeg") == 9
    assert list(folder.iterdir()) == [folder / "00000.tar"]  # looked at, not touched


def test_single_steps_are_json_lines(fdream, tmp_path: Path) -> None:
    pile = tmp_path / "pile"
    write_clip(pile / "a.mp4", 0, 1, frames=20)
    (pile / "z.mp4").write_text("no video")
    for step in ("probe", "cut", "measure"):
        ran = fdream("prep", str(pile), "--only", step, "--workers", "1")
        assert ran.code == 0, ran.err
        good, bad = map(json.loads, ran.out.splitlines())
        assert "cannot be read" in bad["problem"]
        assert (good["facts"]["width"], good["facts"]["fps"]) == (160, 25.0)
        if step == "probe":
            assert "clips" not in good
            continue
        assert [clip["start_s"] for clip in good["clips"]] == [0, 0.8]
        assert ("motion" in good["clips"][0]) == (step == "measure")
    assert fdream("prep", str(pile), "--only", "dance").code == 2


def test_a_watermark_is_written_beside_the_shards(fdream, tmp_path: Path) -> None:
    pile = tmp_path / "pile"
    for number in range(24):
        write_clip(pile / f"{number:02d}.mp4", number, mark=True)
    out = tmp_path / "out"
    ran = fdream("prep", str(pile), "-o", str(out), *SMALL, "-s", "shard.rows=10")
    assert "as a watermark is" in ran.err
    found = read_overlay(out)
    truth = watermark(96, 160)[..., 0] > 0.05
    assert found.clips == 24
    assert found.mask[truth].mean() > 0.6
    assert cv2.dilate(truth.astype(np.uint8), np.ones((3, 3)))[found.mask].mean() > 0.8
    assert re.search(r"\d+(\.\d+)? % of the picture is the same in 24 clips", report(out))


def report(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")
