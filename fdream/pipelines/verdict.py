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

# Encoders are chaotic: a level on some values moves what they lose by up to 2 %, and a shift of all
# by two levels by more than 5 % (measured on pocket's frames, in all four formats at quality 90).
_AS_LOST: Final = 1.05
# Of frames that are proved equal, how much more another build of an encoder may lose.
_BUILDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Gap:
    """The distance between two videos of one shape.

    Attributes:
        levels: the largest, of 255.
        share: of the values, those no more than one level apart.
        rms: root of the mean square over all values, in levels.
    """

    levels: int
    share: float
    rms: float

    @classmethod
    def between(cls, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Gap:
        """Measure two videos, uint8 (F, H, W, 3)."""
        largest, near, squares = 0, 0, 0
        for a, b in zip(one, other, strict=True):  # by frame, for differences take four times more
            gaps = np.abs(a.astype(np.int32) - b)
            largest = max(largest, int(gaps.max()))
            near += int(np.count_nonzero(gaps <= 1))
            squares += int(np.square(gaps).sum(dtype=np.int64))
        return cls(largest, near / one.size, float(np.sqrt(squares / one.size)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a replay.

    Attributes:
        answer: ``bit-equal`` to the recorded frames, ``within`` the tolerance, or ``different``.
        gap: between what was made and the file; None where their shapes differ.
        loss: what the file's encoding does to the frames, rms in levels; None where it keeps them.
        note: what else has to be said of the file; may be empty.
    """

    answer: Answer
    gap: Gap | None
    loss: float | None = None
    note: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        if self.answer == "bit-equal":
            return self.answer
        if self.gap is None:
            return f"different: {self.note}"
        levels = f"{self.gap.levels} level" + ("s" if self.gap.levels != 1 else "")
        if self.loss is not None:
            how = (
                f"the file is {self.gap.rms:.2f} levels (rms) from these frames, of which its "
                f"encoding explains {self.loss:.2f}"
            )
        else:
            how = f"{100 * self.gap.share:.3f} % of all values are within one level"
        if self.answer == "within":
            return f"within {levels}: {how}"
        return f"different: {how}; the largest difference is {levels}"


def judge(recorded: Recorded, output: Output, made: NDArray[np.uint8]) -> Verdict:
    """Compare what was made again with what was recorded, and with the file.

    The hash decides whether the frames are equal. How far they are apart can be said where the file
    keeps its frames exactly, which the same hash shows. A lossy file is always some way from its
    frames; if it is no further from the new ones than encoding these takes them from themselves,
    then no difference can be shown.

    Args:
        recorded: how the file was made, by its own account.
        output: the file.
        made: uint8 (F, H, W, 3).

    Ours: the tolerance is granted whatever differs. Processors of one name compute differently, so
    a record cannot tell the same machine from another. Encoded files are not compared with each
    other: frames one level apart on 0.002 % of values give MP4s that differ by up to 28 levels.
    """
    same = frames_hash(made) == recorded.frames_sha256
    if made.shape != output.frames.shape:
        said = f"{_shape(made)} came out, not {_shape(output.frames)}."
        return Verdict("different", None, note=said)
    gap = Gap.between(made, output.frames)
    near: Answer = "within" if gap.share >= SAME_SHARE else "different"
    if frames_hash(output.frames) == recorded.frames_sha256:
        return Verdict("bit-equal" if same else near, gap)
    if output.kind not in VIDEO_FORMATS:
        note = f"{output.kind} is no format of fdream's: the file was encoded again."
        return Verdict("different", gap, note=note)
    if recorded.encoding.keeps_pixels(moving=recorded.clip is not None):
        note = "the file does not hold the frames that its record tells of: it was changed."
        return Verdict("different", gap, note=note)
    loss = Gap.between(_through_encoder(recorded, made), made).rms
    if not same:
        return Verdict("within" if gap.rms <= _AS_LOST * loss else near, gap, loss)
    if gap.rms <= _BUILDS * loss + 1:
        return Verdict("bit-equal", gap, loss)
    note = "the record makes the frames it tells of, and the file shows others: it was changed."
    return Verdict("different", gap, loss, note)


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


def _shape(frames: NDArray[np.uint8]) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frame{'s' if count != 1 else ''} of {Size(height, width)}"
