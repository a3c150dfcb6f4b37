"""Draws report.html: one file that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fdream.core.paths import atomic_write
from fdream.core.report import printable
from fdream.data.prep.report import Findings, Histogram, data_address

if TYPE_CHECKING:
    from fdream.data.shards.overlay import Overlay

_WIDTH: Final = 300
_HEIGHT: Final = 90
_TEMPLATE: Final = "report.html.jinja"


def write_report(path: Path, findings: Findings) -> None:
    """Write the page.

    Captions, names and reasons come from strangers: everything is escaped, and the page forbids
    itself to load or to run anything.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(page(findings), encoding="utf-8")


def page(findings: Findings) -> str:
    """Return the page."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = lambda text: printable(str(text))
    template = files("fdream.data.prep").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=findings.title,
        tally=findings.tally,
        funnel=_funnel(findings),
        charts=[_chart(histogram) for histogram in findings.histograms],
        kept=findings.kept,
        filtered=findings.filtered,
        quarantined=findings.quarantined,
        captions=findings.captions(),
        overlay=_overlay(findings.overlay),
        recipe=findings.recipe,
    )


def _funnel(findings: Findings) -> list[dict[str, Any]]:
    """Return the rows of the funnel: what came in, where it was lost, what is left."""
    tally = findings.tally
    whole = max(tally.came_in, 1)
    rows = [("in", tally.came_in, "in"), ("quarantined", tally.quarantined.total(), "lost")]
    rows += [(name, number, "filtered") for name, number in tally.filtered.most_common()]
    rows.append(("kept", tally.kept, "kept"))
    return [
        {"name": name, "number": number, "kind": kind, "percent": round(100 * number / whole, 1)}
        for name, number, kind in rows
    ]


def _chart(histogram: Histogram) -> dict[str, Any]:
    """Return bars and threshold lines in the coordinates of a small drawing."""
    both = [a + b for a, b in zip(histogram.kept, histogram.filtered, strict=True)]
    tallest = max(*both, 1)
    step = _WIDTH / len(both)
    bars = [
        {
            "x": round(index * step, 2),
            "width": round(step - 1, 2),
            "kept": round(kept / tallest * _HEIGHT, 2),
            "filtered": round(filtered / tallest * _HEIGHT, 2),
        }
        for index, (kept, filtered) in enumerate(
            zip(histogram.kept, histogram.filtered, strict=True)
        )
    ]
    span = histogram.high - histogram.low
    lines = [
        {
            "x": round(min(max((at - histogram.low) / span, 0), 1) * _WIDTH, 2),
            "name": name,
            "at": at,
        }
        for name, at in histogram.limits.items()
    ]
    return {
        "title": histogram.title,
        "low": _short(histogram.low),
        "high": _short(histogram.high),
        "bars": bars,
        "lines": lines,
        "width": _WIDTH,
        "height": _HEIGHT,
    }


def _short(figure: float) -> str:
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _overlay(overlay: Overlay | None) -> dict[str, Any] | None:
    if overlay is None:
        return None
    # On a mid grey both light and dark marks are seen.
    alpha = overlay.alpha[..., None]
    seen = (128 * (1 - alpha) + overlay.colour * alpha).round().astype(np.uint8)
    return {
        "picture": data_address(seen, "png"),
        "mask": data_address(overlay.mask.astype(np.uint8) * 255, "png"),
        "area": round(100 * overlay.area, 2),
        "clips": overlay.clips,
        "alpha": round(float(overlay.alpha[overlay.mask].mean()), 2),
    }
