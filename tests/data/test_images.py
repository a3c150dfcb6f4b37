"""Whatever image comes in, a person would agree with what goes on."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fdream.core.errors import DataError
from fdream.core.sizes import Size
from fdream.data.images import decode_image, fit_image, split_images


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9, columns * 9, (rows + columns) * 5], -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG")


class Trickle(io.RawIOBase):
    """A pipe that hands out three bytes at a time, as pipes may."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(3, size) if size >= 0 else 3)


def test_png_comes_back_bit_equal() -> None:
    assert np.array_equal(decode_image(png(gradient()), "x"), gradient())


def test_stream_of_pngs_is_split_at_their_ends() -> None:
    pictures = [gradient(), gradient(3, 5), gradient(7, 7)]
    stream = Trickle(b"".join(png(picture) for picture in pictures))
    found = [decode_image(data, "x") for data in split_images(stream, "standard input")]
    assert len(found) == 3
    assert all(np.array_equal(a, b) for a, b in zip(found, pictures, strict=True))


def test_stream_yields_an_image_before_the_next_one_arrives() -> None:
    stream = io.BytesIO(png(gradient()) + png(gradient()))
    images = split_images(stream, "standard input")
    assert next(images) == png(gradient())
    assert stream.tell() == len(png(gradient()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_jpeg_and_webp_are_one_image(kind: str) -> None:
    data = encoded(Image.fromarray(gradient()), kind, quality=95)
    assert list(split_images(io.BytesIO(data), "standard input")) == [data]
    assert decode_image(data, "x").shape == (12, 20, 3)


@pytest.mark.parametrize("first", ["JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("second", ["JPEG", "WEBP", "BMP", "PNG", "GIF"])
def test_images_after_one_that_is_no_png_are_refused(first: str, second: str) -> None:
    data = encoded(Image.fromarray(gradient()), first)
    more = encoded(Image.fromarray(gradient()), second)
    with pytest.raises(DataError, match="another image follows the first; only PNG"):
        list(split_images(io.BytesIO(data + more), "standard input"))
    assert list(split_images(io.BytesIO(data + more), "a file", trailing=True)) == [data + more]


@pytest.mark.parametrize(
    "options", [{"quality": 100}, {"progressive": True}, {"restart_marker_blocks": 1}]
)
def test_the_end_of_a_jpeg_is_found_whatever_it_holds(options: dict[str, object]) -> None:
    thumbnail = encoded(Image.fromarray(gradient()), "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    # Bytes that look like another image, where they belong to this one.
    inside: dict[str, object] = {"comment": thumbnail, "exif": b"Exif\0\0" + thumbnail}
    data = encoded(Image.fromarray(noise), "JPEG", **inside, **options)
    assert list(split_images(io.BytesIO(data), "standard input")) == [data]
    assert list(split_images(io.BytesIO(data + b"\0\0 a video"), "x")) == [data + b"\0\0 a video"]
    with pytest.raises(DataError, match="another image"):
        list(split_images(io.BytesIO(data + thumbnail), "standard input"))


def test_a_phone_photo_with_its_preview_is_one_image() -> None:
    picture = Image.fromarray(gradient())
    data = encoded(picture, "MPO", save_all=True, append_images=[picture])
    assert data.count(b"\xff\xd8\xff") == 2
    assert list(split_images(io.BytesIO(data), "standard input")) == [data]
    said: list[str] = []
    assert decode_image(data, "x", said.append).shape == (12, 20, 3)
    assert said == []


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_of_several_pictures_is_taken_and_said(kind: str) -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(red, kind, save_all=True, append_images=[blue], **options)
    said: list[str] = []
    assert decode_image(data, "many", said.append)[8, 8].tolist() == [255, 0, 0]
    assert said == ["many: holds several pictures; the first is used."]
    decode_image(encoded(red, kind, **options), "one", said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("BMP", {}),
        ("PNG", {"interlace": 1}),
    ],
    ids=str,
)
def test_formats_without_loss_come_back_bit_equal(kind: str, options: dict[str, object]) -> None:
    data = encoded(Image.fromarray(gradient()), kind, **options)
    (only,) = split_images(io.BytesIO(data), "standard input")
    assert np.array_equal(decode_image(only, "x"), gradient())


def test_gif_transparency_is_laid_over_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert (decode_image(encoded(image, "GIF", transparency=1), "x") == 255).all()


def test_bytes_after_a_png_are_refused_in_a_stream_and_ignored_in_a_file() -> None:
    data = png(gradient()) + b"phone data after the end"
    with pytest.raises(DataError, match="image 2"):
        list(split_images(io.BytesIO(data), "standard input"))
    assert len(list(split_images(io.BytesIO(data), "a.png", trailing=True))) == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner says which way is up
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    image = Image.fromarray(np.ascontiguousarray(stored[orientation]))
    data = encoded(image, kind, exif=exif, **options)
    assert np.abs(decode_image(data, "x").astype(int) - upright).max() <= 2


def test_transparency_is_laid_over_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    seen = decode_image(png(pixels), "x")
    assert np.array_equal(seen[0, 0], (255, 0, 0))
    assert np.array_equal(seen[3, 3], (255, 255, 255))


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = encoded(image, "PNG", transparency=1)
    assert np.array_equal(decode_image(data, "x")[0, 0], (255, 255, 255))


def test_16_bit_greyscale_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    seen = decode_image(encoded(Image.fromarray(levels), "PNG"), "x")
    assert seen[0, :, 0].tolist() == [0, 10, 128, 255]
    assert np.array_equal(seen[..., 0], seen[..., 2])


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_and_alpha(colour: int, channels: int) -> None:
    levels = np.full((4, 4, channels), 65535, ">u2")
    levels[..., 0] = 257 * 100
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    seen = decode_image(png_file((4, 4), rows, bits=16, colour=colour), "x")[0, 0].tolist()
    assert seen == ([100, 255, 255] if channels > 2 else [100, 100, 100])


def test_palette_without_transparency() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    for kind in ("PNG", "BMP", "GIF"):
        assert decode_image(encoded(image, kind), "x")[0, 0].tolist() == [40, 50, 60]


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_greyscale_becomes_grey_rgb(mode: str) -> None:
    seen = decode_image(encoded(Image.new("L", (5, 5), 255).convert(mode), "PNG"), "x")
    assert seen.shape == (5, 5, 3)
    assert (seen == 255).all()


def test_cmyk_comes_out_in_its_colours() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = decode_image(data, "x")[8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_colour_profile_is_converted() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.fromarray(gradient())
    damaged = encoded(picture, "PNG", icc_profile=b"not a profile")
    unfit = encoded(picture, "PNG", icc_profile=profile)
    assert np.array_equal(decode_image(damaged, "x"), gradient())
    assert decode_image(unfit, "x").shape == gradient().shape
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_image(encoded(picture, "PNG", icc_profile=srgb), "x")
    assert np.abs(same.astype(int) - gradient()).max() <= 1


def png_file(size: tuple[int, int], rows: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG of any claim and content."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def claiming(kind: str, width: int, height: int) -> bytes:
    """A file that claims a size and holds next to nothing."""
    if kind == "PNG":
        return png_file((width, height), bytes(1000))
    small = bytearray(encoded(Image.new("RGB", (3, 5)), kind))
    if kind == "BMP":
        struct.pack_into("<ii", small, 18, width, height)
    else:
        # The size of the whole screen, which the first picture only takes a part of.
        struct.pack_into("<HH", small, 6, width, height)
    return bytes(small)


@pytest.mark.parametrize("size", [(20000, 20000), (8001, 8000), (65535, 65535)])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_huge_images_are_refused_before_decoding(
    size: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*args: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(DataError, match=r"megapixels|bomb"):
        decode_image(claiming(kind, *size), "x")


def test_one_pixel_image() -> None:
    assert decode_image(png(gradient(1, 1)), "x").shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello world, no image", "not a PNG, JPEG"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(50), "video"),
        (b"\x00\x00\x00\x20ftypheic" + bytes(50), "HEIC"),
        (b"\x1aE\xdf\xa3" + bytes(50), "video"),
        (b"%PDF-1.7", "PDF"),
        (b"II*\x00" + bytes(50), "TIFF"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "not a PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT", "more than"),
        (png(gradient())[:-8], "cut off"),
        (png(gradient())[:40], "cut off"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value,
)
def test_what_is_no_image_stream_is_a_data_error(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        list(split_images(io.BytesIO(data), "standard input"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_damage_anywhere_is_a_data_error_or_a_picture(kind: str) -> None:
    whole = encoded(Image.fromarray(gradient(24, 24)), kind)
    chance = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in chance.integers(0, len(data), 4):
            data[place] = chance.integers(256)
        cut = bytes(data[: chance.integers(1, len(data) + 1)])
        try:
            seen = decode_image(cut, "x")
        except DataError:
            continue
        assert seen.dtype == np.uint8
        assert seen.ndim == 3


def test_right_size_passes_untouched() -> None:
    picture = gradient(8, 8)
    for resize in ("crop", "pad"):
        assert fit_image(picture, Size(8, 8), resize) is picture


def test_crop_keeps_the_middle_and_the_proportions() -> None:
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, 40:80] = 255
    assert (fit_image(picture, Size(40, 40), "crop") == 255).all()


def test_pad_keeps_everything_between_black_bars() -> None:
    picture = np.full((20, 80, 3), 255, np.uint8)
    seen = fit_image(picture, Size(40, 40), "pad")
    assert (seen[15:25] == 255).all()
    assert (seen[:15] == 0).all()
    assert (seen[25:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (17, 33)])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_any_shape_fits_any_size(shape: tuple[int, int], resize: str) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    assert fit_image(picture, Size(16, 24), resize).shape == (16, 24, 3)
