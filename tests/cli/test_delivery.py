"""Where results go is decided before any work, by the rules of a shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.cli.delivery import Delivery
from fdream.core.errors import FdreamError, OutputError, UsageError
from fdream.data.encoding import VIDEO_FORMATS, Encoding
from fdream.data.metadata import read_record
from fdream.data.readers import read_output
from fdream.data.writers import save_video


def decide(
    output: str | None, kind: str | None = None, *, moving: bool = True, as_json: bool = False
) -> Delivery:
    return Delivery.decide(output, kind, moving=moving, as_json=as_json, metadata=True)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    def be(terminal: bool) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)

    return be


Fdream = Callable[..., Any]  # see ``tiny_fdream``


def frame_folder(path: Path, record: str | None = '{"schema": 1}') -> Path:
    save_video(path, np.zeros((2, 8, 8, 3), np.uint8), 8, Encoding("frames"), record)
    return path


@pytest.mark.usefixtures("in_tmp")
class TestPlaces:
    """``-o`` alone, as cp and ffmpeg would read it."""

    @pytest.mark.parametrize("output", ["out.mp4", "./out.mp4", "there/out.mp4", "there/../a.mp4"])
    def test_a_file_in_a_folder_that_is_there(self, output: str) -> None:
        Path("there").mkdir()
        assert decide(output).place == "file"

    @pytest.mark.parametrize("output", ["new/out.mp4", "there/new/out.mp4", "/no/such/out.mp4"])
    def test_a_file_in_a_folder_that_is_not_there_is_refused(self, output: str) -> None:
        Path("there").mkdir()
        with pytest.raises(OutputError, match=f"no folder {Path(output).parent}; make it") as told:
            decide(output)
        assert f"-o {Path(output).parent}/ " in str(told.value)
        assert [p.name for p in Path().iterdir()] == ["there"]

    def test_a_name_without_an_ending_is_told_how_to_say_folder(self) -> None:
        with pytest.raises(UsageError, match="a folder ends with a slash: new/clips/"):
            decide("new/clips")

    @pytest.mark.parametrize("output", ["new/", "there/new/", "a/b/c/", "there", "there/"])
    def test_a_folder_may_be_new(self, output: str) -> None:
        Path("there").mkdir()
        assert decide(output).place == "folder"
        assert [p.name for p in Path().iterdir()] == ["there"]  # made when there is a result

    @pytest.mark.parametrize("output", ["file/out.mp4", "file/", "file/deep/"])
    def test_a_folder_that_is_a_file_is_refused(self, output: str) -> None:
        Path("file").touch()
        with pytest.raises(OutputError, match="is a file"):
            decide(output)

    def test_a_name_that_is_too_long_is_refused(self) -> None:
        with pytest.raises(OutputError, match=r"too long"):
            decide("x" * 300 + ".mp4")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission_is_refused(self) -> None:
        Path("locked").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="no permission"):
            decide("locked/out.mp4")


@pytest.mark.usefixtures("in_tmp")
class TestFrames:
    """A folder of frames is one result: ``-o NAME`` is that folder, ``-o NAME/`` holds it."""

    def test_a_new_name_is_the_folder(self) -> None:
        assert decide("clip", "frames").place == "file"
        assert decide("clip.frames").encoding.kind == "frames"

    @pytest.mark.parametrize("output", ["clip/", "there"])
    def test_a_folder_collects_folders(self, output: str) -> None:
        Path("there").mkdir()
        assert decide(output, "frames").place == "folder"

    def test_an_earlier_result_is_replaced(self) -> None:
        frame_folder(Path("clip"))
        assert decide("clip", "frames").place == "file"
        assert decide("clip/", "frames").place == "folder"
        assert decide("clip", "mp4").place == "folder"

    def test_what_is_not_surely_ours_is_not_replaced(self) -> None:
        frame_folder(Path("bare"), record=None)
        (frame_folder(Path("more")) / "notes.txt").touch()
        for name in ("bare", "more"):
            assert decide(name, "frames").place == "folder"

    def test_a_file_is_not_replaced_by_a_folder(self) -> None:
        Path("clip").write_text("mine")
        with pytest.raises(OutputError, match="it is a file, and frames are a folder"):
            decide("clip", "frames")

    def test_its_own_folder_has_to_be_there(self) -> None:
        with pytest.raises(OutputError, match="no folder new"):
            decide("new/clip", "frames")

    @pytest.mark.parametrize("output", ["-", None])
    def test_standard_output_takes_no_folder(
        self, output: str | None, terminal: Callable[[bool], None]
    ) -> None:
        terminal(False)
        with pytest.raises(UsageError, match="-o NAME"):
            decide(output, "frames")

    def test_a_picture_has_no_frames(self) -> None:
        with pytest.raises(UsageError, match="png, webp"):
            decide("a", "frames", moving=False)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_an_ending_chooses_the_format(kind: str) -> None:
    for output in (f"out.{kind}", f"OUT.{kind.upper()}"):
        assert decide(output).encoding.kind == kind
    assert decide("out.xyz", kind).encoding.kind == kind
    assert decide("-", kind).place == "bytes" if kind != "frames" else True


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("output", ["-", "", "  ", "out", "out.xyz", "no/such/out.mp4"])
def test_what_is_refused_leaves_nothing(output: str, terminal: Callable[[bool], None]) -> None:
    terminal(True)
    with pytest.raises(FdreamError):
        decide(output)
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="has no such folder")
def test_a_place_that_takes_no_file_is_refused_before_the_work() -> None:
    kernel = Path("/proc")  # to root writable by its bits, and nothing can be made there
    with pytest.raises(OutputError, match="nothing can be made in"):
        decide(str(kernel / "out.mp4"))


@pytest.mark.parametrize(
    ("output", "kind", "doubtful"),
    [
        ("a.gif", "mp4", True),
        ("a.mp4", "png", True),
        ("a.gif", "gif", False),
        ("a.png", "apng", False),  # an animated PNG is a PNG
        ("a.clip", "mp4", False),
        ("a.png", "frames", False),
        ("folder.gif/", "mp4", False),
    ],
)
def test_an_ending_that_says_another_format_is_told(
    output: str, kind: str, doubtful: bool, in_tmp: Path
) -> None:
    del in_tmp
    said = decide(output, kind).doubt()
    assert (said is not None) == doubtful
    assert said is None or kind in said


def test_frames_from_the_command_line(tiny_fdream: Fdream) -> None:
    args = ("t2v", "a corgi", "--seed", "3", "--format", "frames")
    made = ["00000.png", "00001.png", "00002.png", "fdream.json"]

    def run(*more: str, **how: bool) -> list[str]:
        result = tiny_fdream(*args, *more, **how)
        assert result.code == 0, result.err
        return result.lines

    assert run("-o", "clip") == ["clip"]
    assert sorted(p.name for p in Path("clip").iterdir()) == made
    assert run("-o", "clip") == ["clip"]  # written again, not inside of itself
    assert sorted(p.name for p in Path("clip").iterdir()) == made
    assert run("-o", "many/") == ["many/a-corgi-3"]
    assert run("-o", "two", "--num", "2") == ["two-000", "two-001"]
    assert run(terminal=True) == ["a-corgi-3"]
    record = read_record(Path("clip")).record
    assert record is not None
    assert record["encoding"] == {"format": "frames"}
    for folder in ("two-000", "many/a-corgi-3"):
        assert np.array_equal(read_output(Path(folder)).frames, read_output(Path("clip")).frames)
    run("-o", "bare", "--no-metadata")
    assert sorted(p.name for p in Path("bare").iterdir()) == made[:3]


def test_a_codec_from_the_command_line(tiny_fdream: Fdream) -> None:
    assert tiny_fdream("t2v", "a corgi", "--seed", "3", "--codec", "av1", "-o", "a.webm").code == 0
    record = read_record(Path("a.webm")).record
    assert record is not None
    assert record["encoding"] == {"format": "webm", "codec": "av1"}
    refused = tiny_fdream("t2v", "a corgi", "--codec", "av1", "-o", "a.gif")
    assert refused.code == 2
    assert "webm holds vp9 or av1" in refused.err


def test_quality_and_loop_from_the_command_line(tiny_fdream: Fdream) -> None:
    sizes = []
    for quality in ("10", "90"):
        name = f"q{quality}.mp4"
        assert (
            tiny_fdream("t2v", "a corgi", "--seed", "3", "--quality", quality, "-o", name).code == 0
        )
        sizes.append(Path(name).stat().st_size)
    assert sizes[0] < sizes[1]
    assert tiny_fdream("t2v", "a corgi", "--seed", "3", "--loop", "2", "-o", "a.gif").code == 0
    record = read_record(Path("a.gif")).record
    assert record is not None
    assert record["encoding"] == {"format": "gif", "loop": 2}
