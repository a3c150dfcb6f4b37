"""The same commands over pipelines of diffusers: another word after ``--prior``, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdream.cli.app import run
from fdream.data.media import read_video
from fdream.data.metadata import read_record
from tests.stages import tiny_pipelines

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sd") / "my-sd"
    tiny_pipelines.build("sd").save_pretrained(folder)
    return f"diffusers:{folder}"


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wan") / "my-wan"
    tiny_pipelines.build("wan-2.2").save_pretrained(folder)
    return f"diffusers:{folder}"


def test_two_filters_and_one_command_give_the_same_frames(
    sd: str, wan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--size", "32", "--seed", "3"]
    image = ["t2i", "a corgi", "--prior", sd, "--steps", "2", *small, "-o", "a.png"]
    assert run(image) == 0
    video = ["--generator", wan, "--steps", "2", "--frames", "8", "--guidance", "1"]
    assert run(["i2v", "a.png", *video, "--size", "32", "-o", "piped.mp4"]) == 0
    said = capsys.readouterr().err
    assert "cannot make 8 frames; it makes 9" in said
    both = [
        "t2v",
        "a corgi",
        "--prior",
        sd,
        "--prior-steps",
        "2",
        *video,
        *small,
        "-o",
        "whole.mp4",
    ]
    assert run(both) == 0
    piped, whole = (read_record(Path(name)).record for name in ("piped.mp4", "whole.mp4"))
    assert piped is not None
    assert whole is not None
    assert piped["frames_sha256"] == whole["frames_sha256"]
    assert whole["stages"]["prior"]["model"] == "my-sd"
    assert whole["stages"]["generator"]["pipeline"] == "WanImageToVideoPipeline"
    assert whole["options"]["generator"]["frames"] == 9
    assert whole["fps"] == 24.0
    assert read_video(Path("whole.mp4")).frames.shape == (9, 32, 32, 3)


def test_pocket_draws_the_picture_that_another_model_animates(
    wan: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = f"pocket:{tiny_bundle}"
    words = [
        "t2v",
        "a corgi",
        "--prior",
        prior,
        "--generator",
        wan,
        "--steps",
        "1",
        "--frames",
        "1",
    ]
    assert run([*words, "--size", "40x32", "-o", "out.gif"]) == 0
    # 40 is no multiple of this model's 32, and the picture is cut to what is.
    assert "cannot animate 40x32; it takes 32x32" in capsys.readouterr().err


def test_a_model_that_is_not_here_is_told_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["t2i", "a corgi", "--prior", "diffusers:sdxl-turbo", "-o", "a.png"]) == 3
    said = capsys.readouterr().err
    assert "hf download stabilityai/sdxl-turbo" in said
    assert said.count("\n") == 1
    assert not Path("a.png").exists()
