"""How near frames that were made again come to those of a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fdream.core.sizes import Size
from fdream.data.encoding import VIDEO_FORMATS
from fdream.data.metadata import dump_record
from fdream.data.readers import read_output
from fdream.data.writers import save_image, save_video
from fdream.pipelines.provenance import frames_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.data.readers import Output
    from fdream.pipelines.recorded import Recorded

Answer = Literal["bit-equal", "within", "different"]

SAME_SHARE: Final = 0.999
"""Of all values, those that may not be more than one level off (design: 99.9 %)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The distance between two videos of one shape.

    Attributes:
        levels: the largest, of 255.
        share: of the values, those no more than one level apart.
        mean: of all values, in levels.
    """

    levels: int
    share: float
    mean: float

    @classmethod
    def between(cls, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Gap:
        """Measure two videos, uint8 (F, H, W, 3)."""
        largest, near, total = 0, 0, 0
        for a, b in zip(one, other, strict=True):  # frame by frame: differences take twice the room
            gaps = np.abs(a.astype(np.int16) - b)
            largest = max(largest, int(gaps.max()))
            near += int(np.count_nonzero(gaps <= 1))
            total += int(gaps.sum())
        return cls(largest, near / one.size, total / one.size)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a replay.

    Attributes:
        answer: ``bit-equal`` to the recorded frames, ``within`` the tolerance, or ``different``.
        gap: between what was made and the file; None where their shapes differ.
        encoded: both are compared as their format shows them, for it keeps no frames exactly.
        note: what else has to be said of the file; may be empty.
    """

    answer: Answer
    gap: Gap | None
    encoded: bool = False
    note: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        if self.answer == "bit-equal":
            return self.answer
        if self.gap is None:
            return f"different: {self.note}"
        share = f"{100 * self.gap.share:.3f} % of all values are within one level"
        how = ", both as encoded" if self.encoded else ""
        if self.answer == "within":
            levels = f"{self.gap.levels} level" + ("s" if self.gap.levels != 1 else "")
            return f"within {levels}{how}: {share}"
        return f"different{how}: {share}, the largest difference is {self.gap.levels} levels"


def judge(recorded: Recorded, output: Output, made: NDArray[np.uint8]) -> Verdict:
    """Compare what was made again with what was recorded, and with the file.

    The hash decides whether the frames are equal. How far they are apart can be said where the file
    keeps its frames exactly, which the same hash shows. A lossy file is compared with the new
    frames once they have gone through the same encoder: what is then equal looks equal, and
    differences below the encoder's loss stay unseen.

    Args:
        recorded: how the file was made, by its own account.
        output: the file.
        made: uint8 (F, H, W, 3).

    Ours: the tolerance is granted whatever differs. Processors of one name compute differently, so
    a record cannot tell the same machine from another.
    """
    same = frames_hash(made) == recorded.frames_sha256
    if made.shape != output.frames.shape:
        said = f"{_shape(made)} came out, not {_shape(output.frames)}."
        return Verdict("different", None, note=said)
    if frames_hash(output.frames) == recorded.frames_sha256:
        gap = Gap.between(made, output.frames)
        return Verdict("bit-equal" if same else _answer(gap), gap)
    if output.kind not in VIDEO_FORMATS:
        note = f"{output.kind} is no format of fdream's: the file was encoded again."
        return Verdict("different", Gap.between(made, output.frames), note=note)
    if recorded.encoding.keeps_pixels(moving=recorded.clip is not None):
        note = "the file does not hold the frames that its record tells of: it was changed."
        return Verdict("different", Gap.between(made, output.frames), note=note)
    return _judge_lossy(recorded, output, made, same)


def _judge_lossy(
    recorded: Recorded, output: Output, made: NDArray[np.uint8], same: bool
) -> Verdict:
    again = _through_encoder(recorded, made)
    gap = Gap.between(again, output.frames)
    if not same:
        return Verdict(_answer(gap), gap, encoded=True)
    # The encoder's own loss is the measure, and another build of it may lose twice as much.
    loss, shown = Gap.between(again, made).mean, Gap.between(made, output.frames).mean
    if shown <= 2 * loss + 1:
        return Verdict("bit-equal", gap, encoded=True)
    note = (
        f"the record makes the frames it tells of, but the file shows others, {shown:.1f} levels "
        f"apart in the mean, of which its encoding explains {loss:.1f}: it was changed."
    )
    return Verdict("different", gap, encoded=True, note=note)


def _through_encoder(recorded: Recorded, made: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode frames as the file was, and read them back."""
    with tempfile.TemporaryDirectory(prefix="fdream-") as folder:
        path = Path(folder) / f"again.{recorded.encoding.kind}"
        if recorded.clip is None:
            save_image(path, made[0], recorded.encoding)
        else:
            fps = recorded.clip.fps or 1.0
            # What the reader needs in order to give back the frames that were written.
            shape = {"size": str(Size(*made.shape[1:3])), "frames": len(made)}
            text = dump_record({"fps": fps, "options": {"generator": shape}})
            save_video(path, made, fps, recorded.encoding, text)
        return read_output(path).frames


def _answer(gap: Gap) -> Answer:
    return "within" if gap.share >= SAME_SHARE else "different"


def _shape(frames: NDArray[np.uint8]) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frame{'s' if count != 1 else ''} of {Size(height, width)}"
