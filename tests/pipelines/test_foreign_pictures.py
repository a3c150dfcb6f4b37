"""What pocket does with a picture that is none of its world."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from fdream.core.device import DeviceManager
from fdream.core.report import SilentReporter
from fdream.data.metadata import Hints
from fdream.data.spriteworld.strangers import stranger
from fdream.pipelines.generation import (
    ClipSettings,
    Sample,
    StillSettings,
    image_to_video,
    text_to_image,
)
from fdream.pipelines.given import FirstFrame, as_first_frame, prompt_captions
from fdream.pipelines.workshop import Sampling, StageChoices, Workshop

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "clips"
PHOTOS = ("flower.mp4", "yoga.mp4", "chaplin_bw.mp4")
# In levels of 255, on average over a frame: a flash, and a picture that is still itself.
FLASH, ITSELF = 6.0, 20.0


@pytest.fixture(scope="module")
def shop() -> Workshop:
    return Workshop(StageChoices(), DeviceManager.choose("cpu"), SilentReporter())


def photo(name: str) -> np.ndarray:
    with av.open(str(CLIPS / name)) as video:
        frame = next(video.decode(video=0)).to_image()
    return np.asarray(ImageOps.fit(frame, (128, 128), Image.Resampling.BICUBIC))


def animated(given: FirstFrame, shop: Workshop) -> np.ndarray:
    settings = given.settings(ClipSettings())
    clip = image_to_video(given.pixels, given.captions, Sample(3), settings, shop)
    return clip.frames.astype(np.float32)


def assert_stays_itself(picture: np.ndarray, shop: Workshop) -> None:
    given = as_first_frame(picture, Hints(), "photo", shop, motion="zooming in")
    frames = animated(given, shop)
    assert np.abs(np.diff(frames, axis=0)).mean((1, 2, 3)).max() < FLASH
    assert np.abs(frames - frames[:1]).mean((1, 2, 3)).max() < ITSELF


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_neither_flashes_nor_dissolves(name: str, shop: Workshop) -> None:
    if not CLIPS.is_dir():
        pytest.skip("no real clips at ../shared/data")
    assert_stays_itself(photo(name), shop)


def test_a_picture_that_was_never_trained_stays_itself(shop: Workshop) -> None:
    assert_stays_itself(stranger(10**9, 128, 128), shop)


def test_a_picture_of_its_own_moves(shop: Workshop) -> None:
    captions = prompt_captions("a balloon moving right in the desert", shop)
    drawn = text_to_image(captions, Sample(3), StillSettings(), shop)
    told = Hints(appearance=captions.appearance, motion=captions.motion)
    given = as_first_frame(drawn.pixels, told, "image", shop)
    assert not given.foreign
    assert given.settings(ClipSettings()).sampling.guidance is None
    frames = animated(given, shop)
    assert np.abs(frames[-1] - frames[0]).max() > 100


def test_guidance_that_was_asked_for_stands(shop: Workshop) -> None:
    given = as_first_frame(np.zeros((128, 128, 3), np.uint8), Hints(), "photo", shop, motion="x")
    asked = ClipSettings(sampling=Sampling(guidance=4.0))
    assert given.foreign
    assert given.settings(asked).sampling.guidance == 4.0
    assert given.settings(ClipSettings()).sampling.guidance == 1.0
    steered = ClipSettings(sampling=Sampling(negative="blurry"))
    assert given.settings(steered).sampling.guidance is None
