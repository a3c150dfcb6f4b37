"""Still images from anywhere, read safely and as a person expects them to look.

Whatever comes in (a phone photo lying on its side, a 16-bit scan, a CMYK print file, a logo with
transparency), what goes on is uint8 RGB (H, W, 3). Nothing is decoded before its format and its
size are known to be acceptable.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import numpy as np
from PIL import Image, ImageCms

from fdream.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.sizes import Size

Resize = Literal["crop", "pad"]

MAX_PIXELS: Final = 64_000_000
MAX_ENCODED_BYTES: Final = 512 * 1024 * 1024  # eight bytes a pixel: 16-bit RGBA at the pixel limit

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

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

# First bytes of files that people hand over by mistake, and what to do about each.
_MISTAKEN: Final = (
    (4, b"ftypheic", "an HEIC photo; save it as JPEG or PNG first"),
    (4, b"ftypavif", "an AVIF image; save it as JPEG or PNG first"),
    (4, b"ftyp", "a video (MP4); an image is wanted, for example its first frame"),
    (0, b"\x1aE\xdf\xa3", "a video (WebM or Matroska); an image is wanted"),
    (0, b"GIF8", "a GIF; save one frame of it as PNG first"),
    (0, b"BM", "a BMP image; save it as PNG first"),
    (0, b"II*\x00", "a TIFF image; save it as PNG first"),
    (0, b"MM\x00*", "a TIFF image; save it as PNG first"),
    (0, b"%PDF", "a PDF; save a page of it as PNG first"),
    (0, b"<svg", "an SVG drawing; save it as PNG first"),
)


def split_images(stream: BinaryIO, place: str, *, trailing: bool = False) -> Iterator[bytes]:
    """Yield the encoded images of a stream one by one, as they arrive.

    PNG files may stand back to back: each ends with its IEND chunk, so no length and no separator
    is needed. A JPEG or a WebP has no such end and is therefore the only image of its stream.

    Args:
        stream: bytes, read forward only.
        place: what to call the stream in messages, such as ``"standard input"``.
        trailing: whether bytes after a PNG that start no other PNG are ignored (files written by
            some phones have them) or refused.

    Raises:
        DataError: empty, no image, truncated, or too large.
    """
    number = 1
    head = _read(stream, len(PNG_SIGNATURE))
    if not head:
        raise DataError(f"{place}: empty, but an image (PNG, JPEG or WebP) is needed.")
    if head != PNG_SIGNATURE:
        yield _single_image(stream, head, place)
        return
    while head == PNG_SIGNATURE:
        yield _png_after_signature(stream, f"{place}, image {number}")
        number += 1
        head = _read(stream, len(PNG_SIGNATURE))
    if head and not trailing:
        raise DataError(
            f"{place}, image {number}: starts with {head!r}, which is no PNG; only PNG images "
            "can follow each other."
        )


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read ``count`` bytes, fewer only at the end; a pipe may hand them out in pieces."""
    pieces = []
    while count > 0 and (piece := stream.read(min(count, 1 << 20))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _single_image(stream: BinaryIO, head: bytes, place: str) -> bytes:
    head += _read(stream, 24)
    _refuse_what_is_no_image(head, place)
    data = head + _read(stream, MAX_ENCODED_BYTES + 1 - len(head))
    if len(data) > MAX_ENCODED_BYTES:
        raise DataError(f"{place}: more than {MAX_ENCODED_BYTES >> 20} MiB for one image; refused.")
    if data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 9 < len(data):
        raise DataError(f"{place}: more follows the WebP image; only PNG images can be several.")
    return data


def _refuse_what_is_no_image(head: bytes, place: str) -> None:
    if head.startswith((b"\xff\xd8\xff", PNG_SIGNATURE)):
        return
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return
    for offset, magic, meaning in _MISTAKEN:
        if head[offset:].startswith(magic):
            raise DataError(f"{place}: this is {meaning}.")
    raise DataError(f"{place}: not a PNG, JPEG or WebP image (starts with {head[:8]!r}).")


def _png_after_signature(stream: BinaryIO, place: str) -> bytes:
    pieces = [PNG_SIGNATURE]
    total = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        head = _read(stream, 8)
        if len(head) < 8:
            raise DataError(f"{place}: the PNG is cut off before its end; write it again.")
        length, kind = struct.unpack(">I4s", head)
        total += length + 12
        if total > MAX_ENCODED_BYTES:
            raise DataError(f"{place}: more than {MAX_ENCODED_BYTES >> 20} MiB for one PNG.")
        body = _read(stream, length + 4)
        if len(body) < length + 4:
            raise DataError(f"{place}: the PNG is cut off before its end; write it again.")
        pieces += [head, body]
    return b"".join(pieces)


def decode_image(data: bytes, place: str) -> NDArray[np.uint8]:
    """Decode one image to what a person would see, as uint8 (H, W, 3) RGB.

    Transparency is laid over white, the EXIF orientation is applied, an embedded colour profile is
    converted to sRGB, greyscale and palette become RGB, and 16 bits a channel are scaled to 8
    (Pillow alone would clip them to white). Of an animation the first picture is taken.

    Args:
        data: one encoded PNG, JPEG or WebP.
        place: what to call it in messages.

    Raises:
        DataError: not one of these formats, broken, or above 64 megapixels (checked before
            decoding).
    """
    _refuse_what_is_no_image(data[:32], place)
    try:
        with warnings.catch_warnings():
            # Our own limit is lower than the one Pillow warns about.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    except BROKEN as error:
        raise _unreadable(place, error) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{place}: {width}x{height} is {width * height / 1e6:.0f} megapixels; the limit is "
                f"{MAX_PIXELS // 1_000_000}. Scale it down first."
            )
        try:
            image.load()
            return np.array(_upright(_to_rgb(image), image))
        except BROKEN as error:
            raise _unreadable(place, error) from error


def _unreadable(place: str, error: BaseException) -> DataError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{place}: broken image ({reason}); write it again or use another.")


def _to_rgb(image: Image.Image) -> Image.Image:
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


def fit_image(pixels: NDArray[np.uint8], size: Size, resize: Resize) -> NDArray[np.uint8]:
    """Scale an image to a size without distorting it.

    Args:
        pixels: uint8 (H, W, 3).
        size: the wanted height and width.
        resize: ``"crop"`` fills the frame and cuts the longer side evenly; ``"pad"`` keeps
            everything and adds black bars.

    Returns:
        uint8 (size.height, size.width, 3); the same array when the size is right already, so
        that a picture we drew ourselves passes through a pipe unchanged.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size.height, size.width):
        return pixels
    image = Image.fromarray(pixels)
    if resize == "crop":
        scale = max(size.height / height, size.width / width)
        kept_width, kept_height = size.width / scale, size.height / scale
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        box = (left, top, min(width, left + kept_width), min(height, top + kept_height))
        target = (size.width, size.height)
        return np.array(image.resize(target, Image.Resampling.LANCZOS, box=box))
    scale = min(size.height / height, size.width / width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size.width, size.height))
    left, top = (size.width - inner[0]) // 2, (size.height - inner[1]) // 2
    canvas.paste(image.resize(inner, Image.Resampling.LANCZOS), (left, top))
    return np.array(canvas)
