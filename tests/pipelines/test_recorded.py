"""Of a record nothing is believed that the commands would not have accepted."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fdream.core.captions import CaptionPair
from fdream.core.errors import DataError
from fdream.core.sizes import Size
from fdream.data.encoding import Encoding
from fdream.pipelines.generation import ClipSettings, StillSettings
from fdream.pipelines.recorded import believe, refuse_unlike
from fdream.pipelines.results import Sample
from fdream.pipelines.workshop import Sampling

STAGE = {"name": "pocket", "distribution": "fdream", "version": "0.1.0", "sha256": "d7" * 32}
RECORD: dict[str, Any] = {
    "schema": 1,
    "command": "t2v",
    "prompt": "a corgi",
    "captions": {"appearance": "a corgi", "motion": "it surfs"},
    "seed": 2**63 - 1,
    "index": 3,
    "fps": 8,
    "stages": {
        "prior": {**STAGE, "bundle": "pocket", "defaults": {"steps": 20, "guidance": 2.5}},
        "generator": {**STAGE, "name": "dreamer:my run", "revision": "abc"},
        "scheduler": {**STAGE, "name": "dpm++"},
        "splitter": {**STAGE, "name": "whole"},
    },
    "options": {
        "prior": {"size": "128x96", "steps": 4},
        "generator": {"size": "128x96", "resize": "pad", "frames": 5, "scheduler": "dpm++"},
    },
    "versions": {"fdream": "0.1.0", "torch": "2.13.0+cpu"},
    "device": "cpu",
    "device_name": "x86_64",
    "dtype": "float32",
    "threads": 2,
    "encoding": {"format": "gif", "quality": 70, "loop": 2},
    "first_frame_sha256": "ab" * 32,
    "frames_sha256": "cd" * 32,
}


def test_a_record_is_what_the_command_was_asked_for() -> None:
    told = believe(RECORD, "gif", "x.gif")
    assert told.command == "t2v"
    assert told.captions == CaptionPair("a corgi", "it surfs")
    assert told.sample == Sample(2**63 - 1, 3, "a corgi")
    size = Size(height=96, width=128)
    assert told.still == StillSettings(size, Sampling(steps=4))
    assert told.clip == ClipSettings(size, "pad", 5, 8.0, Sampling(scheduler="dpm++"))
    assert told.stages["prior"].defaults.guidance == 2.5
    assert told.stages["generator"].model_extra == {"revision": "abc"}
    assert told.environment.threads == 2
    assert told.encoding == Encoding("gif", 70, 2)


def test_the_format_is_that_of_the_file_and_not_of_the_record() -> None:
    assert believe(RECORD, "webm", "x.webm").encoding.kind == "webm"


def test_a_record_without_the_newer_parts_will_do() -> None:
    bare = {
        "schema": 1,
        "command": "t2i",
        "captions": {"appearance": "a corgi", "motion": ""},
        "seed": 1,
        "stages": {"prior": {"name": "pocket"}},
        "options": {"prior": {"size": "32x32"}},
        "frames_sha256": "cd" * 32,
    }
    told = believe(bare, "png", "x.png")
    assert (told.clip, told.environment.versions) == (None, {})


def changed(path: str, value: object) -> dict[str, Any]:
    record: Any = copy.deepcopy(RECORD)
    *parents, last = path.split(".")
    inner = record
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return record


HOSTILE: list[tuple[str, object]] = [
    ("command", "rm -rf"),
    ("command", ["t2v"]),
    ("seed", "1"),
    ("seed", True),
    ("seed", 1.5),
    ("seed", -1),
    ("seed", 2**63),
    ("index", -1),
    ("fps", 0),
    ("fps", 1e6),
    ("fps", "8"),
    ("fps", ...),
    ("captions", "a corgi"),
    ("captions.motion", "\x1b[2J"),
    ("captions.motion", "x" * 5000),
    ("captions.appearance", 3),
    ("captions.appearance", ...),
    ("prompt", "two\nlines"),
    ("stages", ...),
    ("stages.prior", ...),
    ("stages.prior", "pocket"),
    ("stages.prior.name", "../../evil"),
    ("stages.prior.name", "a b"),
    ("stages.prior.name", "pocket\n"),
    ("stages.prior.name", ""),
    ("stages.prior.sha256", "zz"),
    ("stages.prior.sha256", 5),
    ("stages.prior.distribution", "evil; rm"),
    ("stages.prior.defaults", [1]),
    ("stages.prior.defaults", {"steps": "many"}),
    ("options.prior", ...),
    ("options.prior.size", "0x0"),
    ("options.prior.size", "99999x99999"),
    ("options.prior.size", [128, 128]),
    ("options.prior.steps", 10**6),
    ("options.prior.steps", 0),
    ("options.prior.guidance", -1.0),
    ("options.prior.guidance", 1e9),
    ("options.prior.negative", "\x07"),
    ("options.prior.cfg_interval", 3),
    ("options.generator.frames", 10**9),
    ("options.generator.frames", 0),
    ("options.generator.frames", "5"),
    ("options.generator.resize", "stretch"),
    ("options.generator.scheduler", "/etc/passwd"),
    ("threads", 10**9),
    ("threads", 0),
    ("device", "cuda; rm"),
    ("dtype", "int4"),
    ("versions", {"torch": {"a": 1}}),
    ("versions", {"torch": "\x1b[2J"}),
    ("encoding", {"quality": 0}),
    ("encoding", {"quality": 10**9}),
    ("encoding", {"loop": -1}),
    ("encoding", {"codec": "av1"}),
    ("encoding", {"codec": "-i /etc/passwd"}),
    ("frames_sha256", ...),
    ("frames_sha256", "0" * 63),
    ("first_frame_sha256", ...),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=lambda value: repr(value)[:40])
def test_what_no_command_accepts_is_refused_by_its_place(path: str, value: object) -> None:
    with pytest.raises(DataError, match=r"^x\.mp4: its record cannot be replayed: ") as caught:
        believe(changed(path, value), "mp4", "x.mp4")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_option_of_a_newer_fdream_is_not_passed_over() -> None:
    with pytest.raises(DataError, match="newer"):
        believe(changed("options.generator.cfg_interval", 3), "mp4", "x.mp4")
    believe(changed("colour_of_the_day", "red"), "mp4", "x.mp4")


@pytest.mark.parametrize("shape", [(4, 96, 128, 3), (5, 96, 96, 3), (500, 96, 128, 3)])
def test_a_record_of_other_frames_than_its_file_holds_is_refused(shape: tuple[int, ...]) -> None:
    told = believe(RECORD, "mp4", "x.mp4")
    refuse_unlike(told, (5, 96, 128, 3), "x.mp4")
    with pytest.raises(DataError, match="5 x 128x96"):
        refuse_unlike(told, shape, "x.mp4")
