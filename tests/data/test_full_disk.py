"""A disk that fills up, and a quota that is reached: told in one line, nothing half-written."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fdream.core.errors import OutputError
from fdream.data.encoding import IMAGE_FORMATS, VIDEO_FORMATS, Encoding
from fdream.data.writers import save_image, save_video

# Noise, so that no format makes it small.
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)


@dataclass(frozen=True)
class LittleRoom:
    """A folder that holds less than any of the results.

    Attributes:
        folder: the folder.
        quota: the largest file, in bytes; None where the disk itself is small.
    """

    folder: Path
    quota: int | None

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Hold to the quota; as short as can be, since pytest's own log falls under it too."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.quota is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.quota, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["disk", "quota"])
def little_room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LittleRoom]:
    """A small file system, and a large one with a quota."""
    if request.param == "quota":
        yield LittleRoom(tmp_path, 6000)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield LittleRoom(tmp_path, None)
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_a_video_without_room_is_an_output_error(kind: str, little_room: LittleRoom) -> None:
    out = little_room.folder / "out"
    with little_room.enforced(), pytest.raises(OutputError, match="make room") as caught:
        save_video(out, FRAMES, 8, Encoding(kind), '{"schema": 1}')
    assert "\n" not in str(caught.value)
    assert list(little_room.folder.iterdir()) == []


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_a_picture_without_room_is_an_output_error(kind: str, little_room: LittleRoom) -> None:
    out = little_room.folder / "out"
    with little_room.enforced(), pytest.raises(OutputError, match="make room"):
        save_image(out, np.concatenate(FRAMES), Encoding(kind))
    assert list(little_room.folder.iterdir()) == []


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_the_old_result_stays(kind: str, little_room: LittleRoom) -> None:
    out = little_room.folder / "out"
    small = np.zeros((1, 8, 8, 3), np.uint8)
    save_video(out, small, 8, Encoding(kind), '{"schema": 1}')
    before = {p: p.read_bytes() for p in little_room.folder.rglob("*") if p.is_file()}
    with little_room.enforced(), pytest.raises(OutputError):
        save_video(out, FRAMES, 8, Encoding(kind), '{"schema": 1}')
    assert {p: p.read_bytes() for p in little_room.folder.rglob("*") if p.is_file()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_full_device_is_an_output_error(kind: str) -> None:
    with pytest.raises(OutputError, match="cannot write /dev/full"):
        save_video(Path("/dev/full"), FRAMES, 8, Encoding(kind))
    assert Path("/dev/full").is_char_device()
