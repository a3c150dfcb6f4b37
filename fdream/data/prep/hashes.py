"""Perceptual hashes of clips, and the search for duplicates in a run of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOMENTS: Final = (1, 3, 5, 7)  # eighths of the clip
_SIDE: Final = 32
_KEPT: Final = 8
BITS: Final = len(_MOMENTS) * _KEPT * _KEPT


def clip_hash(greys: list[NDArray[np.uint8]]) -> str:
    """Hash a clip by four of its pictures, so that it takes motion as well as looks to be equal.

    Args:
        greys: uint8 (h, w) copies in order, at least one.

    Returns:
        256 bits, hexadecimal. Scaling and coding again change a few of them.

    Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
    the DCT hash.
    """
    chosen = [greys[len(greys) * eighth // 8] for eighth in _MOMENTS]
    return b"".join(picture_hash(grey).tobytes() for grey in chosen).hex()


def picture_hash(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the 64-bit DCT hash of a picture, uint8 (8,)."""
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[1 : _KEPT + 1, 1 : _KEPT + 1]
    return np.packbits(low > np.median(low))


class HashIndex:
    """Finds an earlier clip that is nearly the same, by looking at all of them.

    A look at a million hashes takes about a millisecond, which is nothing beside decoding a clip;
    a cleverer index would have to be exact as well, or results would depend on its luck.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._words = np.zeros((BITS // 64, 1024), np.uint64)
        self._sources = np.zeros(1024, np.int64)
        self._count = 0

    def nearest(self, phash: str, source: int, within: int) -> int | None:
        """Find the first earlier clip of another source within so many bits.

        Args:
            phash: as ``clip_hash`` returns it.
            source: number of the source; clips of one source are never each other's duplicates,
                a fixed camera would lose most of its clips.
            within: bits.

        Returns:
            The place of that clip in the order of ``add``; None where there is none.
        """
        wanted = _words(phash)
        # The first word alone tells most of them apart.
        first = self._words[0, : self._count]
        near = np.flatnonzero(np.bitwise_count(first ^ wanted[0]) <= within)
        near = near[self._sources[near] != source]
        distances = np.bitwise_count(self._words[:, near] ^ wanted[:, None]).sum(axis=0)
        found = near[distances <= within]
        return int(found[0]) if len(found) else None

    def add(self, phash: str, source: int) -> None:
        """Remember a clip."""
        if self._count == len(self._sources):
            self._words = np.concatenate([self._words, np.zeros_like(self._words)], axis=1)
            self._sources = np.concatenate([self._sources, np.zeros_like(self._sources)])
        self._words[:, self._count] = _words(phash)
        self._sources[self._count] = source
        self._count += 1


def _words(phash: str) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex(phash), ">u8").astype(np.uint64)
