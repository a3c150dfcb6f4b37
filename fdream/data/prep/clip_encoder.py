"""Encodes one clip: H.264 in MP4, the same bytes for the same pictures, in memory.

``data.writers`` encodes RGB frames that we made, through FFmpeg's program; here pictures come from
a decoder in YUV, thousands a minute, and stay in YUV and in this process.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av

from fdream.core.errors import DataError
from fdream.data.prep.pictures import PictureMaker

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from fdream.core.prep_recipe import ClipTable

_VIDEO_RANGE: Final = 1
_PRIMARIES_BT709: Final = 1
# x264 seeks out blocks of hardly any detail and drops it: a tenth of its time for 4 % of bytes.
_KEEP_FAINT: Final = "no-dct-decimate=1"


class ClipEncoder:
    """One clip in the making."""

    def __init__(self, maker: PictureMaker, fps: Fraction, options: ClipTable) -> None:
        """Open the encoder.

        Args:
            maker: makes the pictures that will come.
            fps: constant rate of the clip.
            options: the recipe's ``[clip]``.
        """
        self._buffer = io.BytesIO()
        options_of_mp4 = {"fflags": "+bitexact"}
        self._container = av.open(self._buffer, "w", format="mp4", options=options_of_mp4)
        stream: VideoStream = self._container.add_stream(
            "libx264",
            rate=fps,
            options={
                "preset": options.preset,
                "qp": str(options.qp),
                "x264-params": _KEEP_FAINT,
                "flags": "+bitexact",
            },
        )
        stream.width, stream.height, stream.pix_fmt = maker.width, maker.height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = maker.matrix, _VIDEO_RANGE
        context.color_primaries = context.color_trc = _PRIMARIES_BT709
        context.time_base = 1 / fps
        self._stream = stream
        self._tick = 1 / fps
        self.num_frames = 0

    def add(self, picture: VideoFrame) -> None:
        """Append a picture; the same one may be appended again."""
        picture.pts, picture.time_base = self.num_frames, self._tick
        picture.pict_type = 0  # the encoder, not the source, decides which pictures are key frames
        with _as_data_error():
            self._container.mux(self._stream.encode(picture))
        self.num_frames += 1

    def finish(self) -> bytes:
        """Return the file."""
        with _as_data_error():
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._buffer.getvalue()


@contextmanager
def _as_data_error() -> Iterator[None]:
    """Blame the source for a size that x264 cannot take, and call it by another name than reading.

    Raises:
        DataError: what FFmpeg said.
    """
    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"its clips cannot be encoded ({error.strerror})") from error
