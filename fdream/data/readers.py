"""Read outputs of ours back, of whatever format, as frames; the counterpart of ``data.writers``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from fdream.core.errors import UsageError
from fdream.core.sizes import Size
from fdream.data.animations import GIF_FASTEST_MS
from fdream.data.encoding import FOLDER
from fdream.data.images import is_image, open_image, unreadable
from fdream.data.media import MAX_DECODED_BYTES, read_video, stack_frames
from fdream.data.metadata import ReadBack, hints, read_record
from fdream.data.rgb import BROKEN, to_rgb
from fdream.data.still_frames import frame_files, split_sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Browsers show a picture without a duration for so long.
_UNSAID_MS: Final = 100
_CONTAINERS: Final = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "webm"}


@dataclass(frozen=True, slots=True)
class Output:
    """What a file or a folder of frames holds.

    Attributes:
        kind: what it is by its content, whatever its name says: a format of ours, ``"jpeg"`` and
            so on, or FFmpeg's name of another container.
        frames: uint8 (F, H, W, 3), RGB; a still picture is one frame.
        fps: frames per second; None for a still picture, and for pictures that tell no time.
        found: its record, or why there is none; never to be trusted beyond ``metadata.hints``.
    """

    kind: str
    frames: NDArray[np.uint8]
    fps: float | None
    found: ReadBack


def read_output(path: Path) -> Output:
    """Read the frames of any output, and of files from other programs as far as we know them.

    The frames are those that were written: a sheet is cut up again, the row that a codec needed
    for an even size is dropped, and pictures that an encoder joined because they were alike are
    repeated. They differ from the originals by what the format loses; PNG, APNG and frames lose
    nothing, so their sha256 is the record's ``frames_sha256``. A file that was cut off may yield
    fewer frames than ``record["options"]["generator"]["frames"]``.

    Args:
        path: MP4, WebM, GIF, WebP, APNG, a PNG sheet, a folder of frames, or a still image; or
            anything else that ``data.media`` opens.

    Raises:
        DataError: it cannot be opened, is broken, or too large.
    """
    found = read_record(path)
    if path.is_dir():
        frames, fps = _folder_frames(path), hints(found.record).fps
        return Output(FOLDER, frames, fps, found)
    with path.open("rb") as stream:
        if is_image(stream.read(16)):
            with open_image(stream, str(path)) as image:
                return _image_output(image, path, found)
    video = read_video(path)
    kind = _CONTAINERS.get(video.container, video.container)
    frames = _without_padding(video.frames, found)
    return Output(kind, frames, _frame_rate(len(frames), float(video.fps), found), found)


def _folder_frames(folder: Path) -> NDArray[np.uint8]:
    def pictures() -> Iterator[NDArray[np.uint8]]:
        for file in frame_files(folder):
            with file.open("rb") as stream, open_image(stream, str(file)) as image:
                yield _pixels(image, file)

    return stack_frames(pictures(), folder)


def _image_output(image: Image.Image, path: Path, found: ReadBack) -> Output:
    kind = {"mpo": "jpeg"}.get(str(image.format).lower(), str(image.format).lower())
    if kind in ("gif", "webp", "png") and (count := _num_pictures(image, path)) > 1:
        return _animation_output(image, count, path, "apng" if kind == "png" else kind, found)
    pixels = _pixels(image, path)
    frames = _frames_of_one_picture(pixels, found)
    if frames is None:
        return Output(kind, pixels[None], None, found)
    return Output(kind, frames, hints(found.record).fps, found)


def _frames_of_one_picture(pixels: NDArray[np.uint8], found: ReadBack) -> NDArray[np.uint8] | None:
    """Tell a sheet, and an animation that stood still, from a still picture by the record."""
    count, size = _recorded_frames(found), _recorded_size(found)
    if not count or size is None or count * size.height * size.width * 3 > MAX_DECODED_BYTES:
        return None
    if pixels.shape[:2] == size:
        return np.repeat(pixels[None], count, axis=0)
    return split_sheet(pixels, count, size)


def _animation_output(
    image: Image.Image, count: int, path: Path, kind: str, found: ReadBack
) -> Output:
    spans: list[float] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for number in range(count):
            try:
                image.seek(number)
            except EOFError:
                return  # it is cut off; what came before is whole
            except BROKEN as error:
                raise unreadable(str(path), error) from error
            yield _pixels(image, path)
            spans.append(float(image.info.get("duration", 0)) or _UNSAID_MS)

    frames = stack_frames(pictures(), path)
    fps, wanted = hints(found.record).fps, _recorded_frames(found)
    if fps is not None and len(frames) < wanted:
        # Pictures that are alike are stored once, for longer.
        period = max(1000 / fps, GIF_FASTEST_MS if kind == "gif" else 1)
        ends = np.rint(np.cumsum(spans) / period).astype(np.int64)
        if ends[-1] == wanted and wanted * frames[0].nbytes <= MAX_DECODED_BYTES:
            frames = np.repeat(frames, np.diff(ends, prepend=0), axis=0)
    measured = len(frames) * 1000 / sum(spans)
    return Output(kind, frames, _frame_rate(len(frames), measured, found), found)


def _num_pictures(image: Image.Image, path: Path) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except BROKEN as error:
        raise unreadable(str(path), error) from error


def _pixels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    try:
        return np.array(to_rgb(image))
    except BROKEN as error:
        raise unreadable(str(path), error) from error


def _recorded(found: ReadBack, key: str) -> object:
    """Return a generator option of a record that anybody may have written."""
    value: object = found.record
    for step in ("options", "generator", key):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _recorded_frames(found: ReadBack) -> int:
    """Return the number of frames that were written; 0 where the record does not tell."""
    value = _recorded(found, "frames")
    return value if isinstance(value, int) and value > 0 else 0


def _frame_rate(count: int, measured: float, found: ReadBack) -> float:
    """Take the recorded rate where the file's own timing is its rounding."""
    told = hints(found.record).fps
    agree = told is not None and abs(count / measured - count / told) <= 0.011
    return told if told is not None and agree else measured


def _recorded_size(found: ReadBack) -> Size | None:
    """Return the size that was written; None where the record does not tell."""
    value = _recorded(found, "size")
    try:
        return Size.parse(value) if isinstance(value, str) else None
    except UsageError:
        return None


def _without_padding(frames: NDArray[np.uint8], found: ReadBack) -> NDArray[np.uint8]:
    """Drop the row or column that 4:2:0 needed, where the record tells the size before."""
    size = _recorded_size(found)
    if size is None:
        return frames
    height, width = size
    if frames.shape[1:3] != (height + height % 2, width + width % 2):
        return frames
    return frames[:, :height, :width]
