"""A recipe of data preparation: which steps a pile of video goes through on its way to shards.

One table a step. ``use = false`` switches a step off; everything else has a default. ``recipe_io``
reads these recipes by the same rules as those of training runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdream.core.recipe import (
    AnyRecipe,
    Count,
    Fraction,
    Names,
    Positive,
    SizeField,
    StageChoice,
    Table,
)

Seconds = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]


class ReadTable(Table):
    """What the rows of the input mean, and where their videos lie."""

    id: str | None = Field(None, description="column with the name of a video")
    video: str | None = Field(None, description="column with a path or an address")
    caption: str | None = Field(None, description="column with the caption")
    spans: str | None = Field(None, description="column with [start, end] pairs to take clips from")
    media: str | None = Field(None, description="folder with local copies, named by path or id")
    fetch: bool = Field(False, description="fetch addresses for which there is no local copy")


class LimitsTable(Table):
    """What one source may cost; one that needs more goes to quarantine, the run goes on."""

    seconds: Positive = Field(600, description="processor time")
    memory_mb: Positive = Field(2048, description="beyond what an idle worker has")
    file_mb: Positive = 8192
    gap_seconds: Seconds = Field(30.0, description="longest time that one frame may stand")


class CutTable(Table):
    """Cut at shots, as PySceneDetect's AdaptiveDetector finds them, and at fades."""

    use: bool = True
    threshold: Amount = Field(3.0, description="how far a frame's change must exceed its window's")
    min_content: Amount = Field(15.0, description="change below which no frame is a cut")
    window: Positive = Field(2, description="frames before and after")
    min_seconds: Amount = Field(0.6, description="between two cuts")
    fades: bool = Field(True, description="also cut where the picture comes back from black")
    fade_level: Annotated[int, Field(ge=0, le=255)] = 12


class ClipTable(Table):
    """Write every shot as clips of constant frame rate; off: the file's own bytes are kept."""

    use: bool = True
    max_seconds: Seconds = Field(10.0, description="longer shots become several clips")
    fps: Annotated[float, Field(gt=0, le=240)] | None = Field(
        None, description="the source's own where not set"
    )
    qp: Annotated[int, Field(ge=0, le=51)] = Field(
        20, description="x264's constant quantiser: less is better, every clip loses the same"
    )
    preset: Literal["ultrafast", "superfast", "veryfast", "fast", "medium", "slow"] = Field(
        "ultrafast", description="x264's trade of time against size; superfast halves the size"
    )


class ResizeTable(Table):
    """The picture size; rotation and pixel shape are always made good."""

    use: bool = True
    size: SizeField | None = Field(None, description="exact size")
    short_side: Positive | None = Field(None, description="at most so many pixels, aspect kept")
    fit: Literal["crop", "pad"] = "crop"


class MeasureTable(Table):
    """What is measured on each clip; every figure is kept beside it."""

    motion: bool = Field(True, description="optical flow and frozen frames")
    light: bool = Field(True, description="brightness and black bars")
    text: bool = Field(True, description="area that looks like letters")
    hash: bool = Field(True, description="perceptual hash, for duplicates")
    language: bool = Field(False, description="language of the caption")


class FilterTable(Table):
    """Which clips are kept; what is not set lets everything pass.

    Thresholds are compared with figures that stay beside each clip, so ``fdream prep --refilter``
    changes them later without decoding anything.
    """

    min_seconds: Amount | None = 0.5
    max_seconds: Amount | None = None
    min_frames: Count | None = 2
    min_side: Count | None = Field(None, description="shorter side of the source, upright")
    min_fps: Amount | None = Field(None, description="of the source")
    min_motion: Amount | None = Field(
        None, description="mean flow, per cent of the picture's width a second"
    )
    max_motion: Amount | None = None
    max_frozen: Fraction | None = Field(None, description="share of time in which nothing moves")
    min_brightness: Amount | None = Field(None, description="mean luma, 0 to 255")
    max_brightness: Amount | None = None
    max_bars: Fraction | None = Field(None, description="share of the picture under black bars")
    max_text: Fraction | None = Field(None, description="share of the picture that looks like text")
    max_duplicate_bits: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="of 256: a clip as close as this to an earlier source's is a duplicate"
    )
    min_words: Count | None = Field(None, description="of the caption")
    max_words: Count | None = None
    languages: Names = Field((), description="of the caption, ISO 639-1 codes")


class SplitTable(Table):
    """Split captions into appearance and motion, by the stage ``stages.splitter``."""

    use: bool = True


class FlowTable(Table):
    """Optical flow by OpenCV's DIS, written beside each kept clip for the supervisor."""

    use: bool = False
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    cells: Positive = Field(64, description="along the longer side of the grid it is averaged to")


class LatentsTable(Table):
    """Latents of each kept clip by a bundle's autoencoder, written beside it."""

    use: bool = False
    bundle: str = "pocket"


class ShardTable(Table):
    """How shards are written."""

    rows: Annotated[int, Field(ge=1, le=10_000)] = Field(
        200, description="input rows a shard; a crash loses at most the shards in flight"
    )
    keep_filtered: bool = Field(
        True, description="store filtered clips in filtered/, so that they can come back"
    )


class OverlayTable(Table):
    """The fixed overlay, such as a watermark, that many clips share."""

    use: bool = True
    clips: Positive = Field(256, description="how many clips are looked at")


class ReportTable(Table):
    """report.html."""

    use: bool = True
    examples: Count = Field(24, description="thumbnails of kept and of filtered clips, each")


class PrepStagesTable(Table):
    """The one kind of stage that preparation uses."""

    splitter: StageChoice = StageChoice(use="grammar")


class PrepRecipe(AnyRecipe):
    """A whole preparation."""

    read: ReadTable = ReadTable()
    limits: LimitsTable = LimitsTable()
    cut: CutTable = CutTable()
    clip: ClipTable = ClipTable()
    resize: ResizeTable = ResizeTable()
    measure: MeasureTable = MeasureTable()
    filter: FilterTable = FilterTable()
    split: SplitTable = SplitTable()
    stages: PrepStagesTable = PrepStagesTable()
    flow: FlowTable = FlowTable()
    latents: LatentsTable = LatentsTable()
    shard: ShardTable = ShardTable()
    overlay: OverlayTable = OverlayTable()
    report: ReportTable = ReportTable()
