"""Small videos on disk, and a metric that is quick and exact."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fdream.data.encoding import Encoding
from fdream.data.writers import save_video

WriteVideos = Callable[..., Path]


def numbered(frames: int, seed: int = 0, height: int = 16, width: int = 24) -> np.ndarray:
    """A clip whose frame k has red k * 12 everywhere, and green and blue of its seed."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 0] = (np.arange(frames) * 12)[:, None, None]
    video[..., 1:] = np.random.default_rng(seed).integers(0, 256, 2)
    return video


@pytest.fixture
def write_videos(tmp_path: Path) -> WriteVideos:
    """Write a folder of lossless videos: a name each, or a count."""

    def write(
        folder: str,
        names: int | list[str] = 4,
        *,
        frames: int = 20,
        kind: str = "apng",
        seed: int = 0,
        record: str | None = None,
    ) -> Path:
        root = tmp_path / folder
        named = [f"clip{k:03d}" for k in range(names)] if isinstance(names, int) else names
        for index, name in enumerate(named):
            path = root / f"{name}.{kind}"
            clip = numbered(frames, seed * 1000 + index)
            save_video(path, clip, 8, Encoding(kind), record)
        return root

    return write


def as_tar(folder: Path, tar: Path, captions: dict[str, str] | None = None) -> Path:
    """Pack the videos of a folder as video2dataset does."""
    with tarfile.open(tar, "w") as archive:
        for video in sorted(folder.iterdir()):
            archive.add(video, video.name)
            if captions is not None:
                text = captions[video.stem].encode()
                info = tarfile.TarInfo(f"{video.stem}.txt")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
    return tar
