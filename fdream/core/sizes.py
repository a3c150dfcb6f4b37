"""Picture sizes: (height, width) in code, WIDTHxHEIGHT where people write them."""

from __future__ import annotations

import re
from typing import NamedTuple

from fdream.core.errors import UsageError


class Size(NamedTuple):
    """A picture size in pixels, height first as in every array."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``"160x96"`` (width first, as ffmpeg writes it) or ``"128"`` (a square).

        Args:
            text: what the user wrote.

        Raises:
            UsageError: not of that form, or a side of zero.
        """
        found = re.fullmatch(r"\s*(\d{1,5})\s*(?:[xX]\s*(\d{1,5})\s*)?", text, re.ASCII)
        width = int(found[1]) if found else 0
        height = int(found[2] or found[1]) if found else 0
        if not width or not height:
            raise UsageError(
                f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 160x96, "
                "or one number for a square, such as 128."
            )
        return cls(height=height, width=width)

    def rounded(self, multiple: int) -> Size:
        """Return the nearest size whose sides are multiples of a number, at least one of them."""
        height, width = (max(1, round(side / multiple)) * multiple for side in self)
        return Size(height, width)

    def __str__(self) -> str:
        """Return WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"
