"""Step resize: from stored pictures to those of a clip: upright, square pixels, the wanted size.

FFmpeg's own filters do it, in YUV from end to end: no round trip through RGB, which would cost
time and a little colour. The matrix of the source is kept and written down; the range becomes that
of video, and high dynamic range becomes standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import av
from av.filter import Graph

from fdream.core.errors import DataError
from fdream.data.prep.probe import VideoFacts, square_size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from fdream.core.prep_recipe import ResizeTable

_RGB, _BT709, _UNSPECIFIED, _SMPTE170M, _BT2020 = 0, 1, 2, 6, (9, 10)
# Players take high definition without a label for BT.709 and the rest for BT.601.
_HD_HEIGHT: Final = 720
_SMALLEST_SIDE: Final = 2  # 4:2:0 has even sides
# FFmpeg maps tones by the peak that the file states, or that of its transfer function.
_TO_SDR: Final = ":out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:intent=perceptual"


@dataclass(frozen=True, slots=True)
class Framing:
    """What becomes of a stored picture, before it is turned upright.

    Attributes:
        crop: (x, y, width, height) of what is kept, in stored pixels.
        inner: (width, height) that it is scaled to.
        outer: (width, height) of the result; larger than ``inner`` where bars are added.
    """

    crop: tuple[int, int, int, int]
    inner: tuple[int, int]
    outer: tuple[int, int]


def frame_picture(facts: VideoFacts, resize: ResizeTable) -> Framing:
    """Decide the framing of a video.

    Args:
        facts: of the video.
        resize: the recipe's ``[resize]``; without a size the picture keeps its own, made even.
    """
    aspect = Fraction(facts.pixel_aspect).limit_denominator(1000)
    stored = facts.coded_width, facts.coded_height
    shown = square_size(*stored, aspect)
    wanted = _wanted(facts, resize)
    if facts.rotation in (90, 270):
        wanted = wanted and (wanted[1], wanted[0])
    if wanted is None:
        # Keep every pixel but a last odd row or column; scale only where pixels are not square.
        inner = _even(shown[0]), _even(shown[1])
        kept = tuple(_even(s) if s == w else s for s, w in zip(stored, shown, strict=True))
        return Framing((0, 0, kept[0], kept[1]), inner, inner)
    if resize.size is None:
        return Framing((0, 0, *stored), wanted, wanted)
    if resize.fit == "pad":
        scale = min(Fraction(w, s) for w, s in zip(wanted, shown, strict=True))
        fits = [min(w, _even(round(s * scale))) for w, s in zip(wanted, shown, strict=True)]
        return Framing((0, 0, *stored), (fits[0], fits[1]), wanted)
    scale = max(Fraction(w, s) for w, s in zip(wanted, shown, strict=True))
    kept = tuple(
        max(_SMALLEST_SIDE, min(s, round(w / scale * s / full)))
        for s, w, full in zip(stored, wanted, shown, strict=True)
    )
    left, top = ((s - k) // 2 for s, k in zip(stored, kept, strict=True))
    return Framing((left, top, kept[0], kept[1]), wanted, wanted)


def _wanted(facts: VideoFacts, resize: ResizeTable) -> tuple[int, int] | None:
    """Return the wanted (width, height), upright; None keeps the source's."""
    if not resize.use:
        return None
    if resize.size is not None:
        return _even(resize.size.width), _even(resize.size.height)
    if resize.short_side is not None and min(facts.width, facts.height) > resize.short_side:
        scale = Fraction(resize.short_side, min(facts.width, facts.height))
        return _even(round(facts.width * scale)), _even(round(facts.height * scale))
    return None


def _even(side: int) -> int:
    return max(_SMALLEST_SIDE, side // 2 * 2)


class PictureMaker:
    """Turns the stored pictures of one video into those of its clips."""

    def __init__(self, stream: VideoStream, first: VideoFrame, facts: VideoFacts, framing: Framing):
        """Build the filters.

        Args:
            stream: the one that is decoded.
            first: its first picture.
            facts: of the video.
            framing: as ``frame_picture`` decides it.
        """
        self.width, self.height = framing.outer
        if facts.rotation in (90, 270):
            self.width, self.height = self.height, self.width
        self.matrix = _matrix(first, facts)
        self._graph: Graph = _graph(stream, first, facts, framing)

    def make(self, picture: VideoFrame) -> VideoFrame:
        """Return yuv420p of (self.height, self.width), in video range."""
        try:
            self._graph.push(picture)
            made = cast("VideoFrame", self._graph.pull())
        except (av.FFmpegError, ValueError) as error:
            raise DataError(f"its pictures cannot be converted ({error})") from error
        return made


def _matrix(first: VideoFrame, facts: VideoFacts) -> int:
    """Return FFmpeg's number of the colour matrix that the clips carry."""
    known = int(first.colorspace)
    if _is_wide(first, facts):
        return _BT709
    if known in (_RGB, _UNSPECIFIED):
        hd = min(facts.width, facts.height) >= _HD_HEIGHT
        return _BT709 if hd and known == _UNSPECIFIED else _SMPTE170M
    return known


def _is_wide(first: VideoFrame, facts: VideoFacts) -> bool:
    """Whether colours or brightness go beyond those of BT.709, and have to be brought there."""
    return bool(facts.hdr) or int(first.colorspace) in _BT2020


def _graph(stream: VideoStream, first: VideoFrame, facts: VideoFacts, framing: Framing) -> Graph:
    x, y, width, height = framing.crop
    steps = []
    if (width, height) != (facts.coded_width, facts.coded_height):
        steps.append(("crop", f"{width}:{height}:{x}:{y}"))
    colours = _TO_SDR if _is_wide(first, facts) else ""
    if int(first.colorspace) == _RGB:
        colours = ":out_color_matrix=smpte170m"
    # Going down, the mean over the area is the right filter, and the quickest.
    kernel = "area" if framing.inner[0] <= width and framing.inner[1] <= height else "bicubic"
    steps.append(
        ("scale", f"{framing.inner[0]}:{framing.inner[1]}:out_range=tv:flags={kernel}{colours}")
    )
    steps.append(("format", "yuv420p"))
    if framing.outer != framing.inner:
        steps.append(("pad", f"{framing.outer[0]}:{framing.outer[1]}:-1:-1"))
    for turn in filter(None, facts.turn.split(",")):
        name, _, argument = turn.partition("=")
        steps.append((name, argument))
    graph = Graph()
    graph.threads = 1
    # Without its matrix and range the filters take a picture for BT.601 and convert it to that.
    last = graph.add(
        "buffer",
        f"video_size={facts.coded_width}x{facts.coded_height}:pix_fmt={first.format.name}:"
        f"time_base={stream.time_base}:colorspace={int(first.colorspace)}:"
        f"range={int(first.color_range)}",
    )
    for name, argument in steps:
        step = graph.add(name, argument or None)
        last.link_to(step)
        last = step
    last.link_to(graph.add("buffersink"))
    try:
        graph.configure()
    except av.FFmpegError as error:
        raise DataError(f"its colours cannot be converted ({error.strerror})") from error
    return graph
