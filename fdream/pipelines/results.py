"""What generation makes: an image or a video, which sample it is, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fdream.core.captions import CaptionPair
from fdream.data.encoding import Encoding, kind_by_name
from fdream.data.metadata import dump_record
from fdream.data.writers import save_image, save_video

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """Which sample: its noise follows from these two numbers and the stage alone.

    The rule for batches: ``index`` counts the samples of *one* prompt or image, from 0, never the
    lines of a list. So a prompt gives the same frames alone and among a thousand others, the first
    of ``--num 4`` is the one of ``--num 1``, and two prompts under one seed share their noise,
    which is how prompts are compared. Where nobody gives a seed, each prompt draws its own. An
    image from t2i carries both numbers, so a batch through the pipe is the batch of t2v.

    Attributes:
        seed: of the prompt.
        index: of the sample among those of its prompt.
        prompt: what the captions were split from, for the record; empty where nothing was split.

    Ours: indexing by line would have made a result depend on its neighbours.
    """

    seed: int
    index: int = 0
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Still:
    """A drawn first frame.

    Attributes:
        pixels: uint8 (H, W, 3), RGB.
        captions: what it shows, and what is to happen to it.
        sample: which one it is.
        record: how it was made.
    """

    pixels: NDArray[np.uint8]
    captions: CaptionPair
    sample: Sample
    record: dict[str, Any]

    def save(
        self,
        path: str | Path,
        kind: str | None = None,
        *,
        quality: int | None = None,
        metadata: bool = True,
    ) -> Path:
        """Write it to a file, whole or not at all; what is there is replaced.

        Args:
            path: the file.
            kind: its format, as ``--format``; None goes by the file's ending.
            quality: as ``--quality``.
            metadata: whether the file carries the record.

        Raises:
            UsageError: an unknown format, or one that has no use for an option.
            OutputError: it cannot be written.
        """
        file = Path(path)
        chosen = kind or kind_by_name(file, moving=False)
        encoding = Encoding.choose(chosen, moving=False, quality=quality)
        save_image(file, self.pixels, encoding, _text(self.record, encoding, metadata))
        return file


@dataclass(frozen=True, slots=True)
class Clip:
    """A video.

    Attributes:
        frames: uint8 (F, H, W, 3), RGB.
        fps: frames per second.
        captions: what it was made from.
        sample: which one it is.
        record: how it was made.
    """

    frames: NDArray[np.uint8]
    fps: float
    captions: CaptionPair
    sample: Sample
    record: dict[str, Any]

    def save(
        self,
        path: str | Path,
        kind: str | None = None,
        *,
        quality: int | None = None,
        loop: int | None = None,
        codec: str | None = None,
        metadata: bool = True,
    ) -> Path:
        """Write it to a file, or a folder of frames; see ``Still.save``.

        Args:
            path: the file or folder.
            kind: its format, as ``--format``; None goes by the file's ending.
            quality: as ``--quality``.
            loop: as ``--loop``.
            codec: as ``--codec``.
            metadata: whether the file carries the record.

        Raises:
            UsageError: an unknown format, or one that has no use for an option.
            OutputError: it cannot be written.
        """
        file = Path(path)
        chosen = kind or kind_by_name(file, moving=True)
        encoding = Encoding.choose(chosen, moving=True, quality=quality, loop=loop, codec=codec)
        save_video(file, self.frames, self.fps, encoding, _text(self.record, encoding, metadata))
        return file


def _text(record: dict[str, Any], encoding: Encoding, metadata: bool) -> str | None:
    return dump_record(encoding.complete(record)) if metadata else None
