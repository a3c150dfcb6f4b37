"""The functions of the package: frames and files of the commands, and nothing at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fdream
from fdream import CaptionPair, FdreamError, Stages, image_to_video, text_to_image, text_to_video
from fdream.cli.app import run
from fdream.core.report import SilentReporter
from fdream.data.metadata import read_record


@pytest.fixture
def stages(tiny_bundle: Path) -> Stages:
    return Stages(f"pocket:{tiny_bundle}", f"dreamer:{tiny_bundle}", device="cpu")


def test_importing_the_package_loads_nothing() -> None:
    code = (
        "import sys, fdream; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_libraries_report_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    Stages(device="cpu")
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_every_public_name_is_there_and_documented() -> None:
    for name in fdream.__all__:
        assert name in dir(fdream)
        assert getattr(fdream, name).__doc__
    assert set(fdream._HOMES) | {"__version__"} == set(fdream.__all__)
    with pytest.raises(AttributeError, match="text_to_sound"):
        _ = fdream.text_to_sound  # type: ignore[attr-defined]


def test_functions_give_the_frames_and_the_file_of_the_command(
    stages: Stages, tiny_bundle: Path, in_tmp: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = ["--prior", f"pocket:{tiny_bundle}", "--generator", f"dreamer:{tiny_bundle}"]
    options = ["--seed", "3", "--steps", "1", "--prior-steps", "2", "--frames", "2", "--fps", "5"]
    asked = ["t2v", "a corgi", "--motion", "zooming in", *options, "--device", "cpu"]
    assert run([*asked, *named, "-o", "command.gif", "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    clip = text_to_video(
        "a corgi",
        motion="zooming in",
        seed=3,
        steps=1,
        prior_steps=2,
        frames=2,
        fps=5,
        stages=stages,
    )
    assert clip.record["frames_sha256"] == made["frames_sha256"]
    assert clip.frames.shape == (2, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.fps == 5
    assert clip.captions == CaptionPair("a corgi", "zooming in")
    assert clip.save("function.gif") == Path("function.gif")
    assert Path("function.gif").read_bytes() == Path("command.gif").read_bytes()


def test_two_functions_are_the_third(stages: Stages, in_tmp: Path) -> None:
    whole = text_to_video("a corgi surfing", seed=7, index=2, stages=stages)
    still = text_to_image("a corgi surfing", seed=7, index=2, stages=stages)
    assert np.array_equal(image_to_video(still, stages=stages).frames, whole.frames)
    saved = still.save("still.png")
    assert np.array_equal(image_to_video(saved, stages=stages).frames, whole.frames)
    halves = CaptionPair("a corgi on a surfboard", "surfing")
    again = text_to_video(halves, seed=7, index=2, stages=stages)
    assert np.array_equal(again.frames, whole.frames)


def test_what_fits_is_chosen_once(tiny_bundle: Path) -> None:
    said: list[str] = []

    class Heard(SilentReporter):
        def say(self, text: str) -> None:
            said.append(text)

    stages = Stages(
        f"pocket:{tiny_bundle}", f"dreamer:{tiny_bundle}", device="cpu", fit=True, reporter=Heard()
    )
    for _ in range(2):
        text_to_video("a corgi surfing", seed=1, stages=stages)
    assert [text.startswith("fit: ") for text in said] == [True]


def test_pixels_alone_are_enough(tiny_bundle: Path) -> None:
    unsplit = Stages(f"pocket:{tiny_bundle}", f"dreamer:{tiny_bundle}", "whole", device="cpu")
    # Said, for a picture without a record might be a photo, and has none of a small model's own.
    whole = text_to_video("a corgi", seed=7, index=2, guidance=2.0, stages=unsplit)
    pixels = image_to_video(
        text_to_image("a corgi", seed=7, index=2, stages=unsplit).pixels,
        motion="a corgi",
        seed=7,
        index=2,
        guidance=2.0,
        stages=unsplit,
    )
    assert np.array_equal(pixels.frames, whole.frames)


def test_a_drawn_seed_is_told_and_repeats(stages: Stages) -> None:
    first = text_to_image("a corgi", stages=stages)
    again = text_to_image("a corgi", seed=first.sample.seed, stages=stages)
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(text_to_image("a corgi", stages=stages).pixels, first.pixels)


def test_files_carry_the_record_unless_they_must_not(stages: Stages, in_tmp: Path) -> None:
    clip = text_to_video("a corgi", seed=1, size=(24, 40), stages=stages)
    assert clip.frames.shape[1:3] == (24, 40)
    for kind in ("mp4", "webp", "frames"):
        record = read_record(clip.save(f"clip-{kind}", kind)).record
        assert record is not None
        assert record["encoding"] == {"format": kind}
        assert record["frames_sha256"] == clip.record["frames_sha256"]
    assert read_record(clip.save("bare.mp4", metadata=False)).record is None


@pytest.mark.parametrize(
    ("says", "wrong"),
    [
        ("prompt", {"prompt": " "}),
        ("U\\+001B", {"prompt": "\x1b"}),
        ("steps", {"steps": 0}),
        ("guidance", {"guidance": float("nan")}),
        ("seed", {"seed": -1}),
        ("frames", {"frames": 0}),
        ("fps", {"fps": 1e9}),
        ("resize", {"resize": "stretch"}),
        ("size", {"size": "big"}),
        ("size", {"size": (1, 2, 3)}),
        ("a side of size", {"size": (0, 8)}),
        ("euler", {"scheduler": "euller"}),
    ],
    ids=lambda value: str(value),
)
def test_what_a_command_refuses_a_function_refuses(
    stages: Stages, says: str, wrong: dict[str, object]
) -> None:
    with pytest.raises(FdreamError, match=says):
        text_to_video(**{"prompt": "a corgi", "stages": stages, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), "nowhere.png"],
    ids=["grey", "alpha", "float", "missing"],
)
def test_what_is_no_image_is_refused(stages: Stages, pixels: object) -> None:
    with pytest.raises(FdreamError, match=r"image|nowhere"):
        image_to_video(pixels, motion="a", stages=stages)  # type: ignore[arg-type]


def test_an_unknown_ending_is_refused(stages: Stages, in_tmp: Path) -> None:
    still = text_to_image("a corgi", stages=stages)
    with pytest.raises(FdreamError, match="xyz"):
        still.save("still.xyz")
    assert not list(in_tmp.iterdir())
