"""The splitter ``grammar``: offline, fast, and true to the words of the caption."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from fdream.core.captions import STILL, CaptionPair
from fdream.stages.builtin.grammar.languages import foreign
from fdream.stages.builtin.grammar.reader import read
from fdream.stages.builtin.grammar.tagger import CaptionTagger, clean
from fdream.stages.builtin.grammar.wording import camera_motion, halves, one_line
from fdream.stages.interfaces import SplitterStage

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.spec import StageOptions

_CERTAINTY: Final = 0.8
"""What is left of the confidence after each decision that the tagger did not make."""


@final
class GrammarSplitter(SplitterStage):
    """Splitter ``grammar``: HanTa's parts of speech, read by the rule of docs/captions.md."""

    in_processes = True

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device
        self._tagger = CaptionTagger()

    def split(self, captions: list[str]) -> list[CaptionPair]:
        """Split captions, each on its own."""
        return [self._split(caption) for caption in captions]

    def _split(self, caption: str) -> CaptionPair:
        text = clean(caption)
        if not re.search(r"[^\W_]", text):
            whole = one_line(text)
            return CaptionPair(whole, STILL if whole else "", confidence=0.0, note="no words")
        language = foreign(self._tagger, text)
        if language:
            whole = one_line(text)
            return CaptionPair(whole, whole, confidence=0.0, note=f"not English ({language})")
        reading = read(self._tagger.tokens(text), self._tagger)
        appearance, motion = halves(reading.tokens, text)
        return CaptionPair(
            appearance,
            motion,
            camera=camera_motion(reading.tokens),
            confidence=round(_CERTAINTY ** len(reading.doubted), 3),
        )
