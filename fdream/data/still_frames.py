"""A video as pictures: a folder of numbered PNG files with its record, or all on one sheet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from einops import rearrange
from PIL import Image

from fdream.data.metadata import RECORD_FILE, read_record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.sizes import Size

_FRAME: Final = re.compile(r"[0-9]{5,}\.png")


def write_frames(folder: Path, frames: NDArray[np.uint8], record: str | None) -> None:
    """Make a folder of ``00000.png``, ``00001.png``, ... and, beside them, ``fdream.json``.

    Args:
        folder: does not exist yet.
        frames: uint8 (F, H, W, 3), RGB.
        record: the metadata, JSON text; None writes none.
    """
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05d}.png", "PNG")
    if record:
        (folder / RECORD_FILE).write_bytes(record.encode() + b"\n")


def frame_files(folder: Path) -> list[Path]:
    """Return the numbered pictures of a folder in the order of their numbers."""
    return sorted(
        (entry for entry in folder.iterdir() if _FRAME.fullmatch(entry.name)),
        key=lambda entry: int(entry.stem),
    )


def is_frame_folder(path: Path) -> bool:
    """Whether a folder is a result of ours and nothing else, so that another may replace it."""
    if not (path / RECORD_FILE).is_file():
        return False
    others = [entry for entry in path.iterdir() if entry.name != RECORD_FILE]
    frames = all(_FRAME.fullmatch(entry.name) and entry.is_file() for entry in others)
    return frames and read_record(path).record is not None


def sheet_grid(num_frames: int) -> tuple[int, int]:
    """Return the rows and columns of a sheet, as near to a square as they come."""
    columns = int(np.ceil(np.sqrt(num_frames)))
    return -(-num_frames // columns), columns


def join_sheet(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay all frames out in one picture, row by row; what is left over is black.

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        uint8 (rows * H, columns * W, 3).
    """
    count, height, width = frames.shape[:3]
    rows, columns = sheet_grid(count)
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = frame
    return sheet


def split_sheet(sheet: NDArray[np.uint8], num_frames: int, size: Size) -> NDArray[np.uint8] | None:
    """Cut a sheet into its frames again.

    Args:
        sheet: uint8 (H, W, 3), any picture.
        num_frames: how many it is said to show.
        size: of each.

    Returns:
        uint8 (num_frames, h, w, 3), or None where the picture is no such sheet.
    """
    rows, columns = sheet_grid(num_frames)
    if sheet.shape[:2] != (rows * size.height, columns * size.width):
        return None
    cells = rearrange(sheet, "(r h) (c w) k -> (r c) h w k", r=rows, c=columns)
    return cells[:num_frames]
