"""The opener reads videos and nothing that points elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.data.encoding import Encoding
from fdream.data.media import read_tags, read_video
from fdream.data.writers import save_video

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "real.mp4"
    save_video(path, FRAMES, 8, Encoding("mp4"), '{"schema": 1}')
    return path


def test_frames_and_rate_come_back(video: Path) -> None:
    found = read_video(video)
    assert found.frames.shape == FRAMES.shape
    assert found.fps == 8
    assert read_video(video, max_frames=2).frames.shape[0] == 2


@pytest.mark.parametrize("name", ["it's a [b] %03d.mp4", "-o.mp4", "a:b.mp4", "\u00e4 \u4e2d.mp4"])
def test_odd_file_names_are_only_names(name: str, video: Path) -> None:
    odd = video.rename(video.with_name(name))
    assert "fdream" in read_tags(odd)


def test_scripts_that_name_other_files_are_refused(video: Path) -> None:
    folder = video.parent
    scripts = {
        "concat.mp4": f"ffconcat version 1.0\nfile {video.name}\n",
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video.name}\n",
        "playlist.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video.name}\n",
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "notes.txt": "just text\n",
        "empty.mp4": "",
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        with pytest.raises(DataError, match="cannot be read as a video"):
            read_video(folder / name)


def test_pattern_names_are_not_expanded(video: Path) -> None:
    from PIL import Image

    for number in range(2):
        Image.fromarray(FRAMES[0]).save(video.parent / f"frame{number}.png")
    with pytest.raises(DataError):
        read_video(video.parent / "frame%d.png")


def test_address_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a video"):
        read_video(Path("http://127.0.0.1:9/x.mp4"))


def test_a_truncated_video_is_a_data_error(video: Path) -> None:
    data = video.read_bytes()
    cut = video.with_name("cut.mp4")
    cut.write_bytes(data[: len(data) // 4])
    with pytest.raises(DataError, match=r"cut\.mp4"):
        read_video(cut)


def test_bytes_are_read_like_files_and_are_held_to_the_same_formats(video: Path) -> None:
    found = read_video(io.BytesIO(video.read_bytes()), place="member")
    assert np.array_equal(found.frames, read_video(video).frames)
    for script in (f"ffconcat version 1.0\nfile '{video}'\n", "#EXTM3U\n#EXTINF:1,\nreal.mp4\n"):
        with pytest.raises(DataError, match="member: cannot be read as a video"):
            read_video(io.BytesIO(script.encode()), place="member")


def test_tags_in_another_encoding_are_no_reason_to_refuse(video: Path) -> None:
    data = video.read_bytes()
    assert b"schema" in data
    video.write_bytes(data.replace(b"schema", b"sch\xe4ma"))
    assert read_video(video).frames.shape == FRAMES.shape
    assert "\ufffd" in read_tags(video)["fdream"]


def test_a_cover_picture_beside_sound_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24").reformat(format="yuvj420p")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    with pytest.raises(DataError, match="no video stream"):
        read_video(path)


def test_of_several_streams_the_default_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=8) for _ in range(2)]
        for stream, side in zip(streams, (16, 64), strict=True):
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        streams[1].disposition = av.stream.Disposition.default
        for stream in streams:
            picture = av.VideoFrame.from_ndarray(
                np.zeros((stream.height, stream.width, 3), np.uint8), format="rgb24"
            )
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
            container.mux(stream.encode(None))
    assert read_video(path).frames.shape == (1, 64, 64, 3)
