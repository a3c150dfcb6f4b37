"""Draws report.html of a run: one file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import median
from typing import Any, Final

from fdream.core.paths import atomic_write
from fdream.core.recipe_merge import differing_keys
from fdream.core.report import printable
from fdream.training.run_folder import RunFolder

Row = Mapping[str, float]

_TEMPLATE: Final = "report.html.jinja"
_WIDTH: Final = 320
_HEIGHT: Final = 110
_POINTS: Final = 240
_SHOWN_STEPS: Final = 6
_CHARTS: Final[Sequence[tuple[str, tuple[str, ...]]]] = (
    ("loss", ("loss",)),
    ("held-out loss, fixed noise", ("held_out_loss", "held_out_psnr")),
    ("denoising error", ("denoising", "denoising_single")),
    ("flow error of PredictNet", ("flow",)),
    ("flow gradient, in lengths of the denoising one", ("flow_ratio",)),
    ("samples: share of clips that move", ("sample_dynamic_degree",)),
    ("samples: motion, % of the width a second", ("sample_motion", "sample_motion_real")),
    ("samples: flow error, pixels a frame", ("sample_flow_error",)),
    ("length of the gradient", ("grad_norm",)),
    ("learning rate", ("lr",)),
    ("seconds a step", ("step_s",)),
    ("share of the time spent waiting for data", ("data_wait",)),
    ("most memory, GB", ("memory_gb",)),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: the figure's.
        points: ``x,y x,y ...`` in the chart's own units.
        last: its last value.
    """

    name: str
    points: str
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures of one kind over the steps.

    Attributes:
        title: what they are.
        curves: one for each figure that the run has.
        low: least value, as text.
        high: largest.
        last_step: where the axis ends.
    """

    title: str
    curves: list[Curve]
    low: str
    high: str
    last_step: int
    width: int = _WIDTH
    height: int = _HEIGHT


def write_report(folder: RunFolder, status: str) -> None:
    """Write ``report.html`` of a run from what lies in its folder.

    Captions come from strangers: everything is escaped, and the page forbids itself to load or to
    run anything.

    Args:
        folder: of the run.
        status: how it ended, in a few words.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(folder.root / "report.html") as aside:
        aside.write_text(page(folder, status), encoding="utf-8")


def page(folder: RunFolder, status: str) -> str:
    """Return the page."""
    from jinja2 import Environment

    rows = read_rows(folder)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = lambda text: printable(str(text))
    template = files("fdream.training").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=folder.root.name,
        status=status,
        facts=_facts(folder, rows),
        charts=charts(rows),
        samples=_samples(folder),
        promises=_promises(folder, rows),
        changed=_changed_since_plan(folder),
        proof=_json(folder, "resume-proof.json"),
        quarantined=folder.quarantine_rows(),
        recipe=_text(folder, "recipe.resolved.toml"),
    )


def read_rows(folder: RunFolder) -> list[Row]:
    """Return the rows of a run's log; of steps that were trained again after a kill, the last."""
    kept: dict[tuple[int, str], Row] = {}
    for line in _text(folder, folder.log.name).splitlines():
        row = json.loads(line)
        kept[int(row["step"]), "loss" if "loss" in row else ",".join(row)] = row
    return sorted(kept.values(), key=lambda row: row["step"])


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Draw the figures that a run has."""
    found = []
    for title, names in _CHARTS:
        series = {name: [(r["step"], r[name]) for r in rows if name in r] for name in names}
        shown = {n: points for n, points in series.items() if any(map(_is_finite, points))}
        if shown:
            found.append(_chart(title, shown))
    return found


def pace(rows: Sequence[Row]) -> dict[str, float]:
    """Return the middle seconds a step, the share of data wait, and the most memory of a run."""
    trained = [row for row in rows if "step_s" in row]
    # The first rows hold what happens once: compiling, reading files for the first time.
    settled = trained[1:] or trained
    if not settled:
        return {}
    found = {
        "step_s": median(row["step_s"] for row in settled),
        "data_wait": sum(row["data_wait"] for row in settled) / len(settled),
    }
    if any("memory_gb" in row for row in trained):
        found["memory_gb"] = max(row.get("memory_gb", 0.0) for row in trained)
    return found


def _chart(title: str, series: Mapping[str, list[tuple[float, float]]]) -> Chart:
    finite = [y for points in series.values() for _, y in filter(_is_finite, points)]
    low, high = min(finite), max(finite)
    last = max(points[-1][0] for points in series.values())
    if low == high:  # a level line belongs into the middle
        margin = max(0.5, abs(low) / 2)  # of a huge number one half is nothing
        low, high = low - margin, high + margin
    span = high - low

    def drawn(points: list[tuple[float, float]]) -> str:
        found = []
        for x, y in _thinned(points):
            across = _WIDTH * x / max(last, 1)
            up = _HEIGHT - 4 - (_HEIGHT - 8) * (min(max(y, low), high) - low) / span
            found.append(f"{across:.1f},{up:.1f}")
        # A single point would be no line.
        return " ".join(found if len(found) > 1 else [f"0,{found[0].split(',')[1]}", *found])

    curves = [Curve(name, drawn(points), f"{points[-1][1]:.4g}") for name, points in series.items()]
    return Chart(title, curves, f"{min(finite):.4g}", f"{max(finite):.4g}", int(last))


def _is_finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[1])


def _thinned(points: list[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Average neighbours until so many points are left as can be seen."""
    size = -(-len(points) // _POINTS)
    for first in range(0, len(points), size):
        part = list(filter(_is_finite, points[first : first + size]))
        if part:
            yield part[-1][0], sum(y for _, y in part) / len(part)


def _facts(folder: RunFolder, rows: Sequence[Row]) -> list[tuple[str, str]]:
    run = _json(folder, "run.json") or {}
    device = run.get("device", {})
    found: list[tuple[str, str]] = []
    if rows:
        last = rows[-1]
        found.append(("steps", f"{last['step']:.0f}, {last['samples']:.0f} samples"))
        found.append(("training time", f"{last['minutes']:.1f} minutes"))
    figures = pace(rows)
    if figures:
        found.append(("speed", f"{figures['step_s']:.3g} s a step"))
        found.append(("data wait", f"{100 * figures['data_wait']:.1f} % of the step"))
    if "memory_gb" in figures:
        found.append(("most memory", f"{figures['memory_gb']:.2f} GB"))
    if device:
        found.append(("device", f"{device.get('name')}, {device.get('dtype')}"))
    if run.get("processes"):
        found.append(("processes", str(run["processes"])))
    versions = ", ".join(f"{name} {v}" for name, v in run.get("versions", {}).items())
    return [*found, ("versions", versions)] if versions else found


def _samples(folder: RunFolder) -> list[dict[str, Any]]:
    """The drawn clips: a line for each caption, in it the steps from first to last."""
    steps = sorted(path for path in folder.samples.glob("step-*") if path.is_dir())
    if len(steps) > _SHOWN_STEPS:  # the first, the last, and some between
        last = len(steps) - 1
        steps = [steps[round(k * last / (_SHOWN_STEPS - 1))] for k in range(_SHOWN_STEPS)]
    lines: dict[str, dict[str, Any]] = {}
    for place in steps:
        captions = json.loads((place / "captions.json").read_text(encoding="utf-8"))
        for name, caption in captions.items():
            data = base64.b64encode((place / name).read_bytes()).decode()
            line = lines.setdefault(name, {"caption": caption, "clips": []})
            step = int(place.name.removeprefix("step-"))
            line["clips"].append({"step": step, "video": f"data:video/mp4;base64,{data}"})
    return list(lines.values())


def _promises(folder: RunFolder, rows: Sequence[Row]) -> list[dict[str, str]]:
    """What `--plan` said, beside what came."""
    plan = _json(folder, "plan.json")
    if plan is None:
        return []
    came = {**pace(rows), "disk_gb": folder.bytes_on_disk / 1e9}
    if rows:
        came["minutes"] = rows[-1]["minutes"]
    found = []
    for name, promised in plan["predicted"].items():
        line = {"name": name, "promised": f"{promised:.4g}", "came": "not measured", "off": ""}
        if name in came:
            line["came"] = f"{came[name]:.4g}"
            line["off"] = f"{100 * (came[name] / promised - 1):+.0f} %" if promised else ""
        found.append(line)
    return found


def _changed_since_plan(folder: RunFolder) -> list[str]:
    """Keys of the recipe that `--plan` did not know so."""
    plan = _json(folder, "plan.json")
    if plan is None:
        return []
    now = tomllib.loads(_text(folder, "recipe.resolved.toml"))
    return [key for key in differing_keys(plan["recipe"], now) if not key.startswith("run.")]


def _text(folder: RunFolder, name: str) -> str:
    path = folder.root / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _json(folder: RunFolder, name: str) -> dict[str, Any] | None:
    text = _text(folder, name)
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found
