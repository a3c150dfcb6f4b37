"""Addresses are fetched within limits, and only addresses."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fdream.core.prep_recipe import PrepRecipe
from fdream.data.prep.clipping import clip_source
from fdream.data.prep.fetching import FetchError, fetch
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
