"""What a decoded picture looks like to a person, as upright RGB: colours, transparency, turns."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image, ImageCms

# What Pillow's readers raise on broken or hostile bytes; anything else would be a bug of ours.
BROKEN: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert the current picture of an image.

    Transparency is laid over white, the EXIF orientation is applied, an embedded colour profile is
    converted to sRGB, greyscale and palette become RGB, and 16 bits a channel are scaled to 8
    (Pillow alone would clip them to white).
    """
    image.load()
    return _upright(_coloured(image), image)


def _coloured(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greyscale; 257 maps 65535 to 255 exactly.
        levels = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("RGB")
    return _from_profile(image) or image.convert("RGB")


def _from_profile(image: Image.Image) -> Image.Image | None:
    """Convert by the embedded colour profile; None where there is none that can be used."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, *BROKEN):
        # A damaged profile costs some colour accuracy, never the picture.
        return None


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except BROKEN:
        # Damaged EXIF data: the picture itself is fine and stays as stored.
        return rgb
    for turn in _UPRIGHT.get(orientation, ()) if isinstance(orientation, int) else ():
        rgb = rgb.transpose(turn)
    return rgb
