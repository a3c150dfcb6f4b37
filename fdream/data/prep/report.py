"""What the report and ``--inspect`` tell: counts, distributions, and examples to look at."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image

from fdream.core.errors import DataError
from fdream.data.media import open_video, video_stream
from fdream.data.prep.samples import QUARANTINED, Sample
from fdream.data.prep.settling import read_samples, stored_videos
from fdream.data.shards.writer import FileRange

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from fdream.core.prep_recipe import FilterTable
    from fdream.data.prep.tally import Tally
    from fdream.data.shards.folder import ShardFolder
    from fdream.data.shards.overlay import Overlay

FIGURES: Final = {
    "seconds": "length, s",
    "motion": "motion, % of the longer side a second",
    "frozen": "share of time nothing moves",
    "brightness": "brightness, 0 to 255",
    "bars": "share under black bars",
    "text": "share that looks like text",
    "words": "words in the caption",
    "source_height": "height of the source, px",
    "source_fps": "frames a second of the source",
}
_BINS: Final = 32
_THUMBNAIL: Final = 168
_MOST_CAPTIONS: Final = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a figure is spread.

    Attributes:
        title: what it is.
        low: of the first bin.
        high: of the last bin; what is above is counted there.
        quartiles: of kept and filtered together, the median in the middle.
        kept: number of clips in each bin.
        filtered: likewise.
        limits: thresholds on this figure, by name.
    """

    title: str
    low: float
    high: float
    quartiles: tuple[float, float, float]
    kept: list[int]
    filtered: list[int]
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class Example:
    """A clip to look at.

    Attributes:
        sample: what is known of it.
        pictures: its first, middle and last picture as ``data:`` addresses.
    """

    sample: Sample
    pictures: list[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the report shows.

    Attributes:
        title: what was looked at.
        tally: counts.
        histograms: of what was measured.
        kept: examples.
        filtered: examples, of every reason some.
        quarantined: some of what could not be read.
        overlay: what the clips share; None where nothing was found.
        recipe: as TOML; empty where it is not known.
    """

    title: str
    tally: Tally
    histograms: list[Histogram]
    kept: list[Example]
    filtered: list[Example]
    quarantined: list[Sample]
    overlay: Overlay | None
    recipe: str

    def captions(self) -> list[Sample]:
        """Return kept clips whose caption was split, each caption once, to be read."""
        split = [e.sample for e in self.kept if e.sample.appearance is not None]
        different = {sample.caption: sample for sample in split if sample.caption}
        return list(different.values())[:_MOST_CAPTIONS]


Video = Callable[[Sample], FileRange | None]
"""Finds where the video of a sample lies."""


def histograms(table: pa.Table, thresholds: FilterTable | None) -> Iterator[Histogram]:
    """Yield how each figure is spread.

    Args:
        table: of samples, with the columns ``status`` and ``FIGURES``.
        thresholds: to be drawn; None where there are none.
    """
    status = np.array(table["status"].to_pylist(), dtype=object)
    for figure, title in FIGURES.items():
        values = table[figure].to_numpy(zero_copy_only=False).astype(float)
        known = np.isfinite(values)
        if not known.any():
            continue
        low, high = _range(values[known])
        clipped = np.clip(values, low, high)
        kept, filtered = (
            np.histogram(clipped[known & (status == which)], _BINS, (low, high))[0].tolist()
            for which in ("success", "filtered")
        )
        first, median, third = np.percentile(values[known], (25, 50, 75)).tolist()
        limits = _limits(figure, thresholds)
        yield Histogram(title, low, high, (first, median, third), kept, filtered, limits)


def examples(
    samples: Iterable[Sample], video: Video, number: int
) -> tuple[list[Example], list[Example]]:
    """Return kept and filtered clips with their pictures.

    Args:
        samples: from which they are taken, more than are shown.
        video: finds their videos.
        number: of either to show.
    """
    kept: list[Sample] = []
    by_reason: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.status == "success":
            kept.append(sample)
        elif sample.status == "filtered":
            by_reason.setdefault(sample.error_message.partition(":")[0], []).append(sample)
    filtered = _in_turn(list(by_reason.values()))
    return (
        [_example(sample, video) for sample in _spread(kept, number)],
        [_example(sample, video) for sample in filtered[:number]],
    )


def folder_samples(folder: ShardFolder, most: int) -> Iterator[Sample]:
    """Yield the samples of some shards, spread over a run."""
    for number in _spread(folder.done(), most):
        yield from read_samples(folder, number)


def folder_videos(folder: ShardFolder) -> Video:
    """Return what finds the video of a sample of a run."""
    known: dict[int, dict[str, FileRange]] = {}

    def find(sample: Sample) -> FileRange | None:
        number = int(sample.key[:5])
        if number not in known:
            known.clear()
            known[number] = stored_videos(folder, number)
        return known[number].get(sample.key)

    return find


def folder_table(folder: ShardFolder) -> pa.Table:
    """Return the columns of all shards that histograms need."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = ["status", *FIGURES]
    tables = [parquet.read_table(folder.table(n), columns=columns) for n in folder.done()]
    return pa.concat_tables(tables)


def quarantined_samples(path: Path, most: int) -> list[Sample]:
    """Return some of what was quarantined."""
    from pyarrow import parquet

    from fdream.data.prep.samples import samples_of

    return samples_of(parquet.read_table(path).slice(0, most))


def count_samples(samples: Sequence[Sample], shards: int) -> Tally:
    """Count samples that no run has written down."""
    from fdream.data.prep.tally import Tally

    kept = [sample for sample in samples if sample.status == "success"]
    broken = Counter(s.error_message for s in samples if s.status in QUARANTINED)
    return Tally(
        sources=len(samples),
        shards=shards,
        kept=len(kept),
        quarantined=broken,
        seconds=sum(sample.seconds or 0 for sample in kept),
        bytes=sum(sample.bytes for sample in kept),
    )


def data_address(picture: NDArray[np.uint8] | Image.Image, kind: str = "jpeg") -> str:
    """Return a picture as an address that holds it."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 72} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _example(sample: Sample, video: Video) -> Example:
    place = video(sample)
    return Example(sample, [] if place is None else list(_pictures(place, sample.num_frames or 1)))


def _pictures(place: FileRange, frames: int) -> Iterator[str]:
    """Yield the first, middle and last picture of a clip; none where it cannot be read."""
    data = io.BytesIO(place.read())
    wanted = sorted({0, frames // 2, frames - 1})
    try:
        with open_video(data, place.path.name) as container:
            stream = video_stream(container, place.path.name)
            for number, picture in enumerate(container.decode(stream)):
                if number in wanted:
                    image = picture.to_image()
                    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
                    yield data_address(image)
                if number >= wanted[-1]:
                    return
    except DataError:
        return  # a report shows what it can; the clip itself was read by a worker before


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return where a histogram begins and ends; a few far away must not squeeze the others."""
    low, high = float(values.min()), float(np.percentile(values, 99))
    return (low, high) if high > low else (low, low + 1)


def _limits(figure: str, thresholds: FilterTable | None) -> dict[str, float]:
    names = [f"min_{figure}", f"max_{figure}"]
    if figure == "source_fps":
        names = ["min_fps"]
    found = {name: getattr(thresholds, name, None) for name in names}
    return {name: float(value) for name, value in found.items() if value is not None}


def _spread(items: Sequence[T], number: int) -> list[T]:
    """Return so many items at even distances, in order."""
    if len(items) <= number:
        return list(items)
    return [items[index * len(items) // number] for index in range(number)]


def _in_turn(groups: list[list[Sample]]) -> list[Sample]:
    """Take one of each group in turn, the rarest reasons being seen too."""
    longest = max((len(group) for group in groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)]
