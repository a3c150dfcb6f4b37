"""Addresses are fetched within limits, and only addresses."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fdream.core.errors import DataError
from fdream.core.prep_recipe import PrepRecipe, ReadTable
from fdream.data.prep.clipping import clip_source
from fdream.data.prep.fetching import FetchError, fetch
from fdream.data.prep.sources.find import open_source
from fdream.data.prep.sources.rows import SourceRow


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and tells nobody."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is served on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.network
def test_a_video_behind_an_address_is_clipped(served, make_video, tmp_path: Path) -> None:
    _, address = served
    make_video("served/a.mp4", [(1, 12)])
    row = SourceRow("a", "a", "", path=f"{address}/a.mp4", remote=True, suffix="mp4")
    result = clip_source(row, PrepRecipe(name="x"), tmp_path / "spool")
    assert [stored.clip.num_frames for stored in result.clips] == [12]


@pytest.mark.network
def test_what_cannot_be_had_is_a_reason_of_its_own(served, tmp_path: Path) -> None:
    folder, address = served
    row = SourceRow("a", "a", "", path=f"{address}/none.mp4", remote=True, suffix="mp4")
    result = clip_source(row, PrepRecipe(name="x"), tmp_path / "spool")
    assert not result.fetched
    assert "cannot be fetched" in result.problem
    (folder / "large.mp4").write_bytes(bytes(3 << 20))
    with pytest.raises(FetchError, match="larger than 2 MiB"):
        fetch(f"{address}/large.mp4", tmp_path / "large.mp4", 2 << 20)


@pytest.mark.network
def test_a_remote_folder_is_read_as_a_local_one(served, make_video, tmp_path: Path) -> None:
    folder, address = served
    for name in ("b.mp4", "in/a.mp4", ".hidden.mp4"):
        make_video(f"served/{name}", [(1, 5)])
    (folder / "b.txt").write_text("a red ball\n")
    (folder / "in" / "a.json").write_text('{"caption": "a hat", "id": 7}')
    here, there = (list(open_source(place, ReadTable()).rows()) for place in (str(folder), address))
    assert [(r.id, r.caption, r.fields) for r in there] == [
        (r.id, r.caption, r.fields) for r in here
    ]
    assert [row.url for row in there] == [f"{address}/b.mp4", f"{address}/in/a.mp4"]
    (only,) = open_source(f"{address}/b.mp4", ReadTable()).rows()
    for row in (there[1], only):
        result = clip_source(row, PrepRecipe(name="x"), tmp_path / row.id)
        assert [stored.clip.num_frames for stored in result.clips] == [5]


@pytest.mark.network
def test_a_remote_folder_without_videos_says_so(served) -> None:
    _, address = served
    with pytest.raises(DataError, match="neither videos nor shards"):
        open_source(address, ReadTable())
    with pytest.raises(DataError, match="install it to read from there"):
        open_source("oss://bucket/videos", ReadTable())
    with pytest.raises(DataError, match="not fetched"):
        open_source("file:///etc/", ReadTable())


@pytest.mark.parametrize(
    "address",
    [
        *("file:///etc/passwd", "local:///etc/passwd", "simplecache::https://a.example/x.mp4"),
        *("zip://x.mp4::https://a.example/a.zip", "memory://x.mp4", "ftp://a.example/x.mp4"),
        *("reference://x", "/etc/passwd", "jupyter://x", "ssh://a.example/x", "concat:a|b"),
    ],
)
def test_only_addresses_of_the_net_are_fetched(address: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="not fetched"):
        fetch(address, tmp_path / "x.mp4", 1 << 20)
    assert not (tmp_path / "x.mp4").exists()
