"""Step filter: from figures to what is kept; decodes nothing, so thresholds may change later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from fdream.data.prep.samples import Sample

if TYPE_CHECKING:
    from fdream.core.prep_recipe import FilterTable

# Threshold and the figure it is compared with, in the order in which reasons are given.
_BOUNDS: Final = (
    ("min_seconds", "seconds"),
    ("max_seconds", "seconds"),
    ("min_frames", "num_frames"),
    ("min_fps", "source_fps"),
    ("min_motion", "motion"),
    ("max_motion", "motion"),
    ("max_frozen", "frozen"),
    ("min_brightness", "brightness"),
    ("max_brightness", "brightness"),
    ("max_bars", "bars"),
    ("max_text", "text"),
    ("min_words", "words"),
    ("max_words", "words"),
)


def why_filtered(sample: Sample, thresholds: FilterTable) -> str:
    """Say why a clip does not pass; nothing when it does.

    A figure that could not be measured, such as the motion of a single picture, fails nothing.

    Args:
        sample: a clip with its figures.
        thresholds: the recipe's ``[filter]``.

    Returns:
        The threshold and both numbers, such as ``min_motion: 0.4 < 1``.
    """
    if thresholds.min_side is not None and sample.source_height and sample.source_width:
        side = min(sample.source_height, sample.source_width)
        if side < thresholds.min_side:
            return f"min_side: {side} < {thresholds.min_side}"
    for name, figure in _BOUNDS:
        limit, value = getattr(thresholds, name), getattr(sample, figure)
        if limit is None or value is None:
            continue
        if name.startswith("min") and value < limit:
            return f"{name}: {value:g} < {limit:g}"
        if name.startswith("max") and value > limit:
            return f"{name}: {value:g} > {limit:g}"
    if thresholds.languages and sample.language not in (None, *thresholds.languages):
        return f"languages: {sample.language} is none of {', '.join(thresholds.languages)}"
    return ""


def judge(samples: Iterable[Sample], thresholds: FilterTable) -> None:
    """Set the status of each clip by its figures; what is quarantined stays so."""
    for sample in samples:
        if not sample.quarantined:
            sample.error_message = why_filtered(sample, thresholds)
            sample.status = "filtered" if sample.error_message else "success"
