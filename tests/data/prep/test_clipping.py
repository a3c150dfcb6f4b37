"""Every odd file is clipped rightly or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fdream.core.prep_recipe import PrepRecipe
from fdream.data.media import read_video
from fdream.data.prep.clipping import SourceResult, clip_source
from fdream.data.prep.sources.files import file_row
from fdream.data.prep.sources.rows import SourceRow, Span
from fdream.data.shards.writer import write_tar


def clip(path: Path, spool: Path, row: SourceRow | None = None, **tables: object) -> SourceResult:
    recipe = PrepRecipe.model_validate({"name": "x", **tables})
    return clip_source(row or file_row(path, path.name), recipe, spool)


def frames_of(result: SourceResult) -> list[int]:
    return [stored.clip.num_frames for stored in result.clips]


def test_scenes_become_clips_that_show_them(make_video, tmp_path: Path) -> None:
    path = make_video("a.mp4", [(1, 30), (2, 40)])
    result = clip(path, tmp_path / "spool", clip={"qp": 4})
    assert [(c.clip.begins, c.clip.start_s) for c in result.clips] == [("start", 0), ("cut", 1.2)]
    whole = read_video(path).frames
    for stored, (first, last) in zip(result.clips, [(0, 30), (30, 70)], strict=True):
        shown = read_video(stored.file)
        assert shown.fps == 25
        assert shown.frames.shape[0] == stored.clip.num_frames == last - first
        assert np.abs(shown.frames.astype(int) - whole[first:last]).mean() < 6


def test_the_same_source_gives_the_same_bytes(make_video, tmp_path: Path) -> None:
    path = make_video("a.mp4", [(1, 30), (2, 10)])
    results = [clip(path, tmp_path / name) for name in ("one", "two")]
    one, two = ([c.file.read_bytes() for c in r.clips] for r in results)
    assert one == two
    assert [c.clip for c in results[0].clips] == [c.clip for c in results[1].clips]


def test_uneven_times_are_honoured(make_video, tmp_path: Path) -> None:
    from fractions import Fraction

    times = [0, 40, 80, 1080, 1120, 1160]  # the third picture stands for a second
    path = make_video("a.mkv", [(1, 6)], times=times, time_base=Fraction(1, 1000))
    result = clip(path, tmp_path / "spool", cut={"use": False}, clip={"fps": 25.0})
    assert frames_of(result) == [30]
    shown = read_video(result.clips[0].file).frames.astype(int)
    still = np.abs(np.diff(shown, axis=0)).mean((1, 2, 3)) < 1
    assert still[3:26].all()  # at first the encoder still refines the picture


def test_one_frame_is_one_clip(make_video, tmp_path: Path) -> None:
    assert frames_of(clip(make_video("a.mp4", [(1, 1)]), tmp_path / "spool")) == [1]


def test_spans_of_the_input_are_clipped_where_it_says(make_video, tmp_path: Path) -> None:
    path = make_video("a.mp4", [(1, 100)])
    spans = (Span(0.4, 1.2), Span(1.0, 2.0), Span(3.8, 9.0), Span(7.0, 8.0), Span(0.41, 0.43))
    row = SourceRow("a", "a.mp4", "", path=str(path), spans=spans)
    result = clip(path, tmp_path / "spool", row)
    found = sorted((c.span, c.clip.start_s, c.clip.num_frames) for c in result.clips)
    assert found == [(0, 0.4, 20), (1, 1.0, 25), (2, 3.8, 5)]
    assert sorted(result.empty_spans) == [3, 4]
    assert {c.clip.begins for c in result.clips} == {"span"}


def test_with_clip_off_the_file_itself_is_kept(make_video, tmp_path: Path) -> None:
    path = make_video("a.mp4", [(1, 30), (2, 30)])
    result = clip(path, tmp_path / "spool", clip={"use": False})
    (stored,) = result.clips
    assert (stored.file, result.file, stored.clip.num_frames) == (None, path, 60)
    assert stored.clip.figures["motion"] > 0


def test_a_member_of_an_archive_is_a_source(make_video, tmp_path: Path) -> None:
    from fdream.data.prep.sources.archives import shard_rows

    path = make_video("a.mp4", [(1, 10)])
    write_tar(tmp_path / "0.tar", [("k", {"mp4": path, "txt": b"x"})])
    (row,) = shard_rows(str(tmp_path / "0.tar"))
    assert frames_of(clip(path, tmp_path / "spool", row)) == [10]


def concat_script(folder: Path, good: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{good}'\n".encode()


def playlist(folder: Path, good: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{good}\n#EXT-X-ENDLIST\n".encode()


def address_inside(folder: Path, good: Path) -> bytes:
    return b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.mp4\n"


def dash(folder: Path, good: Path) -> bytes:
    return f'<?xml version="1.0"?><MPD><BaseURL>file://{good}</BaseURL></MPD>'.encode()


def session(folder: Path, good: Path) -> bytes:
    return b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"


def truncated(folder: Path, good: Path) -> bytes:
    return good.read_bytes()[: good.stat().st_size // 2]


def damaged(folder: Path, good: Path) -> bytes:
    data = bytearray(good.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    return bytes(data)


def text(folder: Path, good: Path) -> bytes:
    return b"just text\n" * 9


def nothing(folder: Path, good: Path) -> bytes:
    return b""


@pytest.mark.parametrize("name", ["trap.mp4", "trap.m3u8", "trap.mkv", "trap.sdp", "trap.ffconcat"])
@pytest.mark.parametrize("content", [concat_script, playlist, address_inside, dash, session])
def test_what_points_elsewhere_is_refused(content, name, make_video, tmp_path: Path) -> None:
    good = make_video("good.mp4", [(1, 5)])
    trap = tmp_path / name
    trap.write_bytes(content(tmp_path, good))
    result = clip(trap, tmp_path / "spool")
    assert "cannot be read as a video" in result.problem
    assert result.clips == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "$(touch owned).mp4",
            "`touch owned`.mp4",
            "; touch owned;.mp4",
            "-i owned.mp4",
            "a\nb.mp4",
        ),
        *("%03d.mp4", "concat:a|b.mp4", "http:a.mp4", "*.mp4", '"quoted\' name".mp4'),
    ],
)
def test_a_name_is_a_name_and_no_command(name, make_video, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(name, [(1, 4)])
    (path,) = tmp_path.iterdir()
    assert frames_of(clip(Path(path.name), tmp_path / "spool")) == [4]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [truncated, damaged, text, nothing])
def test_what_is_broken_is_quarantined_whole(content, make_video, tmp_path: Path) -> None:
    good = make_video("good.mp4", [(1, 60), (2, 60)])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content(tmp_path, good))
    result = clip(broken, tmp_path / "spool")
    assert result.problem
    assert result.clips == []


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert clip(path, tmp_path / "spool").problem == "has no video stream"


def test_limits_are_reasons(make_video, tmp_path: Path) -> None:
    from fractions import Fraction

    path = make_video("a.mkv", [(1, 3)], times=[0, 40, 99_000], time_base=Fraction(1, 1000))
    assert "stands for" in clip(path, tmp_path / "spool").problem
    row = SourceRow("a", "a", "", path=str(path), size=3 << 20)
    assert "limits.file_mb" in clip(path, tmp_path / "spool", row, limits={"file_mb": 2}).problem


REAL = {
    "apply_eye_makeup.avi": [164],
    "asl_thanks.mkv": [51],
    "bikes_scene_cuts.mp4": [30, 46, 61, 50, 55, 8],
    "h264_10bit.mp4": [30],
    "nasa_13013_rotated.mp4": [17],
    "odd_321x241_444.mp4": [25],
    "rotated_90.mov": [3],
    "derived/one_frame.mp4": [1],
    "derived/flower_321x241_real_odd.mp4": [30],
    "derived/not_a_video.mp4": "cannot be read as a video",
    "derived/truncated_faststart.mp4": "cannot be read as a video",
    "corrupted_bitstream.mp4": "cannot be read as a video",
}


@pytest.mark.parametrize("name", REAL)
def test_real_odd_files_are_clipped_or_refused(name: str, real_clips: Path, tmp_path: Path) -> None:
    result = clip(real_clips / name, tmp_path / "spool", resize={"short_side": 64})
    expected = REAL[name]
    if isinstance(expected, str):
        assert result.problem.startswith(expected)
        assert result.clips == []
        return
    assert (result.problem, frames_of(result)) == ("", expected)
    height, width = result.facts.height, result.facts.width
    shown = read_video(result.clips[0].file).frames
    assert shown.shape[1] / shown.shape[2] == pytest.approx(height / width, rel=0.03)
