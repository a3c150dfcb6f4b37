"""Checks for splitters."""

from __future__ import annotations

from typing import Final

from fdream.core.captions import CaptionPair
from fdream.stages.conformance.subject import Subject, expect

_CAPTIONS: Final = ["a corgi surfing on a wave", "The sea.", "", "a man, waving; slow zoom in"]


def every_caption_becomes_a_pair(subject: Subject) -> None:
    """One ``CaptionPair`` of two strings for each caption, an empty one and none at all too."""
    pairs = subject.stage.split(list(_CAPTIONS))
    expect(len(pairs) == len(_CAPTIONS), f"{len(pairs)} pairs for {len(_CAPTIONS)} captions")
    for pair in pairs:
        formed = isinstance(pair, CaptionPair) and all(
            isinstance(half, str) for half in (pair.appearance, pair.motion)
        )
        expect(formed, f"split returned {pair!r}, not a CaptionPair of strings")
    expect(subject.stage.split([]) == [], "no captions must give no pairs")


def runs_repeat(subject: Subject) -> None:
    """The same captions have the same pairs."""
    first, second = (subject.stage.split(list(_CAPTIONS)) for _ in range(2))
    expect(first == second, "a second call split the same captions differently")


def a_batch_may_be_split(subject: Subject) -> None:
    """A caption's pair does not depend on its neighbours."""
    together = subject.stage.split(list(_CAPTIONS))
    alone = [pair for caption in _CAPTIONS for pair in subject.stage.split([caption])]
    expect(together == alone, "in a batch and alone captions are split differently")
