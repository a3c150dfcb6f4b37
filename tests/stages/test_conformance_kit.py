"""The kit catches what it is for: each fault fails its own check, and by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fdream.stages import testing

PLUGIN = """
import numpy as np
import torch
from fdream.core.captions import CaptionPair
from fdream.core.sizes import Size
from fdream.stages.interfaces import (
    FigureSpec, Metric, NoiseScheduler, SchedulerStage, SplitterStage, TextToImagePrior,
    VideoGenerator,
)
from fdream.stages.spec import StageSpec

PRIOR = StageSpec(kind="prior", name="fake", summary="", factory="faulty:Prior", licence="MIT")
GENERATOR = StageSpec(
    kind="generator", name="fake", summary="", factory="faulty:Generator", licence="MIT"
)
METRIC = StageSpec(kind="metric", name="fake", summary="", factory="faulty:Mean", licence="MIT")
SPLITTER = StageSpec(kind="splitter", name="fake", summary="", factory="faulty:Cut", licence="MIT")

class Prior(TextToImagePrior):
    default_size = Size(16, 24)

    def __init__(self, options, *, device):
        pass

    def draw(self, captions, size, seeds, options):
        images = [np.random.default_rng(s).integers(0, 256, (*size, 3)) for s in seeds]
        images = np.stack(images).astype(np.uint8)
        for done in range(3):
            if options.on_step:
                options.on_step(done + 1, 3)
        return images

class Generator(VideoGenerator):
    default_frames, default_fps, default_size = 6, 8.0, Size(16, 24)

    def __init__(self, options, *, device):
        pass

    def fit_frames(self, frames):
        return max(1, round(frames / 3)) * 3

    def animate(self, first_frames, captions, frames, fps, seeds, options):
        return np.repeat(first_frames[:, None], frames, axis=1)

class Mean(Metric):
    figures = (FigureSpec("light", "light", "mean", "neither"),)

    def __init__(self, options, *, device):
        pass

    def measure(self, clips):
        return {"light": clips.frames.mean((1, 2, 3, 4))}

class Cut(SplitterStage):
    def __init__(self, options, *, device):
        pass

    def split(self, captions):
        return [CaptionPair(c[:5], c[5:]) for c in captions]
"""

FAULTS = [
    ("prior", "astype(np.uint8)", "astype(np.float32)", "frames have the promised form"),
    ("prior", "(*size, 3)", "(*size[::-1], 3)", "frames have the promised form"),
    ("prior", "return images", "return images[:1]", "frames have the promised form"),
    ("prior", "return images", "return images ^ torch.randint(9, (1,)).numpy().astype('u1')",
     "a seed decides everything"),
    ("prior", "pass\n\n    def draw", "self.luck = np.random.default_rng().integers(256)\n\n"
     "    def draw", "a fresh stage agrees"),
    ("prior", "return images", "return images - images[:1]", "a batch may be split"),
    ("prior", "done + 1, 3", "done, 3", "progress is reported"),
    ("prior", "pass\n\n    def draw", "pass\n\n    def provenance(self):\n"
     "        return {'size': {1}}\n\n    def draw", "it describes itself"),
    ("generator", "first_frames[:, None], frames", "first_frames[:, None], frames + 1",
     "frames have the promised form"),
    ("generator", "pass\n\n    def fit_frames", "pass\n\n    def knows_photos(self):\n"
     "        pass\n\n    def fit_frames", "it describes itself"),
    ("generator", "return np.repeat", "first_frames += 1\n        return np.repeat",
     "inputs are left alone"),
    ("metric", "mean((1, 2, 3, 4))", "mean((1, 2, 3, 4)) * np.nan",
     "columns have the promised form"),
    ("metric", '{"light"', '{"dark"', "columns have the promised form"),
    ("metric", "mean((1, 2, 3, 4))}", "mean((1, 2, 3, 4)) - clips.frames.mean()}",
     "a batch may be split"),
    ("splitter", "for c in captions]", "for c in captions if c]",
     "every caption becomes a pair"),
    ("splitter", "c[:5], c[5:]", "c[:5], captions[0]", "a batch may be split"),
]  # fmt: skip


def verdicts(kind: str) -> dict[str, str]:
    return {o.check: o.verdict for o in testing.run_all(testing.Subject(kind, "fake"))}


@pytest.fixture
def install_plugin(install_fake: Callable[..., None]) -> Callable[[str], None]:
    def install(source: str) -> None:
        kinds = {"prior": "PRIOR", "generator": "GENERATOR", "metric": "METRIC"}
        kinds["splitter"] = "SPLITTER"
        entries = {kind: {"fake": f"faulty:{name}"} for kind, name in kinds.items()}
        install_fake("fdream-faulty", entries, faulty=source)

    return install


@pytest.mark.parametrize("kind", ["prior", "generator", "metric", "splitter"])
def test_a_sound_stage_passes(kind: str, install_plugin: Callable[[str], None]) -> None:
    install_plugin(PLUGIN)
    assert "failed" not in verdicts(kind).values()


@pytest.mark.parametrize(("kind", "sound", "faulty", "check"), FAULTS)
def test_a_fault_fails_its_check(
    kind: str, sound: str, faulty: str, check: str, install_plugin: Callable[[str], None]
) -> None:
    assert sound in PLUGIN
    source = PLUGIN.replace(sound, faulty)
    if "luck" in faulty:
        source = source.replace("return images", "return images ^ np.uint8(self.luck)")
    install_plugin(source)
    assert verdicts(kind)[check] == "failed"


def test_a_stage_that_raises_fails_with_what_it_raised(
    install_plugin: Callable[[str], None],
) -> None:
    install_plugin(PLUGIN.replace("return images", "raise ZeroDivisionError('oh')"))
    outcomes = list(testing.run_all(testing.Subject("prior", "fake")))
    assert outcomes[0].verdict == "failed"
    assert outcomes[0].detail == "Prior raised ZeroDivisionError: oh"
