"""What is recorded of each sample: a row of the shard's table, and the JSON beside its video.

video2dataset's columns come first and mean what they mean there. Every input row becomes one
sample at least, so that what came in is what was kept, filtered and quarantined together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Status = Literal["success", "filtered", "failed_to_download", "failed_to_subsample"]
"""Kept; filtered; quarantined because it could not be fetched, or not be read. The words are
video2dataset's but for ``filtered``, which it has no word for."""

QUARANTINED: Final = ("failed_to_download", "failed_to_subsample")


@dataclass(slots=True)
class Sample:
    """One sample.

    Attributes:
        key: shard, row and, for a clip of a source, its number: ``000030012_00001``.
        status: what became of it.
        error_message: why it was not kept; empty when it was.
        url: where its source came from.
        caption: the whole caption.
        appearance: its half for the first frame; empty where captions are not split.
        motion_caption: its half for what happens.
        camera: what the caption says of the camera.
        split_confidence: how sure the splitter is of the halves, 0 to 1.
        split_note: what it says about them.
        id: the source's name in the input.
        begins: how the clip begins: ``start``, ``cut``, ``fade``, ``length``, ``span``.
        start_s: seconds from the source's first frame.
        seconds: length.
        fps: frames a second.
        num_frames: of the clip.
        height: of its pictures.
        width: likewise.
        bytes: of its video, 0 where it is not stored.
        source_height: of the source, upright and with square pixels.
        source_width: likewise.
        source_fps: mean rate.
        source_seconds: as the file says.
        container: FFmpeg's name of the source's format.
        codec: FFmpeg's name of the source's codec.
        pixels: FFmpeg's name of the source's pixel format.
        rotation: degrees clockwise that were applied.
        pixel_aspect: of the source's pixels, made square.
        hdr: ``pq`` or ``hlg`` where the source was of high dynamic range.
        motion: mean optical flow, per cent of the picture's width a second.
        frozen: share of time in which nothing moves.
        brightness: mean luma, 0 to 255.
        bars: share of the picture under black bars.
        text: share of the picture that looks like letters.
        phash: 256-bit perceptual hash of four of its pictures, hexadecimal.
        language: of the caption, ISO 639-1.
        words: of the caption.
        source: what else the input said, as JSON.
    """

    key: str = ""
    status: Status = "success"
    error_message: str = ""
    url: str = ""
    caption: str = ""
    appearance: str | None = None
    motion_caption: str | None = None
    camera: str | None = None
    split_confidence: float | None = None
    split_note: str | None = None
    id: str = ""
    begins: str | None = None
    start_s: float | None = None
    seconds: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    bytes: int = 0
    source_height: int | None = None
    source_width: int | None = None
    source_fps: float | None = None
    source_seconds: float | None = None
    container: str | None = None
    codec: str | None = None
    pixels: str | None = None
    rotation: int | None = None
    pixel_aspect: float | None = None
    hdr: str | None = None
    motion: float | None = None
    frozen: float | None = None
    brightness: float | None = None
    bars: float | None = None
    text: float | None = None
    phash: str | None = None
    language: str | None = None
    words: int | None = None
    source: str = "{}"

    @property
    def quarantined(self) -> bool:
        """Whether it could not be fetched or read."""
        return self.status in QUARANTINED

    def record(self) -> dict[str, Any]:
        """Return it as JSON says it; what is not known is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def samples_of(table: pa.Table) -> list[Sample]:
    """Read the rows of a shard's table."""
    return [Sample(**row) for row in table.to_pylist()]


def table_of(samples: list[Sample]) -> pa.Table:
    """Make the table of a shard; its columns are the same for every shard."""
    import pyarrow as pa

    return pa.Table.from_pylist([asdict(sample) for sample in samples], schema=schema())


def schema() -> pa.Schema:
    """Return the columns and their types."""
    import pyarrow as pa

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "Status": pa.string()}
    return pa.schema(
        [(column.name, kinds[str(column.type).partition(" ")[0]]) for column in fields(Sample)]
    )
