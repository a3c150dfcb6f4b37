"""The cast: names, wordings and pictures of SpriteWorld's objects.

``noto`` takes Debian's Noto Color Emoji bitmaps plus our own drawings for what has no emoji;
``plain`` is a dozen vector shapes that need no font. A missing font is an error, never a silent
change of cast: a bundle trained on one cast must not be scored on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fdream.core.errors import DataError
from fdream.data.spriteworld import drawings

SpriteSet = Literal["noto", "plain"]

FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf"),
)
_STRIKE_PX = 109
"""The only bitmap size Noto Color Emoji holds; FreeType refuses every other."""

NOTO: dict[str, tuple[str, tuple[str, ...]]] = {
    "corgi": ("", ("corgi",)),
    "cat": ("\N{CAT}", ("cat",)),
    "pig": ("\N{PIG}", ("pig",)),
    "cow": ("\N{COW}", ("cow",)),
    "fox": ("\N{FOX FACE}", ("fox",)),
    "elephant": ("\N{ELEPHANT}", ("elephant",)),
    "unicorn": ("\N{UNICORN FACE}", ("unicorn",)),
    "frog": ("\N{FROG FACE}", ("frog",)),
    "penguin": ("\N{PENGUIN}", ("penguin",)),
    "duck": ("\N{DUCK}", ("duck",)),
    "owl": ("\N{OWL}", ("owl",)),
    "parrot": ("\N{PARROT}", ("parrot",)),
    "turtle": ("\N{TURTLE}", ("turtle",)),
    "dinosaur": ("\N{T-REX}", ("dinosaur",)),
    "whale": ("\N{SPOUTING WHALE}", ("whale",)),
    "octopus": ("\N{OCTOPUS}", ("octopus",)),
    "fish": ("\N{TROPICAL FISH}", ("fish", "tropical fish")),
    "ladybug": ("\N{LADY BEETLE}", ("ladybug",)),
    "car": ("\N{AUTOMOBILE}", ("car", "red car")),
    "rocket": ("\N{ROCKET}", ("rocket",)),
    "basketball": ("\N{BASKETBALL AND HOOP}", ("basketball",)),
    "balloon": ("\N{BALLOON}", ("balloon", "red balloon")),
    "apple": ("\N{GREEN APPLE}", ("apple", "green apple")),
    "burger": ("\N{HAMBURGER}", ("burger", "hamburger")),
    "pizza": ("\N{SLICE OF PIZZA}", ("pizza", "slice of pizza")),
    "cactus": ("\N{CACTUS}", ("cactus",)),
    "mushroom": ("\N{MUSHROOM}", ("mushroom",)),
    "robot": ("\N{ROBOT FACE}", ("robot",)),
    "star": ("\N{WHITE MEDIUM STAR}", ("star", "yellow star")),
}
"""Object name -> (emoji, wordings); an empty emoji is one of our own drawings."""


def font_path() -> Path | None:
    """Return where Noto Color Emoji is installed, or None."""
    return next((path for path in FONT_PATHS if path.is_file()), None)


def cast(sprites: SpriteSet) -> Mapping[str, tuple[str, ...]]:
    """Return object names and their wordings, in a fixed order."""
    if sprites == "plain":
        return {name: (name,) for name in drawings.PLAIN}
    return {name: wordings for name, (_, wordings) in NOTO.items()}


@lru_cache(maxsize=256)
def sprite(sprites: SpriteSet, name: str) -> np.ndarray:
    """Return a sprite's picture.

    Args:
        sprites: the cast.
        name: an object of it.

    Returns:
        uint8 (H, W, 4) RGBA with premultiplied alpha, cropped to its ink; read-only.

    Raises:
        DataError: the emoji font is not installed.
    """
    if sprites == "plain":
        picture = drawings.PLAIN[name]()
    else:
        emoji = NOTO[name][0]
        picture = _emoji(emoji) if emoji else drawings.corgi()
    return premultiplied(picture)


@lru_cache(maxsize=256)
def rider(sprites: SpriteSet, name: str) -> np.ndarray:
    """Return the object on a surfboard before a wave, as one sprite.

    Args:
        sprites: the cast.
        name: an object of it.

    Returns:
        uint8 (H, W, 4) RGBA with premultiplied alpha, cropped to its ink; read-only.

    Raises:
        DataError: the emoji font is not installed.

    Ours: "surfing" must add nothing to a clip that its first frame lacks.
    """
    figure = _fit(sprite(sprites, name), 136)
    board = _fit(premultiplied(drawings.surfboard()), 150)
    water = _fit(premultiplied(drawings.wave()), 176)
    canvas = np.zeros((208, 184, 4), np.uint8)
    foot = 164
    _over(canvas, water, 208 - water.shape[0], 4)
    _over(canvas, board, foot - 8, 12)
    _over(canvas, figure, foot - figure.shape[0], 82 - figure.shape[1] // 2)
    rows, cols = (np.flatnonzero(canvas[..., 3].any(axis)) for axis in (1, 0))
    cropped = canvas[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].copy()
    cropped.setflags(write=False)
    return cropped


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    """Scale colour by alpha, so that interpolation and compositing make no dark fringes.

    Args:
        rgba: uint8 (H, W, 4).

    Returns:
        uint8 (H, W, 4), read-only.
    """
    alpha = rgba[..., 3:].astype(np.uint16)
    result = np.concatenate([(rgba[..., :3] * alpha + 127) // 255, alpha], -1).astype(np.uint8)
    result.setflags(write=False)
    return result


def _emoji(character: str) -> np.ndarray:
    path = font_path()
    if path is None:
        raise DataError(
            'sprites = "noto": Noto Color Emoji is not installed; on Debian '
            '"apt install fonts-noto-color-emoji", or use sprites = "plain".'
        )
    font = ImageFont.truetype(str(path), _STRIKE_PX, layout_engine=ImageFont.Layout.BASIC)
    page = Image.new("RGBA", (180, 180), (0, 0, 0, 0))
    ImageDraw.Draw(page).text((16, 16), character, font=font, embedded_color=True)
    box = page.getchannel("A").getbbox()
    if box is None:
        raise DataError(f'sprites = "noto": {path.name} has no picture for U+{ord(character):04X}.')
    return np.asarray(page.crop(box))


def _fit(picture: np.ndarray, longest_px: int) -> np.ndarray:
    factor = longest_px / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _over(canvas: np.ndarray, picture: np.ndarray, top: int, left: int) -> None:
    """Composite a premultiplied picture over the canvas, clipped at its edges."""
    y0, x0 = max(top, 0), max(left, 0)
    y1 = min(top + picture.shape[0], canvas.shape[0])
    x1 = min(left + picture.shape[1], canvas.shape[1])
    part = picture[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.uint16)
    below = canvas[y0:y1, x0:x1].astype(np.uint16)
    canvas[y0:y1, x0:x1] = part + (below * (255 - part[..., 3:]) + 127) // 255
