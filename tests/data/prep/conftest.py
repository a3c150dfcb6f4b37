"""Small videos of known content, and the real clips where they are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest

REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def real_clips() -> Path:
    """The folder of real clips that stands beside the checkout of those who have it."""
    if not (REAL / "clips").is_dir():
        pytest.skip("no real clips at ../shared/data")
    return REAL / "clips"


def scene(number: int, frame: int, height: int, width: int) -> np.ndarray:
    """A picture of scene ``number``: its own colours and stripes, drifting slowly."""
    rng = np.random.default_rng(number)
    colour = rng.integers(40, 216, 3)
    rows, columns = np.mgrid[:height, :width]
    stripes = ((columns + frame + rows * (number % 3)) // (4 + number % 5)) % 2
    return np.clip(colour + stripes[..., None] * rng.integers(-40, 40, 3), 0, 255).astype(np.uint8)


class MakeVideo(Protocol):
    """Writes a video of scenes, one after another."""

    def __call__(self, name: str, scenes: Sequence[tuple[int, int]], **more: Any) -> Path: ...


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Write small videos into the test's folder."""

    def make(
        name: str,
        scenes: Sequence[tuple[int, int]],
        *,
        size: tuple[int, int] = (48, 64),
        fps: int = 25,
        times: Sequence[int] | None = None,
        time_base: Fraction | None = None,
        pixels: str = "yuv420p",
        codec: str = "libx264",
        matrix: int | None = None,
        sar: Fraction | None = None,
        upright: tuple[float, bool, bool] | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"preset": "ultrafast", "qp": "4"} if codec == "libx264" else {}
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options=options)
            stream.height, stream.width, stream.pix_fmt = *size, pixels
            if matrix is not None:
                stream.codec_context.colorspace = matrix
            if sar is not None:
                stream.codec_context.sample_aspect_ratio = sar
            if time_base is not None:
                stream.codec_context.time_base = stream.time_base = time_base
            if upright is not None:
                stream.set_display_rotation(upright[0], hflip=upright[1], vflip=upright[2])
            number = 0
            for which, count in scenes:
                for _ in range(count):
                    picture = scene(which, number, *size)
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame = frame.reformat(format=pixels)
                    frame.pts = number if times is None else times[number]
                    frame.time_base = time_base or Fraction(1, fps)
                    container.mux(stream.encode(frame))
                    number += 1
            container.mux(stream.encode(None))
        return path

    return make
