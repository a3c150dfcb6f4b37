"""i2v animates what a person sees in a file, and says what it leaves out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Fdream = Callable[..., Any]  # see ``tiny_fdream``

SIDE = 32  # of the tiny bundle, so that nothing is scaled


def seen() -> np.ndarray:
    """What every file below shows: four grey bars over white, the first of them black."""
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for bar, level in enumerate((0, 60, 120, 180)):
        pixels[: SIDE // 2, bar * 8 : bar * 8 + 8] = level
    return pixels


def written() -> dict[str, Image.Image]:
    pixels = seen()
    grey = pixels[..., 0]
    alpha = np.dstack([pixels, np.where(grey == 255, 0, 255).astype(np.uint8)])
    alpha[grey == 255] = 0  # transparent black, as many programs leave it
    palette = Image.fromarray(pixels).quantize(8)
    return {
        "alpha.png": Image.fromarray(alpha),
        "turned.png": Image.fromarray(np.ascontiguousarray(np.rot90(pixels, 1))),
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.png": palette,
        "plain.bmp": Image.fromarray(pixels),
        "palette.gif": palette,
        "plain.webp": Image.fromarray(pixels),
    }


@pytest.mark.usefixtures("in_tmp")
def test_each_kind_of_image_shows_the_same(tiny_fdream: Fdream) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    extra = {"plain.webp": {"lossless": True}, "turned.png": {"exif": turned}}
    for name, image in written().items():
        image.save(name, **extra.get(name, {}))
    result = tiny_fdream("i2v", *written(), "--motion", "zooming in", "-o", "made/", "--json")
    assert result.code == 0, result.err
    told = [json.loads(line) for line in result.lines]
    expected = hashlib.sha256(seen().tobytes()).hexdigest()
    hashes = {Path(line["path"]).stem: line["first_frame_sha256"] for line in told}
    assert len(hashes) == len(written())
    assert set(hashes.values()) == {expected}, hashes
    assert "several" not in result.err


@pytest.mark.usefixtures("in_tmp")
def test_the_further_pictures_of_an_animation_are_said_to_be_left_out(tiny_fdream: Fdream) -> None:
    first, second = Image.fromarray(seen()), Image.new("RGB", (SIDE, SIDE), "red")
    first.save("many.gif", save_all=True, append_images=[second])
    result = tiny_fdream("i2v", "many.gif", "--motion", "zooming in", "-o", "out.gif", "--json")
    assert result.code == 0
    assert "many.gif: holds several pictures; the first is used." in result.err
    first_frame = json.loads(result.lines[0])["first_frame_sha256"]
    assert first_frame == hashlib.sha256(seen().tobytes()).hexdigest()


@pytest.mark.usefixtures("in_tmp")
def test_a_single_pixel_is_a_picture(tiny_fdream: Fdream) -> None:
    Image.new("RGB", (1, 1), "red").save("one.png")
    result = tiny_fdream("i2v", "one.png", "--motion", "zooming in", "-o", "out.gif", "--json")
    assert result.code == 0, result.err
    red = np.full((SIDE, SIDE, 3), (255, 0, 0), np.uint8)
    first_frame = json.loads(result.lines[0])["first_frame_sha256"]
    assert first_frame == hashlib.sha256(red.tobytes()).hexdigest()


@pytest.mark.usefixtures("in_tmp")
def test_an_image_of_another_shape_is_cropped_or_gets_bars(tiny_fdream: Fdream) -> None:
    wide = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    wide[:, : SIDE // 2] = (255, 0, 0)
    wide[:, SIDE // 2 : -SIDE // 2] = (0, 255, 0)
    wide[:, -SIDE // 2 :] = (0, 0, 255)
    Image.fromarray(wide).save("wide.png")
    middle = np.full((SIDE, SIDE, 3), (0, 255, 0), np.uint8)
    told = {}
    for resize in ("crop", "pad"):
        args = ("--motion", "in", "--resize", resize, "--seed", "1", "-o", f"{resize}.gif")
        told[resize] = json.loads(tiny_fdream("i2v", "wide.png", *args, "--json").lines[0])
    hashes = {name: line["first_frame_sha256"] for name, line in told.items()}
    assert hashes["crop"] == hashlib.sha256(middle.tobytes()).hexdigest()
    barred = np.zeros((SIDE, SIDE, 3), np.uint8)
    barred[SIDE // 4 : -SIDE // 4] = np.array(
        Image.fromarray(wide).resize((SIDE, SIDE // 2), Image.Resampling.LANCZOS)
    )
    assert hashes["pad"] == hashlib.sha256(barred.tobytes()).hexdigest()
