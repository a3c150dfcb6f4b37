"""``fdream eval`` as its users call it: figures, refusals, exit codes, files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fdream.data.encoding import Encoding
from fdream.data.writers import save_video
from fdream.stages.builtin import frechet_metrics
from tests.conftest import RunCommand

SMALL = ("-s", "clips.frames=6", "-s", "clips.size=32")
CHEAP = ("-m", "flow", "-m", "pixel-consistency")


@pytest.fixture
def sets(in_tmp: Path) -> Path:
    """Folders real and fake of four clips, and again of the same, slid a pixel a frame."""
    for number, name in enumerate(("real", "fake")):
        for clip in range(4):
            draws = np.random.default_rng(10 * number + clip)
            coarse = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            still = coarse.repeat(6, axis=0).repeat(6, axis=1)
            frames = np.stack([np.roll(still, (1 + number) * k, axis=1) for k in range(8)])
            path = Path(name) / f"clip{clip}.mp4"
            save_video(path, frames, 8, Encoding("mp4"), json.dumps({"schema": 1, "prompt": "a"}))
    return in_tmp


def as_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_json_has_every_figure_with_protocol_and_counts(sets: Path, fdream: RunCommand) -> None:
    ran = fdream("eval", *CHEAP, *SMALL, "--real", "real", "--fake", "fake", "--json")
    assert ran.code == 0, ran.err
    figures = as_json(ran.out)["figures"]
    assert list(figures) == [
        "dynamic_degree",
        "flow_magnitude",
        "warping_error",
        "psnr_first_frame",
        "ssim_first_frame",
    ]
    # Of four videos a share has an interval, a mean has none.
    moving = figures["dynamic_degree"]
    assert moving["interval"]["low"] <= moving["value"] <= moving["interval"]["high"]
    assert figures["flow_magnitude"]["interval"] is None
    for figure in figures.values():
        assert (figure["n_real"], figure["n_fake"]) == (4, 4)
        assert "6, stride 1" in figure["protocol"]["frames"]
        assert "start drawn by key" in figure["protocol"]["start"]
        assert figure["protocol"]["codec"] == "real h264; generated h264"
        assert "reference" in figure["beside"]
    assert figures["flow_magnitude"]["value"] > figures["flow_magnitude"]["beside"]["reference"]


def test_stdout_is_rows_without_json_and_the_table_is_on_stderr_with_it(
    sets: Path, fdream: RunCommand
) -> None:
    command = ("eval", "-m", "flow", *SMALL, "--fake", "fake")
    rows = fdream(*command).out.splitlines()
    assert [row.split("\t")[0] for row in rows] == [
        "dynamic_degree", "flow_magnitude", "warping_error"
    ]  # fmt: skip
    ran = fdream(*command, "--json")
    assert "flow_magnitude\t" in ran.err
    as_json(ran.out)
    written = fdream(*command, "-o", "result.json")
    assert written.out.strip() == "result.json"
    assert as_json(Path("result.json").read_text())["figures"].keys() == (
        as_json(ran.out)["figures"].keys()
    )


def test_consistency_never_comes_without_how_much_moves(sets: Path, fdream: RunCommand) -> None:
    ran = fdream("eval", "-m", "pixel-consistency", *SMALL, "--fake", "fake", "--json")
    figures = as_json(ran.out)["figures"]
    assert "psnr_first_frame" in figures
    assert "dynamic_degree" in figures


def test_fvd_without_its_network_is_exit_3_and_says_where_it_is(
    sets: Path, fdream: RunCommand
) -> None:
    ran = fdream("eval", "--fvd", "--real", "real", "--fake", "fake")
    assert ran.code == 3
    assert "i3d_torchscript.pt" in ran.err
    assert "dropbox.com" in ran.err
    assert ran.out == ""


class Grey(nn.Module):
    """Called as I3D is; four features of each clip's mean colours."""

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        colours = x.flatten(2).mean(2)
        return torch.cat([colours, x.flatten(1).std(1, keepdim=True)], 1)


def test_fvd_comes_with_all_that_makes_it_honest(
    in_tmp: Path, fdream: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.script(Grey()).save("i3d.pt")
    digest = hashlib.sha256(Path("i3d.pt").read_bytes()).hexdigest()
    monkeypatch.setattr(frechet_metrics, "I3D", replace(frechet_metrics.I3D, sha256=digest))
    for number, name in enumerate(("real", "fake")):
        for clip in range(16):
            frames = np.random.default_rng([number, clip]).integers(0, 256, 3, dtype=np.uint8)
            video = np.broadcast_to(frames, (12, 8, 8, 3)).copy()
            video[6:] //= 2
            save_video(Path(name) / f"{clip}.apng", video, 8, Encoding("apng"))
    command = ("eval", "--fvd", "--real", "real", "--fake", "fake", "--json")
    ran = fdream(*command, "-s", "measure.options.fvd.weights=i3d.pt", "-s", "clips.frames=10",
                 "-s", "clips.fps=8", "-s", "clips.size=16", "-s",
                 "sets.conditioning=none")  # fmt: skip
    assert ran.code == 0, ran.err
    figures = as_json(ran.out)["figures"]
    assert list(figures) == ["fvd", "fvd_infinity", "kvd"]
    for figure in figures.values():
        assert figure["interval"]["method"] == "jackknife over 16 groups"
        assert (figure["n_real"], figure["n_fake"]) == (16, 16)
    assert set(figures["fvd"]["beside"]) == {"real_halves_n8", "first_frame_repeated"}
    said = figures["fvd"]["protocol_text"]
    for part in (
        "I3D Kinetics-400", f"sha256 {digest[:16]}", "frames 10, stride 1", "fps 8", "16x16",
        "antialiased", "centre crop", "range uint8 RGB 0-255", "real start drawn by key",
        "generated from the first frame", "codec real", "no frame of the reference set",
        "repeats 1", "groups 16", "n 16 real, 16 generated",
    ):  # fmt: skip
        assert part in said, part


def test_the_same_folder_twice_warns_and_gives_zero(sets: Path, fdream: RunCommand) -> None:
    command = ("eval", "-m", "fvd-sprite", *SMALL, "--real", "real", "--json", "--fake")
    ran = fdream(*command, str(sets / "real"))  # the same folder by another name
    assert ran.code == 0, ran.err
    assert "the same windows: distances between them are 0" in ran.err
    figures = as_json(ran.out)["figures"]
    assert figures["fvd_sprite"]["value"] == pytest.approx(0, abs=1e-6)
    assert figures["kvd_sprite"]["value"] < 0
    assert "too few for a Frechet distance" in figures["fvd_sprite"]["warnings"][0]
    assert "fvd_sprite_infinity" not in figures


def test_a_copy_of_the_reference_warns_that_its_windows_are_others(
    sets: Path, fdream: RunCommand
) -> None:
    shutil.copytree("real", "copy")
    ran = fdream("eval", "-m", "flow", *SMALL, "--real", "real", "--fake", "copy")
    assert "from other windows" in ran.err


def test_all_runs_what_can_be_run_and_tells_why_the_rest_was_not(
    sets: Path, fdream: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDREAM_PLUGINS", "")  # the built-in metrics alone
    ran = fdream("eval", "--all", *SMALL, "--real", "real", "--fake", "fake", "--json")
    assert ran.code == 0, ran.err
    found = as_json(ran.out)
    assert {"fvd_sprite", "psnr_first_frame", "dynamic_degree"} <= set(found["figures"])
    assert set(found["skipped"]) == {
        "clip-consistency", "clipsim", "fid", "flow-error", "fvd", "fvd-videomae", "is-c3d",
        "is-frame", "lpips", "watermark",
    }  # fmt: skip
    assert "i3d_torchscript.pt" in found["skipped"]["fvd"]
    assert "know SpriteWorld alone" in ran.err
    assert os.environ["FDREAM_CACHE"] not in ran.out  # a result travels
    assert "torchvision" in found["skipped"]["lpips"]


def test_fewer_videos_than_asked_for_are_never_counted_twice(
    sets: Path, fdream: RunCommand
) -> None:
    ran = fdream("eval", "-m", "flow", *SMALL, "--fake", "fake", "--num", "9", "--json")
    assert ran.code == 0
    assert "9 videos were asked for and 4 could be measured" in ran.err
    assert as_json(ran.out)["figures"]["dynamic_degree"]["n_fake"] == 4


def test_broken_videos_are_listed_and_strict_refuses(sets: Path, fdream: RunCommand) -> None:
    Path("fake/broken.mp4").write_bytes(b"no video")
    save_video(Path("fake/short.mp4"), np.zeros((2, 32, 32, 3), np.uint8), 8, Encoding("mp4"))
    command = ("eval", "-m", "flow", *SMALL, "--fake", str(sets / "fake"))
    ran = fdream(*command, "--json")
    assert ran.code == 0
    assert "2 videos left out" in ran.err
    rejected = as_json(ran.out)["fake"]["rejected"]
    assert set(rejected) == {"broken", "short"}
    assert str(sets) not in ran.out  # a result travels, a path of this machine does not
    strict = fdream(*command, "--strict")
    assert strict.code == 1
    assert "broken" in strict.err
    assert "short" in strict.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--real", "real", "--fake", "empty", "-m", "flow"), 4, "no video there"),
        (("--real", "real", "--fake", "missing", "-m", "flow"), 4, "no such file"),
        (("--real", "real", "-m", "flow"), 2, "name them with --fake"),
        (("--fake", "fake", "-m", "fvd-sprite"), 2, "name the reference videos with --real"),
        (("--fake", "fake", "-m", "fwd"), 2, "Did you mean 'fvd'"),
        (("--fake", "fake"), 2, "no metric can be run"),
        (("--fake", "fake", "--all", "--fvd"), 2, "already names every metric"),
        (("--fake", "fake", "-m", "flow", "-s", "clips.frame=3"), 2, "did you mean frames"),
        (("--fake", "fake", "-m", "flow:x"), 2, "takes no argument"),
        (("--fake", "fake", "-m", "flow", "-s", "measure.options.flow.preset=best"), 2, "preset"),
        (("--fake", "fake", "-m", "flow-error"), 2, "generated.from_reference"),
        (("--fake", "fake", "-m", "flow", "-s", "clips.frames=99"), 4, "not one of the generated"),
        (("--fake", "fake", "-m", "flow", "--engine", "slurm"), 2, "local or ray"),
        (("--fake", "fake", "-m", "flow", "--save-real", "a.safetensors"), 2, "name them with"),
        (
            ("--real", "real", "--fake", "fake", "-m", "flow", "--save-real", "a.bin"),
            2,
            "has to end with .safetensors",
        ),
    ],
)
def test_faults_of_the_command_line_are_told_in_one_line(
    arguments: tuple[str, ...], code: int, told: str, sets: Path, fdream: RunCommand
) -> None:
    Path("empty").mkdir()
    ran = fdream("eval", *arguments)
    assert ran.code == code, ran.err
    assert told in ran.err
    assert ran.out == ""


def test_captions_that_are_missing_are_told_with_where_they_come_from(
    sets: Path, fdream: RunCommand
) -> None:
    from fdream.evals.sets import find_sources
    from fdream.pipelines.eval_plan import lacks
    from fdream.stages.builtin.clip_metrics import CaptionAgreement

    save_video(Path("bare/clip.mp4"), np.zeros((8, 32, 32, 3), np.uint8), 8, Encoding("mp4"))
    metric = CaptionAgreement.__new__(CaptionAgreement)
    assert "have no caption" in lacks("clipsim", metric, find_sources("bare"), False)
    assert lacks("clipsim", metric, find_sources("fake"), False) == ""


def test_saved_features_stand_for_the_reference(sets: Path, fdream: RunCommand) -> None:
    command = ("eval", "-m", "fvd-sprite", *SMALL, "--fake", "fake", "--json")
    first = fdream(*command, "--real", "real", "--save-real", "real.safetensors")
    second = fdream(*command, "--real", "real.safetensors")
    assert second.code == 0, second.err
    assert "real.safetensors" in first.err
    before, after = (as_json(ran.out)["figures"]["fvd_sprite"] for ran in (first, second))
    assert before["value"] == after["value"]
    assert before["protocol_hash"] == after["protocol_hash"]
    other = fdream(*command, "--real", "real.safetensors", "-s", "clips.stride=1", "-s",
                   "clips.frames=5")  # fmt: skip
    assert other.code == 4
    assert "measured under another protocol: frames: '6, stride 1', wanted '5" in other.err


def test_people_read_a_protocol_once(sets: Path, fdream: RunCommand) -> None:
    from fdream.cli.eval import _show

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert fdream("eval", "-m", "flow", *SMALL, "--fake", "fake", "-o", "a.json").code == 0
    record, terminal = as_json(Path("a.json").read_text()), Terminal()
    _show(record, terminal)
    shown = terminal.getvalue()
    assert shown.count("DIS, ") == 1
    assert "Protocol of dynamic_degree, flow_magnitude, warping_error: " in shown


def test_compare_accepts_one_protocol_and_refuses_two(sets: Path, fdream: RunCommand) -> None:
    command = ("eval", "-m", "flow", *SMALL, "--real", "real")
    assert fdream(*command, "--fake", "fake", "-o", "a.json").code == 0
    shutil.copytree("real", "slower")
    assert fdream(*command, "--fake", "slower", "-o", "b.json").code == 0
    ran = fdream("eval", "compare", "a.json", "b.json", "--json")
    assert ran.code == 0, ran.err
    found = as_json(ran.out)
    assert found["flow_magnitude"]["difference"] < 0
    assert "alone has" not in ran.err
    more = ("eval", *CHEAP, *SMALL, "--real", "real", "--fake", "fake", "-o", "e.json")
    assert fdream(*more).code == 0
    fewer = fdream("eval", "compare", "a.json", "e.json")
    assert "e.json alone has psnr_first_frame, ssim_first_frame" in fewer.err
    assert fdream(*command, "--fake", "fake", "-s", "clips.frames=5", "-o", "c.json").code == 0
    refused = fdream("eval", "compare", "a.json", "c.json")
    assert refused.code == 1
    assert "frames: '6, stride 1' and '5, stride 1'" in refused.err
    whole = as_json(Path("a.json").read_text())
    for broken in ({}, {"kind": "fdream eval", "schema": 1}, {**whole, "figures": {"fvd": {}}}):
        Path("d.json").write_text(json.dumps(broken))
        assert fdream("eval", "compare", "a.json", "d.json").code == 4


def test_the_report_holds_everything_and_loads_nothing(sets: Path, fdream: RunCommand) -> None:
    hostile = "<script>alert(1)</script>"
    for clip in Path("fake").iterdir():
        clip.with_suffix(".txt").write_text(hostile)
    ran = fdream("eval", *CHEAP, *SMALL, "--real", "real", "--fake", "fake", "--report", "r.html")
    assert ran.code == 0, ran.err
    page = Path("r.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<video") == 8 + 4 * 4  # pairs, then two best and two worst of four figures
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert page.count("<svg") == 4


def test_without_sets_pocket_is_measured_and_the_offline_features_say_what_they_are(
    in_tmp: Path, fdream: RunCommand, tiny_bundle: Path
) -> None:
    small = [
        "-s", "world.size=32", "-s", "world.frames=3", "-s", "clips.frames=3", "-s",
        "clips.size=32", "-s", f"stages.prior.use=pocket:{tiny_bundle}", "-s",
        f"stages.generator.use=dreamer:{tiny_bundle}", "--num", "3", "-s", "world.sprites=plain",
    ]  # fmt: skip
    ran = fdream("eval", "--fvd", *small, "--json")
    assert ran.code == 0, ran.err
    assert "is no FVD" in ran.err
    found = as_json(ran.out)
    assert "fvd" not in found["figures"]
    assert found["figures"]["fvd_sprite"]["n_fake"] == 3
    assert "no frame of the reference set" in str(found["figures"]["fvd_sprite"]["protocol"])
    animated = fdream("eval", "-m", "flow-error", *small, "-s", "generated.from_reference=true",
                      "--json")  # fmt: skip
    assert animated.code == 0, animated.err
    error = as_json(animated.out)["figures"]["flow_error"]
    assert error["value"] >= 0
    assert "first frames of the reference set" in str(error["protocol"])


def test_vbench_finds_the_names_it_looks_for(sets: Path, fdream: RunCommand) -> None:
    prompts = [
        {"prompt_en": "a fox flying", "dimension": ["dynamic_degree", "color"]},
        {"prompt_en": "a hen", "dimension": ["color"]},
    ]
    Path("info.json").write_text(json.dumps(prompts))
    for index, clip in enumerate(sorted(Path("fake").glob("*.mp4"))):
        clip.with_suffix(".txt").write_text("A fox flying." if index < 3 else "something else")
    ran = fdream("eval", "vbench", "fake", "-o", "out", "--prompts", "info.json", "--json")
    assert ran.code == 0, ran.err
    found = as_json(ran.out)
    names = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.mp4"))
    assert names == [
        f"{dimension}/a fox flying-{index}.mp4"
        for dimension in ("color", "dynamic_degree")
        for index in range(3)
    ]
    assert found["missing"]["color"] == {"a fox flying": 2, "a hen": 5}
    assert found["unused"] == ["clip3"]
    assert fdream("eval", "vbench", "fake", "-o", "out").code == 6
    custom = fdream("eval", "vbench", "fake", "-o", "custom")
    assert "--mode=custom_input" in custom.out
    told = as_json(Path("custom/prompts.json").read_text())
    assert set(told) == {path.name for path in Path("custom").glob("*.mp4")}
