"""``fdream prep`` keeps its word: nothing is lost, everything can be done again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from pyarrow import parquet

from fdream.data.shards.reader import find_shards, read_shard, read_shards

SMALL = ["-s", "resize.size=32x32", "-s", "clip.preset=ultrafast", "--workers", "1"]


def write_video(path: Path, seed: int, scenes: int = 1, frames: int = 20) -> Path:
    """Write a small video of flat scenes with a moving square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(scenes):
            picture = np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 3)), 8, 0), 8, 1)
            for frame in range(frames):
                shown = picture.astype(np.uint8)
                shown[10:20, frame : frame + 10] = 255
                made = av.VideoFrame.from_ndarray(shown, format="rgb24")
                container.mux(stream.encode(made.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """Five sources: three good, one with two scenes, one that is no video."""
    folder = tmp_path / "pile"
    for number in range(3):
        write_video(folder / f"v{number}.mp4", number)
    write_video(folder / "v3.mp4", 3, scenes=2)
    (folder / "v4.mp4").write_text("no video")
    (folder / "v1.txt").write_text("a white square slides over tiles")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every shard file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_prep" not in path.parts and path.suffix != ".html"
    }


def test_what_comes_in_is_kept_filtered_or_quarantined(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    ran = fdream("prep", str(pile), "-o", str(out), *SMALL, "-s", "shard.rows=2", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["sources"], told["in"], told["kept"], told["quarantined"]) == (5, 6, 5, 1)
    assert told["in"] == told["kept"] + told["filtered"] + told["quarantined"]
    keys = [sample.key for sample in read_shards(find_shards(out))]
    assert keys == [
        "000000000_00000",
        "000000001_00000",
        "000010000_00000",
        "000010001_00000",
        "000010001_00001",
    ]
    rows = [row for shard in range(3) for row in table(out, shard)]
    assert len(rows) == 6
    (lost,) = parquet.read_table(out / "quarantine.parquet").to_pylist()
    assert (lost["url"], lost["status"]) == ("v4.mp4", "failed_to_subsample")
    assert "cannot be read as a video" in lost["error_message"]


def table(out: Path, shard: int) -> list[dict]:
    return parquet.read_table(out / f"{shard:05d}.parquet").to_pylist()


def test_the_layout_is_video2datasets(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    assert fdream("prep", str(pile), "-o", str(out), *SMALL).code == 0
    samples = list(read_shard(str(out / "00000.tar")))
    by_id = {sample.metadata["id"]: sample for sample in samples}
    said = by_id["v1"]
    assert said.caption == "a white square slides over tiles"
    assert {"url", "caption", "key", "status", "error_message"} <= set(said.metadata)
    assert said.metadata["status"] == "success"
    assert said.read_video().frames.shape == (20, 32, 32, 3)
    assert {"mp4", "txt", "json", "appearance.txt", "motion.txt"} == set(said.parts)
    row = next(row for row in table(out, 0) if row["id"] == "v1")
    assert {name: value for name, value in row.items() if value is not None} == said.metadata
    stats = json.loads((out / "00000_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_subsample"]) == (6, 5, 1)


def test_again_changes_nothing_and_elsewhere_gives_the_same_bytes(fdream, pile, tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert fdream("prep", str(pile), "-o", str(one), *SMALL, "-s", "shard.rows=2").code == 0
    before = hashes(one)
    assert fdream("prep", str(pile), "-o", str(one), *SMALL, "-s", "shard.rows=2").code == 0
    assert hashes(one) == before
    moved = shutil.copytree(pile, tmp_path / "moved")
    args = ["-s", "shard.rows=2", "--workers", "2"]
    assert fdream("prep", str(moved), "-o", str(two), *SMALL[:4], *args).code == 0
    assert hashes(two) == before


def test_a_lost_shard_is_made_again_and_no_other(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    command = ("prep", str(pile), "-o", str(out), *SMALL, "-s", "shard.rows=2")
    assert fdream(*command).code == 0
    before = hashes(out)
    for path in out.glob("00001*"):
        path.unlink()
    untouched = (out / "00000.tar").stat().st_mtime_ns
    assert fdream(*command).code == 0
    assert hashes(out) == before
    assert (out / "00000.tar").stat().st_mtime_ns == untouched


def test_shards_can_be_prepared_again(fdream, pile, tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert fdream("prep", str(pile), "-o", str(one), *SMALL).code == 0
    ran = fdream("prep", str(one), "-o", str(two), *SMALL, "-s", "clip.use=false")
    assert ran.code == 0, ran.err
    first, second = (list(read_shard(str(folder / "00000.tar"))) for folder in (one, two))
    assert [s.parts["mp4"] for s in first] == [s.parts["mp4"] for s in second]
    assert [s.caption for s in first] == [s.caption for s in second]
    assert [s.key for s in second] == [f"{index:09d}" for index in range(5)]
    assert json.loads(second[0].metadata["source"])["id"] == "v0"


def test_another_recipe_or_input_is_refused(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    command = ["prep", str(pile), "-o", str(out), *SMALL]
    assert fdream(*command).code == 0
    ran = fdream(*command, "-s", "clip.qp=30")
    assert (ran.code, "made with other clip.qp" in ran.err) == (2, True)
    write_video(pile / "v5.mp4", 9)
    ran = fdream(*command)
    assert (ran.code, "made of other rows" in ran.err) == (4, True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "00000_stats.json").write_text("{}")
    ran = fdream("prep", str(pile), "-o", str(foreign), *SMALL)
    assert (ran.code, "did not make" in ran.err) == (4, True)


REFILTERED: list[Callable[[dict], list[str]]] = [
    lambda rows: ["-s", f"filter.min_motion={sorted(r['motion'] or 0 for r in rows)[3]}"],
    lambda rows: ["-s", "filter.min_seconds=2"],
    lambda rows: ["-s", "filter.max_duplicate_bits=0"],
    lambda rows: ["-s", "filter.min_words=3"],
]


@pytest.mark.parametrize("keep", [True, False])
def test_refiltering_gives_what_preparing_anew_gives(fdream, pile, tmp_path, keep) -> None:
    shutil.copy(pile / "v0.mp4", pile / "v9.mp4")
    base = tmp_path / "base"
    args = [*SMALL, "-s", "shard.rows=3", "-s", f"shard.keep_filtered={str(keep).lower()}"]
    assert fdream("prep", str(pile), "-o", str(base), *args).code == 0
    for number, change in enumerate(REFILTERED):
        one, two = shutil.copytree(base, tmp_path / f"{number}"), tmp_path / f"{number} anew"
        thresholds = change([*table(one, 0), *table(one, 1)])
        ran = fdream("prep", "--refilter", str(one), *thresholds, "--json")
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["filtered"] > 0
        assert fdream("prep", str(pile), "-o", str(two), *args, *thresholds).code == 0
        assert hashes(one) == hashes(two), thresholds


def test_refiltered_clips_come_back(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    assert fdream("prep", str(pile), "-o", str(out), *SMALL).code == 0
    before = hashes(out)
    assert fdream("prep", "--refilter", str(out), "-s", "filter.min_seconds=60").code == 0
    assert list(read_shard(str(out / "00000.tar"))) == []
    assert len(list(read_shard(str(out / "filtered" / "00000.tar")))) == 5
    assert fdream("prep", "--refilter", str(out), "-s", "filter.min_seconds=0.5").code == 0
    assert hashes(out) == before


def test_clips_that_were_not_stored_cannot_come_back(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    args = ["-s", "filter.min_seconds=60", "-s", "shard.keep_filtered=false"]
    assert fdream("prep", str(pile), "-o", str(out), *SMALL, *args).code == 0
    before = hashes(out)
    ran = fdream("prep", "--refilter", str(out), "-s", "filter.min_seconds=0.5")
    assert (ran.code, "5 filtered clips would pass now" in ran.err) == (4, True)
    assert hashes(out) == before


def test_refiltering_changes_thresholds_alone(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    assert fdream("prep", str(pile), "-o", str(out), *SMALL).code == 0
    ran = fdream("prep", "--refilter", str(out), "-s", "clip.qp=3")
    assert (ran.code, "only filter.* can change" in ran.err) == (2, True)
    ran = fdream("prep", "--refilter", str(tmp_path), "-s", "filter.min_words=3")
    assert ran.code == 4


def test_no_path_of_this_machine_is_recorded(fdream, pile, tmp_path) -> None:
    out = tmp_path / "shards"
    table_file = tmp_path / "t.csv"
    table_file.write_text(f"video,caption\n{pile / 'v0.mp4'},x\n{pile / 'gone.mp4'},y\n")
    assert fdream("prep", str(table_file), "-o", str(out), *SMALL).code == 0
    for path in out.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_recipe_problems_are_told_at_once(fdream, pile, tmp_path) -> None:
    ran = fdream(
        *("prep", str(pile), "-o", str(tmp_path / "x"), "-s", "measure.motion=false"),
        *("-s", "filter.min_motion=1", "-s", "resize.size=8", "-s", "resize.short_side=4"),
        *("-s", "stages.splitter.use=nobody"),
    )
    assert ran.code == 2
    assert "filter.min_motion = 1" in ran.err
    assert "measure.motion = true" in ran.err
    assert "resize.short_side" in ran.err
    assert "nobody" in ran.err
    assert not (tmp_path / "x").exists()


def test_usage_is_explained(fdream, tmp_path) -> None:
    assert "INPUT and -o FOLDER" in fdream("prep").err
    assert fdream("prep", str(tmp_path / "none"), "-o", str(tmp_path / "x")).code == 4
    ran = fdream("prep", "a", "--refilter", "b")
    assert (ran.code, "leave INPUT and -o out" in ran.err) == (2, True)


def test_flow_and_latents_stand_beside_kept_clips(fdream, pile, tmp_path) -> None:
    from safetensors.numpy import load

    out = tmp_path / "shards"
    args = ["-s", "flow.use=true", "-s", "latents.use=true", "-s", "flow.cells=8"]
    ran = fdream("prep", str(pile), "-o", str(out), *SMALL, *args, "--device", "cpu")
    assert ran.code == 0, ran.err
    samples = list(read_shard(str(out / "00000.tar")))
    for sample in samples:
        frames = sample.read_video().frames.shape[0]
        flow = load(sample.parts["flow.safetensors"])
        assert flow["flow"].shape == (frames - 1, 2, 8, 8)
        assert flow["visibility"].shape == (frames - 1, 1, 8, 8)
        latents = load(sample.parts["latents.safetensors"])["latents"]
        assert latents.shape[0] == frames
        assert np.isfinite(latents).all()
    # The square moves to the right, half a pixel a frame after scaling.
    seen = np.concatenate([load(s.parts["flow.safetensors"])["flow"] for s in samples])
    moving = np.abs(seen[:, 0]) > 0.2
    assert moving.any()
    assert np.median(seen[:, 0][moving]) > 0
    before = hashes(out)
    assert fdream("prep", "--refilter", str(out), "-s", "filter.min_seconds=60").code == 0
    lost = next(read_shard(str(out / "filtered" / "00000.tar")))
    assert {"mp4", "txt", "json", "appearance.txt", "motion.txt"} == set(lost.parts)
    assert fdream("prep", "--refilter", str(out), "-s", "filter.min_seconds=0.5").code == 0
    assert hashes(out) == before


def test_sizes_that_latents_cannot_have_are_said(fdream, pile, tmp_path) -> None:
    args = ["-s", "latents.use=true", "-s", "resize.size=30x30", "--workers", "1"]
    ran = fdream("prep", str(pile), "-o", str(tmp_path / "x"), *args, "--device", "cpu")
    assert (ran.code, "set resize.size accordingly" in ran.err) == (4, True)


@pytest.mark.slow
def test_ray_makes_the_same_shards(fdream, pile, tmp_path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    one, two = tmp_path / "one", tmp_path / "two"
    args = ["prep", str(pile), *SMALL[:4], "-s", "shard.rows=2"]
    assert fdream(*args, "-o", str(one)).code == 0
    command = [sys.executable, "-m", "fdream", *args, "-o", str(two), "--engine", "ray"]
    # A process of its own: Ray finds its own address by a socket, which tests block.
    ran = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "5 kept + 0 filtered + 1 quarantined" in ran.stdout
    assert hashes(two) == hashes(one)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "a recipe": lambda out: (out / "_prep" / "recipe.resolved.toml").exists(),
    "a clip": lambda out: any((out / "_prep" / "spool").glob("*/*/*.mp4")),
    "a shard in the making": lambda out: any((out / "_prep" / "staging").iterdir()),
    "a shard": lambda out: any(out.glob("*_stats.json")),
    "two shards": lambda out: len(list(out.glob("*_stats.json"))) >= 2,
    "a quarantine": lambda out: (out / "quarantine.parquet").exists(),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX has them")
def test_a_run_that_is_killed_goes_on_to_the_same_shards(fdream, tmp_path) -> None:
    pile = tmp_path / "pile"
    for number in range(12):
        write_video(pile / f"v{number:02d}.mp4", number, scenes=1 + number % 3)
    args = ["prep", str(pile), *SMALL[:4], "-s", "shard.rows=4", "--workers", "2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert fdream(*args, "-o", str(whole)).code == 0
    for moment, reached in MOMENTS.items():
        process = subprocess.Popen(
            [sys.executable, "-m", "fdream", *args, "-o", str(killed)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not _holds(reached, killed):
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert _all_gone(process.pid), f"processes outlive a kill at {moment}"
    assert fdream(*args, "-o", str(killed)).code == 0
    assert hashes(killed) == hashes(whole)
    assert not (killed / "_prep" / "spool").exists()


def _holds(reached: Callable[[Path], bool], out: Path) -> bool:
    try:
        return reached(out)
    except FileNotFoundError:
        return False


def _all_gone(group: int) -> bool:
    """Wait until no process of a group is left; workers look for their parent once a second."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_the_input_is_no_place_for_shards(pile: Path, fdream) -> None:
    before = sorted(pile.iterdir())
    ran = fdream("prep", str(pile), "-o", f"{pile}/", *SMALL)
    assert ran.code == 2
    assert "is the input itself" in ran.err
    assert sorted(pile.iterdir()) == before


def test_an_input_of_which_nothing_can_be_read_is_a_fault(tmp_path: Path, fdream) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    ran = fdream("prep", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "shards"), *SMALL)
    assert ran.code == 4
    assert "1 quarantined" in ran.out
    assert "nothing of it could be read" in ran.err
