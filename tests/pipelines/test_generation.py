"""A video is an image set in motion, sample by sample, and says how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import StageError, UsageError, WeightsError
from fdream.core.sizes import Size
from fdream.data.encoding import Encoding
from fdream.data.images import decode_image
from fdream.data.metadata import dump_record, hints, image_record
from fdream.data.writers import encode_image
from fdream.pipelines.generation import (
    Clip,
    ClipSettings,
    Sample,
    StillSettings,
    image_to_video,
    text_to_image,
    text_to_video,
)
from fdream.pipelines.provenance import frames_hash
from fdream.pipelines.workshop import Sampling, StageChoices, Workshop

CAPTIONS = CaptionPair("a corgi on the sea", "a corgi surfing")


class Listener:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.bars: list[tuple[int | None, str]] = []
        self.updates = 0

    def progress(self, total: int | None, description: str, initial: int = 0) -> Any:
        del initial
        self.bars.append((total, description))
        return self

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, n: int = 1, **_: object) -> None:
        self.updates += n

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def say(self, text: str) -> None:
        del text

    detail = say


@pytest.fixture
def shop(tiny_bundle: Path) -> Workshop:
    choices = StageChoices(prior=f"pocket:{tiny_bundle}", generator=f"dreamer:{tiny_bundle}")
    return Workshop(choices, DeviceManager.choose("cpu"), Listener())


def make(shop: Workshop, seed: int = 1, index: int = 0, **clip: Any) -> Clip:
    return text_to_video(CAPTIONS, Sample(seed, index), StillSettings(), ClipSettings(**clip), shop)


def test_video_from_text_is_video_from_image_after_the_pipe(shop: Workshop) -> None:
    sample = Sample(7, 2)
    whole = text_to_video(CAPTIONS, sample, StillSettings(), ClipSettings(), shop)
    still = text_to_image(CAPTIONS, sample, StillSettings(), shop)
    piped = encode_image(still.pixels, Encoding("png"), dump_record(still.record))
    told = hints(image_record(piped).record)
    assert told.seed is not None
    assert told.index is not None
    captions = CaptionPair(str(told.appearance), str(told.motion))
    clip = image_to_video(
        decode_image(piped, "pipe"), captions, Sample(told.seed, told.index), ClipSettings(), shop
    )
    assert np.array_equal(whole.frames, clip.frames)
    assert whole.frames.shape == (3, 32, 32, 3)


def test_same_sample_same_frames_other_sample_other_frames(shop: Workshop) -> None:
    first = make(shop)
    assert np.array_equal(first.frames, make(shop).frames)
    assert not np.array_equal(first.frames, make(shop, seed=2).frames)
    assert not np.array_equal(first.frames, make(shop, index=1).frames)


def test_each_setting_reaches_its_own_stage(shop: Workshop) -> None:
    base = make(shop)
    for sampling in (
        Sampling(steps=3),
        Sampling(guidance=1.0),
        Sampling(guidance=4.0),
        Sampling(negative="the sea"),
        Sampling(scheduler="euler"),
    ):
        changed = make(shop, sampling=sampling)
        assert not np.array_equal(base.frames, changed.frames), sampling
        assert changed.record["first_frame_sha256"] == base.record["first_frame_sha256"]


def test_motion_caption_changes_the_video_and_not_its_first_frame(shop: Workshop) -> None:
    other = CaptionPair(CAPTIONS.appearance, "zooming in")
    one = text_to_video(CAPTIONS, Sample(1), StillSettings(), ClipSettings(), shop)
    two = text_to_video(other, Sample(1), StillSettings(), ClipSettings(), shop)
    assert one.record["first_frame_sha256"] == two.record["first_frame_sha256"]
    assert not np.array_equal(one.frames, two.frames)


def test_sizes_frames_and_rate_are_what_was_asked(shop: Workshop) -> None:
    clip = text_to_video(
        CAPTIONS,
        Sample(1),
        StillSettings(size=Size(24, 40)),
        ClipSettings(size=Size(24, 40), frames=2, fps=12),
        shop,
    )
    assert clip.frames.shape == (2, 24, 40, 3)
    assert clip.fps == 12


def test_a_video_of_one_frame_is_the_image(shop: Workshop) -> None:
    clip = make(shop, frames=1)
    assert clip.frames.shape == (1, 32, 32, 3)
    assert clip.record["frames_sha256"] == clip.record["first_frame_sha256"]


def test_size_that_no_latent_grid_holds_is_refused_with_the_nearest(shop: Workshop) -> None:
    with pytest.raises(UsageError, match="try 32x48"):
        text_to_image(CAPTIONS, Sample(1), StillSettings(size=Size(50, 30)), shop)
    with pytest.raises(UsageError, match="try 32x48"):
        make(shop, size=Size(50, 30))


@pytest.mark.parametrize(("steps", "frames"), [(0, 3), (1001, 3), (2, 0)])
def test_numbers_out_of_range_are_usage_errors(shop: Workshop, steps: int, frames: int) -> None:
    with pytest.raises(UsageError):
        make(shop, frames=frames, sampling=Sampling(steps=steps))


def test_record_says_how_it_was_made_and_nothing_of_the_machine(shop: Workshop) -> None:
    clip = text_to_video(
        CAPTIONS, Sample(5, 1, "a corgi surfing"), StillSettings(), ClipSettings(), shop
    )
    record = clip.record
    assert record["command"] == "t2v"
    assert (record["seed"], record["index"], record["prompt"]) == (5, 1, "a corgi surfing")
    assert record["captions"] == {"appearance": CAPTIONS.appearance, "motion": CAPTIONS.motion}
    assert record["frames_sha256"] == frames_hash(clip.frames)
    assert set(record["stages"]) == {"prior", "generator", "splitter"}
    assert record["stages"]["generator"]["name"] == "dreamer:tiny"
    assert len(record["stages"]["generator"]["sha256"]) == 64
    assert record["versions"]["torch"]
    assert record["dtype"] == "float32"
    text = json.dumps(record)
    assert "/" not in text.replace("a/b", "")
    import socket

    assert socket.gethostname() not in text


def test_unknown_words_are_named_once_with_the_way_out(shop: Workshop) -> None:
    captions = CaptionPair("a corgi, a Dragon!", "the dragon surfing")
    for index in range(2):
        text_to_video(captions, Sample(1, index), StillSettings(), ClipSettings(), shop)
    assert isinstance(shop.reporter, Listener)
    (warning,) = shop.reporter.warnings
    assert "'Dragon'" in warning
    assert "'dragon'" not in warning
    assert "'corgi'" not in warning
    assert "--prior" in warning


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        ({"size": Size(16, 16)}, "works best at 32x32; expect less of 16x16"),
        ({"size": Size(32, 48)}, "works best at 32x32; expect less of 48x32"),
        ({"frames": 5}, "works best up to 3 frames; expect less of 5"),
        ({"size": Size(24, 40), "frames": 4}, ""),
        ({"frames": 1}, ""),
    ],
    ids=str,
)
def test_what_is_far_from_a_stages_own_is_said_once(
    shop: Workshop, clip: dict[str, Any], says: str
) -> None:
    for seed in (1, 2):
        make(shop, seed, **clip)
    assert isinstance(shop.reporter, Listener)
    assert len(shop.reporter.warnings) == bool(says)
    assert all(says in warning for warning in shop.reporter.warnings)


def test_steps_are_reported_as_they_are_taken(shop: Workshop) -> None:
    make(shop)
    assert isinstance(shop.reporter, Listener)
    assert shop.reporter.bars == [(3, "image"), (2, "video")]
    assert shop.reporter.updates == 5


def test_splitter_turns_a_prompt_into_both_halves(shop: Workshop) -> None:
    pair = shop.split("a corgi surfing")
    assert (pair.appearance, pair.motion) == ("a corgi on a surfboard", "surfing")


def test_stages_that_do_not_exist_are_named(tiny_bundle: Path) -> None:
    device = DeviceManager.choose("cpu")
    with pytest.raises(StageError, match="pocket"):
        _ = Workshop(StageChoices(prior="pokcet"), device, Listener()).prior
    missing = StageChoices(generator=f"dreamer:{tiny_bundle}/nowhere")
    with pytest.raises(WeightsError, match="nowhere"):
        _ = Workshop(missing, device, Listener()).generator


def test_image_step_never_reads_motion_weights(tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "without-motion"
    shutil.copytree(tiny_bundle, folder)
    for weights in (folder / "motion").glob("*.safetensors"):
        weights.write_bytes(b"damaged")
    choices = StageChoices(prior=f"pocket:{folder}", generator=f"dreamer:{folder}")
    shop = Workshop(choices, DeviceManager.choose("cpu"), Listener())
    text_to_image(CAPTIONS, Sample(1), StillSettings(), shop)
    with pytest.raises(WeightsError, match="motion"):
        make(shop)
