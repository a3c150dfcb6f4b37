"""The same commands over pipelines of diffusers: another word after ``--prior``, nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fdream.cli.app import run
from fdream.core import host_memory
from fdream.core.device import DeviceManager
from fdream.core.sizes import Size
from fdream.data.media import read_video
from fdream.data.metadata import read_record
from fdream.stages import registry
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


def test_fit_chooses_and_says_so(
    sd: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["t2i", "a corgi", "--prior", sd, "--steps", "1", "--seed", "1", "--fit"]
    assert run([*words, "-o", "a.png"]) == 0
    assert "fit: float32, no offload, autoencoder whole" in capsys.readouterr().err
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 1000)
    assert run([*words, "-o", "b.png"]) == 5
    assert "does not fit: at the least it takes about" in capsys.readouterr().err
    assert not Path("b.png").exists()


def test_fit_takes_half_precision_and_tiles_where_whole_does_not_fit(
    sd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand = registry.build("prior", sd, {}, device=DeviceManager.choose("cpu")).demand(
        Size(256, 256)
    )
    monkeypatch.setattr(
        host_memory, "free_bytes", lambda: 2 * (demand.weights + demand.work_tiled) * 10 // 9 + 9
    )
    words = ["t2i", "a corgi", "--prior", sd, "--steps", "1", "--size", "256", "--fit"]
    assert run([*words, "-o", "a.png"]) == 0
    record = read_record(Path("a.png")).record
    assert record is not None
    assert (record["dtype"], record.get("tiling", False)) == (
        "bfloat16",
        demand.work > demand.work_tiled,
    )


def test_doctor_answers_beforehand_whether_a_model_fits(
    sd: str, wan: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for named, stage in (
        (sd, f"prior/{sd}"),
        (wan, f"generator/{wan}"),
        ("pocket", "prior/pocket"),
    ):
        assert run(["doctor", "--model", named, "--json"]) == 0
        (first, *rest) = json.loads(capsys.readouterr().out)
        assert (first["name"], first["status"]) == (stage, "ok")
        assert len(rest) == (named == "pocket")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 8 * 10**9)
    assert run(["doctor", "--model", "flux-schnell", "--json"]) == 1
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["name"] == "prior/diffusers:flux-schnell"
    assert "33.7 GB to fetch" in answer["detail"]
    assert "does not fit" in answer["detail"]
    assert run(["doctor", "--model", "nobody"]) == 3
    assert "neither a short name" in capsys.readouterr().err


def test_a_question_fetches_no_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches: list[bool] = []

    def download(name: str, *, local_files_only: bool, **rest: object) -> str:
        fetches.append(not local_files_only)
        raise OSError("not in the cache")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 80 * 10**9)
    assert run(["doctor", "--model", "sdxl", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["detail"].startswith("not here, 6.9 GB to fetch; of its weights alone: fits")
    for words in (
        ["doctor", "--model", "diffusers:me/mine"],
        ["t2i", "a corgi", "--prior", "diffusers:me/mine", "--explain"],
    ):
        assert run(words) == 3
        assert "me/mine: not on this machine, and nothing is fetched" in capsys.readouterr().err
    assert fetches
    assert not any(fetches)
    # A run does fetch.
    assert run(["t2i", "a corgi", "--prior", "diffusers:me/mine", "-o", "a.png"]) == 3
    assert fetches[-1]


def test_short_names_are_listed_with_what_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    rows = {row["bundle"]: row for row in json.loads(capsys.readouterr().out)}
    wan = rows["diffusers:wan2.2-5b"]
    assert wan["choose"] == {"generator": "--generator diffusers:wan2.2-5b"}
    assert (wan["licence"], wan["fetch_bytes"]) == ("apache-2.0", 34 * 10**9)
    assert run(["models", "sdxl-turbo"]) == 0
    assert "not for commercial use" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["t2i", "x", "--prior", "sdxl"], "Did you mean 'diffusers:sdxl'?"),
        (["t2i", "x", "--prior", "diffusers:sdlx"], "did you mean sdxl?"),
        (["t2i", "x", "--prior", "diffusers:wan2.2-5b"], "animates images, so it is for --gener"),
        (["t2v", "x", "--generator", "diffusers:sdxl"], "draws images, so it is for --prior"),
        (["t2v", "x", "--generator", "diffusers:zero"], "short names are svd, wan2.2-5b, ltx"),
        (["t2v", "x", "--generator", "dreamer:@x"], "wants a name on both sides of the @"),
        (["t2v", "x", "--generator", "dreamer:NOWHERE"], "packaged is pocket"),
        (["doctor", "--model", "sdlx"], "did you mean sdxl?"),
        (["doctor", "--model", "diffusers:sdlx"], "did you mean sdxl?"),
    ],
)
def test_a_name_that_cannot_be_meant_advises_no_download(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) in (2, 3)
    told = capsys.readouterr().err
    assert said in told
    assert "hf download" not in told
    assert "reinstall" not in told.lower()


@pytest.mark.parametrize(
    ("index", "said"),
    [(None, "there is no model_index.json in it"), ("{}", "names no pipeline class")],
)
def test_a_folder_that_is_no_pipeline_says_so_in_words(
    index: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    if index is not None:
        Path("folder/model_index.json").write_text(index, encoding="utf-8")
    assert run(["t2i", "x", "--prior", "diffusers:folder", "-o", "a.png"]) == 3
    told = capsys.readouterr().err
    assert said in told
    assert "Errno" not in told


@pytest.mark.parametrize("fit", [[], ["--fit"]])
def test_of_two_models_that_are_missing_both_are_named(
    fit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["--prior", "diffusers:sdxl-turbo", "--generator", "diffusers:svd", "-o", "a.mp4"]
    assert run(["t2v", "a corgi surfing", *words, *fit]) == 3
    told = capsys.readouterr().err
    assert "hf download stabilityai/sdxl-turbo" in told
    assert "hf download stabilityai/stable-video-diffusion-img2vid-xt" in told


def test_doctor_answers_for_every_model_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    run(["doctor", "--model", "sdxl-turbo", "--model", "sd15"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in told] == [
        "prior/diffusers:sdxl-turbo",
        "prior/diffusers:sd15",
    ]
