"""Still images from anywhere, read safely and as a person expects them to look.

Whatever comes in (a phone photo lying on its side, a 16-bit scan, a CMYK print file, a logo with
transparency), what goes on is uint8 RGB (H, W, 3). Nothing is decoded before its format and its
size are known to be acceptable.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import numpy as np
from PIL import Image

from fdream.core.errors import DataError
from fdream.core.limits import MAX_PIXELS
from fdream.core.paths import reading
from fdream.data.rgb import BROKEN, to_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.sizes import Size

Resize = Literal["crop", "pad"]

MAX_ENCODED_BYTES: Final = 512 * 1024 * 1024  # eight bytes a pixel: 16-bit RGBA at the pixel limit

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

# Pillow's readers that are used: each tells the size of a picture before it decodes it. TIFF is not
# among them: libtiff has been the weakest of the decoders, and writes to stderr past us.
_READERS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_KNOWN: Final = "PNG, JPEG, WebP, BMP or GIF"
_STARTS: Final = (PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF8")

# A JPEG marker that opens a segment or ends the picture: not one that stands inside the pixels.
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)

# First bytes of files that people hand over by mistake, and what to do about each.
_MISTAKEN: Final = (
    (4, b"ftypheic", "an HEIC photo; save it as JPEG or PNG first"),
    (4, b"ftypavif", "an AVIF image; save it as JPEG or PNG first"),
    (4, b"ftyp", "a video (MP4); an image is wanted, for example its first frame"),
    (0, b"\x1aE\xdf\xa3", "a video (WebM or Matroska); an image is wanted"),
    (0, b"II*\x00", "a TIFF image; save it as PNG first"),
    (0, b"MM\x00*", "a TIFF image; save it as PNG first"),
    (0, b"%PDF", "a PDF; save a page of it as PNG first"),
    (0, b"<svg", "an SVG drawing; save it as PNG first"),
)


def split_images(stream: BinaryIO, place: str, *, trailing: bool = False) -> Iterator[bytes]:
    """Yield the encoded images of a stream one by one, as they arrive.

    PNG files may stand back to back: each ends with its IEND chunk, so no length and no separator
    is needed. An image of any other format is the only one of its stream.

    Args:
        stream: bytes, read forward only.
        place: what to call the stream in messages, such as ``"standard input"``.
        trailing: whether what follows an image and is no further PNG is ignored (files written by
            some phones have such) or refused.

    Raises:
        DataError: empty, no image, truncated, too large, or a disk that fails.
    """
    number = 1
    head = _read(stream, len(PNG_SIGNATURE), place)
    if not head:
        raise DataError(f"{place}: empty, but an image ({_KNOWN}) is needed.")
    if head != PNG_SIGNATURE:
        data = _single_image(stream, head, place)
        if not trailing:
            _refuse_several(data, place)
        yield data
        return
    while head == PNG_SIGNATURE:
        yield _png_after_signature(stream, f"{place}, image {number}")
        number += 1
        head = _read(stream, len(PNG_SIGNATURE), place)
    if head and not trailing:
        raise DataError(
            f"{place}, image {number}: starts with {head!r}, which is no PNG; only PNG images "
            "can follow each other."
        )


def _read(stream: BinaryIO, count: int, place: str) -> bytes:
    """Read ``count`` bytes, fewer only at the end; a pipe may hand them out in pieces."""
    pieces = []
    with reading(place):
        while count > 0 and (piece := stream.read(min(count, 1 << 20))):
            pieces.append(piece)
            count -= len(piece)
    return b"".join(pieces)


def _single_image(stream: BinaryIO, head: bytes, place: str) -> bytes:
    head += _read(stream, 24, place)
    _refuse_what_is_no_image(head, place)
    data = head + _read(stream, MAX_ENCODED_BYTES + 1 - len(head), place)
    if len(data) > MAX_ENCODED_BYTES:
        raise DataError(f"{place}: more than {MAX_ENCODED_BYTES >> 20} MiB for one image; refused.")
    return data


def _refuse_several(data: bytes, place: str) -> None:
    """Refuse images that follow the first of a stream: they would be dropped without a word."""
    if data.startswith(b"\xff\xd8"):
        end = _jpeg_end(data)
    elif data.startswith(b"RIFF"):
        end = 8 + int.from_bytes(data[4:8], "little")
        end += end % 2
    elif data.startswith(b"BM"):
        end = max(14, int.from_bytes(data[2:6], "little"))
    else:
        return
    rest = data[end : end + 32].lstrip(b"\0")
    if is_image(rest):
        raise DataError(
            f"{place}: another image follows the first; only PNG images can be several in one "
            "stream. Convert them to PNG, or give one at a time."
        )


def _jpeg_end(data: bytes) -> int:
    """Return where a JPEG ends, with what belongs to it; the end of the data if it is cut off."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        position = marker.end()
        if marker[1] == b"\xd9":
            return position
        if marker[1] == b"\xe2" and data[position + 2 : position + 6] == b"MPF\0":
            # A phone's photo: what follows is its brightness map or preview, not another photo.
            break
        position += max(2, int.from_bytes(data[position : position + 2]))
    return len(data)


def is_image(head: bytes) -> bool:
    """Whether a file with these first 12 bytes or more is an image of a kind that we read."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    # Two letters are little, but the reserved bytes of a BMP are always zero.
    return head.startswith(_STARTS) or (head.startswith(b"BM") and head[6:10] == bytes(4))


def _refuse_what_is_no_image(head: bytes, place: str) -> None:
    if is_image(head):
        return
    for offset, magic, meaning in _MISTAKEN:
        if head[offset:].startswith(magic):
            raise DataError(f"{place}: this is {meaning}.")
    raise DataError(f"{place}: not a {_KNOWN} image (starts with {head[:8]!r}).")


def _png_after_signature(stream: BinaryIO, place: str) -> bytes:
    pieces = [PNG_SIGNATURE]
    total = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        head = _read(stream, 8, place)
        if len(head) < 8:
            raise DataError(f"{place}: the PNG is cut off before its end; write it again.")
        length, kind = struct.unpack(">I4s", head)
        total += length + 12
        if total > MAX_ENCODED_BYTES:
            raise DataError(f"{place}: more than {MAX_ENCODED_BYTES >> 20} MiB for one PNG.")
        body = _read(stream, length + 4, place)
        if len(body) < length + 4:
            raise DataError(f"{place}: the PNG is cut off before its end; write it again.")
        pieces += [head, body]
    return b"".join(pieces)


def decode_image(
    data: bytes, place: str, warn: Callable[[str], None] | None = None
) -> NDArray[np.uint8]:
    """Decode one image to what a person would see, as uint8 (H, W, 3) RGB; see ``rgb.to_rgb``.

    Of an animation the first picture is taken.

    Args:
        data: one encoded image.
        place: what to call it in messages.
        warn: is told when pictures are left out.

    Raises:
        DataError: no format that we read, broken, or above 64 megapixels (checked before
            decoding).
    """
    _refuse_what_is_no_image(data[:32], place)
    with open_image(io.BytesIO(data), place) as image:
        try:
            # A phone's photo is one picture, whatever previews and maps it brings.
            if warn is not None and image.format != "MPO" and _is_animated(image):
                warn(f"{place}: holds several pictures; the first is used.")
            return np.array(to_rgb(image))
        except BROKEN as error:
            raise unreadable(place, error) from error


@contextmanager
def open_image(source: BinaryIO, place: str) -> Iterator[Image.Image]:
    """Open an image without decoding it; its size is acceptable.

    Raises:
        DataError: no format that we read, broken, or above 64 megapixels.
    """
    with warnings.catch_warnings():
        # Of sizes, where our own limit is lower, and of damaged metadata, which we do not need.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(source, formats=_READERS)
        except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
            raise _too_large(place, "its size") from error
        except BROKEN as error:
            raise unreadable(place, error) from error
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(place, f"{width}x{height}")
            yield image


def _too_large(place: str, size: str) -> DataError:
    limit = MAX_PIXELS // 1_000_000
    return DataError(f"{place}: {size} is above the limit of {limit} megapixels; scale it down.")


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except BROKEN:
        return False  # what follows the first picture is broken, and not needed


def unreadable(place: str, error: BaseException) -> DataError:
    """Say why Pillow could not read an image."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{place}: broken image ({reason}); write it again or use another.")


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
