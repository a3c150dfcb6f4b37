"""The one opener for video files; nothing else in the tree hands a file to a demuxer.

A container may name other files and addresses: a playlist fetches its entries, and an ``.mp4`` that
is really a concat script reads its neighbours. Therefore a file is opened by its absolute path
behind ``file:``, with the file protocol alone, and only by demuxers that read nothing but the bytes
of that file. Whatever is broken inside becomes a ``DataError``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from fdream.core.errors import DataError
from fdream.core.limits import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Self-contained formats only: no hls, dash, concat, sdp, image2, nor other text that points
# elsewhere. The names are FFmpeg's.
FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,apng,m4v,h264,hevc,ivf"
)

# What one video may unfold to in memory: ten thousand small frames, or some six hundred of 1080p.
MAX_DECODED_BYTES: Final = 4 * 1024**3

_OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": FORMATS}


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """A decoded video.

    Attributes:
        frames: uint8 (F, H, W, 3), RGB.
        fps: mean frames per second.
        container: FFmpeg's name of the format, such as ``"mov,mp4,m4a,3gp,3g2,mj2"``.
    """

    frames: NDArray[np.uint8]
    fps: Fraction
    container: str


@contextmanager
def open_video(source: Path | BinaryIO, place: str | None = None) -> Iterator[InputContainer]:
    """Open a local video file, or the bytes of one, for reading; closed on leaving.

    Args:
        source: a file, or seekable bytes such as a member of an archive.
        place: what to call it in messages; a file is called by its path.

    Raises:
        DataError: missing, no video that we read, or broken; also for what breaks while reading
            inside the ``with`` block.
    """
    import av

    name = f"file:{source.absolute()}" if isinstance(source, Path) else source
    try:
        # Tags in another encoding are no reason to refuse the pictures.
        with av.open(
            name, mode="r", options=dict(_OPTIONS), metadata_errors="replace"
        ) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        # PyAV repeats the path in its message; the reason alone is enough.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{place or source}: cannot be read as a video ({reason}).") from error


def read_tags(path: Path) -> dict[str, str]:
    """Read the tags of a video file without decoding it.

    Raises:
        DataError: see ``open_video``.
    """
    with open_video(path) as container:
        return dict(container.metadata)


def read_video(
    source: Path | BinaryIO, max_frames: int | None = None, *, place: str | None = None
) -> VideoFrames:
    """Decode the main video stream of a file.

    Args:
        source: as ``open_video`` takes it.
        max_frames: stop after so many frames; None: all.
        place: likewise.

    Raises:
        DataError: see ``open_video``, ``video_stream`` and ``stack_frames``.
    """
    called = place or str(source)
    with open_video(source, place) as container:
        stream = video_stream(container, called)
        decoded = islice(container.decode(stream), max_frames)
        pictures = (p.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for p in decoded)
        frames = stack_frames(pictures, called)
        fps = stream.average_rate or stream.guessed_rate
        return VideoFrames(frames, Fraction(fps or 1), container.format.name)


def stack_frames(pictures: Iterable[NDArray[np.uint8]], path: Path | str) -> NDArray[np.uint8]:
    """Gather the decoded pictures of a file, as they come, into one array.

    Args:
        pictures: uint8 (H, W, 3) each.
        path: the file, or what to call it, for messages.

    Returns:
        uint8 (F, H, W, 3).

    Raises:
        DataError: no picture, pictures of several sizes, or more than ``MAX_DECODED_BYTES``.
    """
    kept: list[NDArray[np.uint8]] = []
    for picture in pictures:
        kept.append(picture)
        if picture.shape != kept[0].shape:
            raise DataError(
                f"{path}: the picture changes its size midway; cut it at the change first."
            )
        if len(kept) * picture.nbytes > MAX_DECODED_BYTES:
            raise DataError(
                f"{path}: its frames are more than {MAX_DECODED_BYTES >> 30} GiB; cut it into "
                "shorter videos first."
            )
    if not kept:
        raise DataError(f"{path}: holds no readable frame.")
    return np.stack(kept)


def video_stream(container: InputContainer, place: str) -> VideoStream:
    """Choose the stream that a player would show.

    Args:
        container: as ``open_video`` yields it.
        place: what to call the file in messages.

    Raises:
        DataError: there is none (a cover picture beside sound is none), none that can be decoded,
            or frames above 64 megapixels.
    """
    from av.stream import Disposition

    stream: Any = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:
        raise DataError(f"{place}: has no video stream.")
    if stream.codec_context is None:
        raise DataError(f"{place}: its video is of a kind that cannot be decoded.")
    if stream.width * stream.height > MAX_PIXELS:
        raise DataError(
            f"{place}: {stream.width}x{stream.height} is above the limit of "
            f"{MAX_PIXELS // 1_000_000} megapixels a frame."
        )
    chosen: VideoStream = stream
    return chosen
