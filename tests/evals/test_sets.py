"""Sets: every way to name one leads to the same videos, in an order of the keys alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fdream.core.errors import DataError
from fdream.evals.sets import drawn_order, find_sources
from tests.evals.conftest import WriteVideos, as_tar


def contents(text: str | Path) -> list[str]:
    return [source.content() for source in find_sources(str(text))]


def test_folder_pattern_list_and_shards_hold_the_same_videos(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    folder = write_videos("videos")
    names = [f"videos/clip{k:03d}.apng" for k in range(4)]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "list.csv").write_text("video,caption\n" + "\n".join(f"{n},a fox" for n in names))
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"video": n}) for n in names))
    as_tar(folder, tmp_path / "00000.tar")
    expected = contents(folder)
    assert len(expected) == 4
    ways = [folder / "*.apng", tmp_path / "vid*/*.apng", tmp_path / "list.txt"]
    ways += [tmp_path / "list.csv", tmp_path / "list.jsonl", tmp_path / "00000.tar"]
    for way in ways:
        assert contents(way) == expected, way


def test_keys_do_not_depend_on_where_the_set_lies(write_videos: WriteVideos) -> None:
    keys = [[s.key for s in find_sources(str(write_videos(name)))] for name in ("one", "two")]
    assert keys[0] == keys[1]


def test_the_drawn_order_ignores_the_order_of_files(write_videos: WriteVideos) -> None:
    sources = find_sources(str(write_videos("videos", 9)))
    order = [source.key for source in drawn_order(sources, 0)]
    assert order == [source.key for source in drawn_order(sources[::-1], 0)]
    assert order != sorted(order)
    assert order != [source.key for source in drawn_order(sources, 1)]


def test_captions_come_from_the_list_the_text_or_the_record(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    record = json.dumps({"schema": 1, "prompt": "a fox\nflying"})
    folder = write_videos("videos", 1, kind="mp4", record=record)
    path = folder / "clip000.mp4"
    assert find_sources(str(path))[0].caption() == "a fox flying"
    path.with_suffix(".txt").write_text("a cat \n sleeping")
    assert find_sources(str(path))[0].caption() == "a cat sleeping"
    (tmp_path / "list.csv").write_text("video,caption\nvideos/clip000.mp4,a dog\n")
    assert find_sources(str(tmp_path / "list.csv"))[0].caption() == "a dog"
    tar = as_tar(write_videos("more", 1), tmp_path / "00000.tar", {"clip000": "a hen"})
    assert find_sources(str(tar))[0].caption() == "a hen"


def test_a_video_is_in_a_set_once(write_videos: WriteVideos, tmp_path: Path) -> None:
    write_videos("videos", 1)
    (tmp_path / "list.txt").write_text("videos/clip000.apng\nvideos/clip000.apng\n")
    with pytest.raises(DataError, match="share the name"):
        find_sources(str(tmp_path / "list.txt"))


@pytest.mark.parametrize("name", ["missing", "empty", "*.mp4"])
def test_nothing_is_an_error_that_says_where(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name.replace("*", r"\*")):
        find_sources(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "nothing.mp4"), ("a.csv", "name\nx\n"), ("a.jsonl", "{broken"), ("b.jsonl", "[1]")],
)
def test_a_faulty_list_is_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        find_sources(str(tmp_path / name))


def test_archives_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        info = tarfile.TarInfo("../outside.mp4")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(DataError, match="refused"):
        find_sources(str(tmp_path / "bad.tar"))
