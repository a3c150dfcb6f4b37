"""Scores as lines of text, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.judges.protocol import BACKGROUND_BAR_LEVELS, BARS_PERCENT, FIRST_FRAME_BAR_DB

_MEASURED: Final = {
    "first_frame_db": (f">= {FIRST_FRAME_BAR_DB:.0f} dB", "percentile_5"),
    "background_levels": (f"< {BACKGROUND_BAR_LEVELS:.0f}/255", "percentile_95"),
    "sprite_levels": ("-", "percentile_95"),
    "seconds": ("-", "percentile_95"),
}
"""Measurement -> (bar, the percentile at its bad end)."""


def table(title: str, scores: Mapping[str, Any], ceilings: Mapping[str, Any]) -> list[str]:
    """Lay out one run: shares with interval, bar and ceilings, then what was measured.

    Args:
        title: of the table.
        scores: ``score.figures`` of the run.
        ceilings: ``score.figures`` of real renderings (``real``), their round trip (``round_trip``)
            and their blobs (``blob``); a missing one is shown as a dash.
    """
    head = f"{'right':>9}{'%':>7}{'95 % interval':>16}{'bar':>7}"
    head += f"{'real':>8}{'round trip':>12}{'blob':>7}"
    lines = [f"{title:18}{head}"]
    for name, figure in scores.items():
        if "percent" not in figure:
            lines.append(_measurement(name, figure, ceilings))
            continue
        low, high = figure["interval_percent"]
        bar = f"{BARS_PERCENT[name]:.0f}" if name in BARS_PERCENT else "-"
        beside = [_percent(ceilings, kind, name) for kind in ("real", "round_trip", "blob")]
        counts = f"{figure['right']}/{figure['of']}"
        lines.append(
            f"{name:18}{counts:>9}{figure['percent']:>7.1f}{f'{low:.1f} .. {high:.1f}':>16}"
            f"{bar:>7}{beside[0]:>8}{beside[1]:>12}{beside[2]:>7}"
        )
    return lines


def markdown(result: Mapping[str, Any], runs: Mapping[str, str]) -> str:
    """Lay out a committed score for README and model card.

    Args:
        result: the JSON of ``benchmarks.pocket``.
        runs: run -> heading of its column.

    Returns:
        A Markdown table: a row for each bar, a column for each run, with 95 % intervals, and the
        judges' ceiling on the round trip of real renderings last.
    """
    lines = [
        "| | bar | " + " | ".join(runs.values()) + " | ceiling |",
        "|---" * (len(runs) + 3) + "|",
    ]
    for name, bar in BARS_PERCENT.items():
        cells = []
        for run in runs:
            figure = result["runs"][run][name]
            low, high = figure["interval_percent"]
            cells.append(f"{figure['percent']:.1f} % ({low:.1f} to {high:.1f})")
        ceiling = result["ceilings_percent"]["clip"]["round_trip"][name]
        lines.append(f"| {name} right | {bar:.0f} % | {' | '.join(cells)} | {ceiling:.1f} % |")
    for name, (bar, _) in _MEASURED.items():
        if bar == "-":
            continue
        cells = [f"{result['runs'][run][name]['mean']:.1f}" for run in runs]
        words = name.rsplit("_", 1)[0].replace("_", " ")
        lines.append(f"| {words} | {bar} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _percent(ceilings: Mapping[str, Any], kind: str, question: str) -> str:
    figure = ceilings.get(kind, {}).get(question)
    return f"{figure['percent']:.1f}" if figure else "-"


def _measurement(name: str, figure: Mapping[str, Any], ceilings: Mapping[str, Any]) -> str:
    bar, bad_end = _MEASURED[name]
    beside = ceilings.get("round_trip", {}).get(name)
    trip = f"; of the round trip {beside['mean']:.2f}" if beside else ""
    return (
        f"{name:18} mean {figure['mean']:.2f} (bar {bar}), median {figure['median']:.2f}, "
        f"{bad_end.replace('_', ' ')} {figure[bad_end]:.2f}{trip}"
    )
