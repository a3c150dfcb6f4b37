"""Shards are written alike, replaced whole, and read by us and by others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError, OutputError
from fdream.data.shards.folder import ShardFolder
from fdream.data.shards.reader import find_shards, read_shard, read_shards
from fdream.data.shards.writer import FileRange, json_bytes, write_tar

SAMPLES = [
    (
        "000000000",
        {"mp4": b"v0", "txt": b"a dog", "json": json_bytes({"key": "000000000", "n": 1})},
    ),
    (
        "000000001_00002",
        {
            "mp4": b"v1",
            "txt": "ein H\u00fcndchen".encode(),
            "json": json_bytes({"key": "000000001_00002"}),
            "appearance.txt": b"a puppy",
            "motion.txt": b"it runs",
        },
    ),
]


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, SAMPLES)
        os.utime(tmp_path, (1, 1))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    listed = subprocess.run(
        ["tar", "tvf", str(tmp_path / "a.tar"), "--numeric-owner", "--utc"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all("0/0" in line and "1970-01-01" in line for line in listed.splitlines())


def test_contents_come_from_files_and_ranges_too(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    members = {"mp4": source, "txt": FileRange(source, 3, 4), "json": b"{}"}
    write_tar(tmp_path / "a.tar", [("k", members)])
    (found,) = read_shard(str(tmp_path / "a.tar"))
    assert found.parts == {"json": b"{}", "mp4": b"0123456789", "txt": b"3456"}


def test_samples_come_back(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", SAMPLES)
    first, second = read_shard(str(tmp_path / "00000.tar"))
    assert (first.key, first.caption, first.metadata["n"]) == ("000000000", "a dog", 1)
    assert first.captions == CaptionPair("a dog", "a dog")
    assert second.captions == CaptionPair("a puppy", "it runs")
    assert second.caption == "ein H\u00fcndchen"
    assert second.parts[second.video_suffix] == b"v1"


def test_webdataset_reads_them(tmp_path: Path) -> None:
    import webdataset

    write_tar(tmp_path / "00000.tar", SAMPLES)
    found = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [key for key, _ in SAMPLES]
    for sample, (_, members) in zip(found, SAMPLES, strict=True):
        assert {name: data for name, data in sample.items() if not name.startswith("__")} == members


def test_shards_of_webdataset_are_read(tmp_path: Path) -> None:
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "0001", "mp4": b"v", "txt": "a cat", "json": {"url": "u"}})
    (found,) = read_shard(str(tmp_path / "a.tar"))
    assert (found.key, found.caption, found.metadata) == ("0001", "a cat", {"url": "u"})


def test_shards_are_found_and_shared_out(tmp_path: Path) -> None:
    for number in range(5):
        write_tar(tmp_path / f"{number:05d}.tar", [(f"{number}", {"txt": b""})])
    by_folder = find_shards(tmp_path)
    assert by_folder == [str(tmp_path / f"{number:05d}.tar") for number in range(5)]
    assert find_shards(f"{tmp_path}/{{00001..00003}}.tar") == by_folder[1:4]
    assert find_shards(f"{tmp_path}/0000[0-1]*.tar") == by_folder[:2]
    parts = [[s.key for s in read_shards(by_folder, (part, 2))] for part in range(2)]
    assert parts == [["0", "2", "4"], ["1", "3"]]
    with pytest.raises(DataError, match="no shards there"):
        find_shards(tmp_path / "none")


def test_a_refused_member_ends_the_reading(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("../k", {"mp4": b"x"})])
    with pytest.raises(DataError, match="leads out of its folder"):
        list(read_shard(str(tmp_path / "a.tar")))


def test_a_sample_without_video_says_so(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("k", {"txt": b"x", "json": b"[1]"})])
    (found,) = read_shard(str(tmp_path / "a.tar"))
    with pytest.raises(DataError, match="no video among json, txt"):
        found.read_video()
    with pytest.raises(DataError, match="not an object"):
        _ = found.metadata


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "_prep" not in path.parts
    }


def change(folder: ShardFolder, text: str, filtered: bool) -> None:
    with folder.replacing(0, remove=(folder.filtered_tar(0),)) as aside:
        (aside / "00000.tar").write_text(text)
        (aside / "00000.parquet").write_text(text)
        (aside / "00000_stats.json").write_text(text)
        if filtered:
            (aside / "filtered" / "00000.tar").write_text(text)


def test_a_change_that_fails_leaves_the_shard_as_it_was(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path)
    with folder.locked():
        change(folder, "old", True)
        before = contents(tmp_path)
        with pytest.raises(KeyError), folder.replacing(0) as aside:
            (aside / "00000.tar").write_text({}["half"])
    assert contents(tmp_path) == before
    assert set(before) == {
        "00000.tar",
        "00000.parquet",
        "00000_stats.json",
        "filtered/00000.tar",
    }


KILLED = """
import os, sys
from pathlib import Path
from fdream.data.shards.folder import ShardFolder
steps = int(sys.argv[2])
def counted(original):
    def step(*args, **kwargs):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return original(*args, **kwargs)
    return step
for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
folder = ShardFolder(Path(sys.argv[1]))
with folder.locked():
    with folder.replacing(0, remove=(folder.filtered_tar(0),)) as aside:
        for name in sys.argv[3:]:
            (aside / name).write_text("new")
"""


@pytest.mark.parametrize("with_filtered", [False, True])
def test_a_kill_at_any_step_leaves_the_old_shard_or_the_new_one(
    with_filtered: bool, tmp_path: Path
) -> None:
    names = ["00000.parquet", "00000.tar", "00000_stats.json"]
    names += ["filtered/00000.tar"] if with_filtered else []
    outcomes = []
    for steps in range(60):
        root = tmp_path / str(steps)
        folder = ShardFolder(root)
        with folder.locked():
            change(folder, "old", True)
            before = contents(root)
        command = [sys.executable, "-c", KILLED, str(root), str(steps), *names]
        killed = subprocess.run(command, check=False).returncode
        with folder.locked():
            after = contents(root)
        assert after in (before, dict.fromkeys(names, "new"))
        outcomes.append(after != before)
        assert list((folder.state / "staging").iterdir()) == []
        if killed == 0:
            break
    assert killed == 0
    assert outcomes == sorted(outcomes)  # once decided, always the new one
    assert not outcomes[0]


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with ShardFolder(tmp_path).locked():
        code = (
            "import sys; from pathlib import Path;"
            "from fdream.data.shards.folder import ShardFolder;"
            "ShardFolder(Path(sys.argv[1])).locked().__enter__()"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "another fdream is working on it" in other.stderr


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), ShardFolder(tmp_path / "file" / "shards").locked():
        pass


def test_json_is_the_same_whatever_the_order() -> None:
    assert json_bytes({"b": 1, "a": 2}) == json_bytes({"a": 2, "b": 1})
    assert json.loads(json_bytes({"x": "\u00e9\n"})) == {"x": "\u00e9\n"}
