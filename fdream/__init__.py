"""Factorized-Dreamer text-to-video: first the image, then its motion.

    from fdream import text_to_video

    text_to_video("a corgi surfing", seed=1).save("corgi.mp4")

Importing this package imports nothing else: what is named here is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fdream.core.captions import CaptionPair
    from fdream.core.errors import FdreamError
    from fdream.pipelines.entry import Stages, image_to_video, text_to_image, text_to_video
    from fdream.pipelines.results import Clip, Still

__version__ = "0.1.0"

__all__ = [
    "CaptionPair",
    "Clip",
    "FdreamError",
    "Stages",
    "Still",
    "__version__",
    "image_to_video",
    "text_to_image",
    "text_to_video",
]

_HOMES = {
    "CaptionPair": "core.captions",
    "Clip": "pipelines.results",
    "FdreamError": "core.errors",
    "Stages": "pipelines.entry",
    "Still": "pipelines.results",
    "image_to_video": "pipelines.entry",
    "text_to_image": "pipelines.entry",
    "text_to_video": "pipelines.entry",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
