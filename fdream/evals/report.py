"""The report: figures with their intervals, clips side by side, best and worst, how much moves.

One file that loads nothing from elsewhere: clips are inside it, charts are SVG, and everything
that a stranger may have written is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fdream.core.errors import DataError
from fdream.core.paths import atomic_write
from fdream.core.report import printable
from fdream.core.sizes import Size
from fdream.data.encoding import Encoding
from fdream.data.writers import encode_video
from fdream.evals.clips import ClipRule, fit_frame
from fdream.evals.measuring import Measured
from fdream.evals.sets import Source

if TYPE_CHECKING:
    from fdream.evals.results import Result
    from fdream.stages.interfaces import Metric

_PAIRS: Final = 6
_EXTREMES: Final = 3
_SIDE: Final = 192
_BINS: Final = 20
_TEMPLATE: Final = "report.html.jinja"


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip on the page."""

    key: str
    caption: str
    video: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """What the page is made from.

    Attributes:
        result: the figures.
        real: what was measured of the reference set; None without one.
        fake: what was measured of the generated set.
        sources: real and generated ones by key.
        rules: which frames of either.
        metrics: that were run.
    """

    result: Result
    real: Measured | None
    fake: Measured
    sources: tuple[Mapping[str, Source], Mapping[str, Source]]
    rules: tuple[ClipRule, ClipRule]
    metrics: Mapping[str, Metric]


def write_html(path: Path, material: Material) -> None:
    """Write the page.

    Raises:
        OutputError: it cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    record = material.result.record()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["shown"] = lambda text: printable(str(text))
    environment.filters["number"] = lambda value: f"{value:.4g}"
    template = files("fdream.evals").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        result=record,
        pairs=_pairs(material),
        extremes=_extremes(material),
        histograms=_histograms(material),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _pairs(material: Material) -> list[tuple[Shown | None, Shown]]:
    """Return generated clips with the reference of the same name, or else of the same rank."""
    real_keys = [] if material.real is None else material.real.keys
    by_key = set(real_keys)
    pairs: list[tuple[Shown | None, Shown]] = []
    for rank, key in enumerate(material.fake.keys[:_PAIRS]):
        partner = key if key in by_key else real_keys[rank] if rank < len(real_keys) else None
        real = None if partner is None else _show(material, 0, partner)
        fake = _show(material, 1, key)
        if fake is not None:
            pairs.append((real, fake))
    return pairs


def _extremes(material: Material) -> list[dict[str, Any]]:
    """Return the best and the worst clips by each figure that clips have by themselves."""
    found = []
    for name, metric in material.metrics.items():
        columns = material.fake.columns.get((name, "clip"), {})
        for spec in metric.figures:
            if spec.statistic != "mean" or spec.column not in columns:
                continue
            values = columns[spec.column]
            order = np.argsort(values, kind="stable")
            down = order if spec.better == "lower" else order[::-1]
            count = min(_EXTREMES, len(order) // 2)
            if not count:
                continue
            words = ("best", "worst") if spec.better != "neither" else ("highest", "lowest")
            found.append(
                {
                    "name": spec.name,
                    "unit": spec.unit,
                    "sides": [
                        (words[0], _ranked(material, down[:count], values)),
                        (words[1], _ranked(material, down[::-1][:count], values)),
                    ],
                }
            )
    return found


def _ranked(
    material: Material, chosen: Sequence[int] | NDArray[np.integer], values: NDArray[np.floating]
) -> list[Shown]:
    shown = [
        _show(material, 1, material.fake.keys[index], f"{values[index]:.4g}") for index in chosen
    ]
    return [clip for clip in shown if clip is not None]


def _show(material: Material, side: int, key: str, value: str = "") -> Shown | None:
    source = material.sources[side].get(key)
    if source is None:  # measured elsewhere, such as saved features
        return None
    try:
        clip = source.read(material.rules[side])
        caption = source.caption()
    except DataError:
        return None  # gone since it was measured
    height, width = clip.frames.shape[1:3]
    scale = _SIDE / max(height, width)
    frames = clip.frames
    if scale < 1:
        size = Size(_even(height * scale), _even(width * scale))
        rule = ClipRule(size=size, resize="stretch")
        frames = np.stack([fit_frame(frame, rule) for frame in frames])
    data = encode_video(frames, clip.fps, Encoding("mp4"))
    video = f"data:video/mp4;base64,{base64.b64encode(data).decode('ascii')}"
    return Shown(key, caption, video, value)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _histograms(material: Material) -> list[dict[str, Any]]:
    """Return bars of every figure that clips have by themselves, both sets on one axis."""
    found = []
    for name, metric in material.metrics.items():
        generated = material.fake.columns.get((name, "clip"), {})
        reference = {}
        if material.real is not None:
            reference = material.real.columns.get((name, "clip"), {})
        for spec in metric.figures:
            if spec.statistic != "mean" or spec.column not in generated:
                continue
            sets = {"generated": generated[spec.column]}
            if spec.column in reference:
                sets = {"reference": reference[spec.column], **sets}
            found.append({"name": spec.name, "unit": spec.unit, **_bars(sets)})
    return found


def _bars(sets: Mapping[str, NDArray[np.floating]]) -> dict[str, Any]:
    low = float(min(values.min() for values in sets.values()))
    high = float(max(values.max() for values in sets.values()))
    high = high if high > low else low + 1
    shares = {
        title: (np.histogram(values, _BINS, (low, high))[0] / len(values)).tolist()
        for title, values in sets.items()
    }
    top = max(max(row) for row in shares.values())
    bars = {title: [share / top for share in row] for title, row in shares.items()}
    return {"low": low, "high": high, "bars": bars, "bins": _BINS}
