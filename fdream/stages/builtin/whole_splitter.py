"""The splitter ``whole``: the caption stands for both what is seen and what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from fdream.core.captions import CaptionPair
from fdream.stages.interfaces import SplitterStage

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.spec import StageOptions


@final
class WholeSplitter(SplitterStage):
    """Splitter ``whole``; loses nothing and needs nothing."""

    in_processes = True

    def __init__(self, options: StageOptions, *, device: DeviceManager) -> None:
        del options, device

    def split(self, captions: list[str]) -> list[CaptionPair]:
        """Return each caption twice."""
        return [CaptionPair(caption, caption) for caption in captions]
