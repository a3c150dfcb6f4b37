"""Clips show what a player shows: upright, square pixels, the right colours."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.core.prep_recipe import PrepRecipe, ResizeTable
from fdream.core.sizes import Size
from fdream.data.media import open_video, video_stream
from fdream.data.prep.clipping import clip_source
from fdream.data.prep.frames import TimedVideo
from fdream.data.prep.pictures import PictureMaker, frame_picture
from fdream.data.prep.probe import VideoFacts
from fdream.data.prep.sources.files import file_row

ORIENTATIONS = [(angle, mirrored) for angle in (0, 90, 180, 270) for mirrored in (False, True)]


def first_picture(path: Path, resize: ResizeTable | None = None) -> tuple[np.ndarray, VideoFacts]:
    """Make the first picture of a video as prep does; RGB."""
    with open_video(path) as container:
        stream = video_stream(container, str(path))
        video = TimedVideo(container, stream, 10)
        framing = frame_picture(video.facts, resize or ResizeTable())
        maker = PictureMaker(stream, video.first, video.facts, framing)
        made = maker.make(video.first)
        assert (made.height, made.width) == (maker.height, maker.width)
        return made.to_ndarray(format="rgb24"), video.facts


def as_ffmpeg_shows_it(path: Path, width: int, height: int) -> np.ndarray:
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path}", "-frames:v", "1"]
    done = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize(("angle", "mirrored"), ORIENTATIONS)
def test_every_orientation_is_shown_as_ffmpeg_shows_it(angle, mirrored, make_video) -> None:
    path = make_video("turned.mp4", [(3, 1)], upright=(angle, mirrored, False))
    found, facts = first_picture(path)
    expected = as_ffmpeg_shows_it(path, facts.width, facts.height)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 3
    assert (facts.width > facts.height) == (angle in (0, 180))


def test_a_picture_asked_to_stand_askew_is_refused(make_video) -> None:
    with pytest.raises(DataError, match="30 degrees"):
        first_picture(make_video("askew.mp4", [(3, 1)], upright=(-30, False, False)))


@pytest.mark.parametrize(
    ("sar", "shape"),
    [(Fraction(2), (48, 128)), (Fraction(1, 2), (96, 64)), (Fraction(1), (48, 64))],
)
def test_pixels_become_square_by_adding_not_by_dropping(sar, shape, make_video) -> None:
    found, facts = first_picture(make_video("wide.mp4", [(1, 1)], sar=sar))
    assert found.shape[:2] == shape == (facts.height, facts.width)


def test_odd_sides_lose_their_last_row_and_nothing_is_scaled(make_video) -> None:
    path = make_video("odd.mp4", [(2, 1)], size=(49, 63), pixels="yuv444p")
    found, facts = first_picture(path)
    assert (facts.height, facts.width) == (49, 63)
    expected = as_ffmpeg_shows_it(path, 63, 49)[:48, :62]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8  # stripes lose some colour in 4:2:0


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 90)])
@pytest.mark.parametrize("wanted", [Size(32, 32), Size(24, 64), Size(96, 96)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_exact_sizes_are_exact(size, wanted, fit, make_video) -> None:
    path = make_video("a.mp4", [(1, 1)], size=size)
    found, _ = first_picture(path, ResizeTable(size=wanted, fit=fit))
    assert found.shape[:2] == (wanted.height, wanted.width)


def test_crop_keeps_the_middle_and_pad_keeps_everything(make_video) -> None:
    path = make_video("a.mp4", [(1, 1)], size=(32, 96))
    whole = as_ffmpeg_shows_it(path, 96, 32)
    cropped, _ = first_picture(path, ResizeTable(size=Size(32, 32)))
    assert np.abs(cropped.astype(int) - whole[:, 32:64]).mean() < 3
    padded, _ = first_picture(path, ResizeTable(size=Size(96, 96), fit="pad"))
    assert np.abs(padded[32:64].astype(int) - whole).mean() < 3
    assert padded[:30].max() < 6
    assert padded[66:].max() < 6


def test_short_side_keeps_the_shape_and_never_enlarges(make_video) -> None:
    path = make_video("a.mp4", [(1, 1)], size=(60, 100))
    assert first_picture(path, ResizeTable(short_side=30))[0].shape[:2] == (30, 50)
    assert first_picture(path, ResizeTable(short_side=90))[0].shape[:2] == (60, 100)
    wide = make_video("wide.mp4", [(1, 1)], size=(54, 96))  # 45.5 pixels to 25.6
    assert first_picture(wide, ResizeTable(short_side=26))[0].shape[:2] == (26, 46)


def test_a_turned_video_gets_the_size_that_was_asked_for(make_video) -> None:
    path = make_video("turned.mp4", [(3, 1)], size=(48, 64), upright=(90, False, False))
    assert first_picture(path, ResizeTable(size=Size(20, 30)))[0].shape[:2] == (20, 30)
    assert first_picture(path, ResizeTable(short_side=24))[0].shape[:2] == (32, 24)


@pytest.mark.parametrize(
    ("pixels", "codec"),
    [("yuvj420p", "mjpeg"), ("yuv420p10le", "libx264"), ("yuv422p", "libx264"), ("gray", "ffv1")],
)
def test_colours_survive_whatever_the_pixel_format(pixels, codec, make_video) -> None:
    path = make_video("a.mkv", [(1, 1)], pixels=pixels, codec=codec)
    found, facts = first_picture(path)
    expected = as_ffmpeg_shows_it(path, 64, 48)
    assert facts.pixels == pixels
    # A wrong range or matrix shifts whole channels.
    assert np.abs(found.astype(float).mean((0, 1)) - expected.mean((0, 1))).max() < 3


@pytest.mark.parametrize("matrix", [1, 2, 4, 5, 6, 7, 9])
def test_colours_survive_whatever_the_matrix(matrix, tmp_path: Path) -> None:
    path, out = tmp_path / "a.mkv", tmp_path / "spool"
    tiles = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30]], np.uint8)
    picture = np.repeat(np.repeat(tiles.reshape(2, 2, 3), 24, 0), 32, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix)))
        container.mux(stream.encode(None))
    recipe = PrepRecipe.model_validate({"name": "x", "clip": {"qp": 1}})
    (made,) = clip_source(file_row(path, path.name), recipe, out).clips
    seen = [
        as_ffmpeg_shows_it(one, 64, 48)[12::24, 16::32].astype(int) for one in (path, made.file)
    ]
    assert np.abs(seen[0] - seen[1]).max() < (30 if matrix == 9 else 4), seen


def test_a_matrix_that_nothing_converts_is_a_reason(make_video, tmp_path: Path) -> None:
    path = make_video("a.mkv", [(1, 1)], codec="ffv1", matrix=8)
    recipe = PrepRecipe(name="x")
    found = clip_source(file_row(path, path.name), recipe, tmp_path / "spool")
    assert found.problem.startswith("its colours cannot be converted")


@pytest.mark.slow
def test_high_dynamic_range_becomes_what_a_common_screen_shows(tmp_path: Path) -> None:
    nits = np.array([0.1, 1, 10, 100, 203, 1000, 4000])
    path = tmp_path / "pq.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16 * len(nits), 16, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = 16, 9, 9
        context.color_range = 1
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p10le")
        luma = np.repeat(np.round(64 + 876 * perceptual_quantizer(nits)), 16).astype(np.uint16)
        for plane, values in zip(
            frame.planes, (luma, *[np.full(8 * len(nits), 512)] * 2), strict=True
        ):
            row = np.zeros(plane.line_size // 2, np.uint16)
            row[: len(values)] = values
            plane.update(np.tile(row, plane.height).tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found, facts = first_picture(path)
    assert facts.hdr == "pq"
    levels = found[8, 8::16].astype(int)
    assert np.abs(levels - levels[:, :1]).max() <= 2  # grey stays grey
    assert (np.diff(levels[:, 0]) > 5).all()  # highlights keep their differences
    assert levels[0, 0] < 30
    assert 110 < levels[4, 0] < 256  # diffuse white, 203 cd/m2 by BT.2408, is bright


def perceptual_quantizer(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: signal of a luminance in cd/m2."""
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
