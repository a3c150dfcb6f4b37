"""Figures: each with its protocol, its interval, and a warning where the sample is too small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fdream.core.errors import DataError
from fdream.evals.extrapolation import (
    SAMPLES_A_FEATURE,
    can_extrapolate,
    extrapolate,
    extrapolate_without,
)
from fdream.evals.frechet import Moments, frechet_distance, leave_one_out
from fdream.evals.kernel import kernel_distances
from fdream.evals.reference import torchmetrics_distance
from fdream.evals.resampling import (
    Interval,
    bootstrap_mean,
    groups_of,
    jackknife,
    leave_out_means,
    wilson,
)
from fdream.stages.interfaces import FigureSpec

Rows = NDArray[np.float32]

_COSTLY: Final = 1024
"""Above so many features a line through subsets takes hours on a CPU and is left out."""
_FEW_VIDEOS: Final = 100
_HAVE_REFERENCE: Final = ("fid",)
"""Figures that torchmetrics has too: its value, from the same features, stands beside ours."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a set of videos.

    Attributes:
        name: such as ``fvd``.
        value: the figure.
        interval: 95 %; None where the sample is too small for an honest one.
        better: which way is better.
        unit: such as ``dB``.
        n_real: reference videos it is made of; 0 where there are none.
        n_fake: generated videos.
        protocol: everything else that decides it, by name.
        beside: what it has to be read with, by name: the same figure of the reference set, of its
            two halves against each other, of frozen clips.
        warnings: why it should not be trusted, or not be compared.
        without: its values with each group of videos left out, for paired comparisons.
        consistency: whether a frozen clip scores perfectly.
    """

    name: str
    value: float
    interval: Interval | None
    better: Literal["lower", "higher", "neither"]
    unit: str
    n_real: int
    n_fake: int
    protocol: dict[str, str]
    beside: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    without: tuple[float, ...] = ()
    consistency: bool = False

    def protocol_text(self) -> str:
        """Say the protocol, the counts among it, in one line."""
        said = {**self.protocol, "n": f"{self.n_real} real, {self.n_fake} generated"}
        return "; ".join(f"{name} {text}" for name, text in said.items())

    def protocol_hash(self) -> str:
        """Return what is equal for figures that may be compared, and for no others."""
        said = {**self.protocol, "n": [self.n_real, self.n_fake], "figure": self.name}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return the figure as JSON values."""
        interval = None
        if self.interval is not None:
            low, high = self.interval.low, self.interval.high
            interval = {"level": 0.95, "low": low, "high": high, "method": self.interval.method}
        return {
            "value": self.value,
            "interval": interval,
            "better": self.better,
            "unit": self.unit,
            "n_real": self.n_real,
            "n_fake": self.n_fake,
            "protocol": self.protocol,
            "protocol_text": self.protocol_text(),
            "protocol_hash": self.protocol_hash(),
            "beside": self.beside,
            "warnings": list(self.warnings),
            "without": list(self.without),
            "consistency": self.consistency,
        }


def kernel_name(name: str) -> str:
    """Return what the kernel distance beside a Frechet figure is called: fvd, kvd; fid, kid."""
    return f"k{name[1:]}" if name.startswith("f") else f"{name}_kernel"


def frechet_figures(
    spec: FigureSpec,
    real: Rows,
    fake: Rows,
    frozen: Rows | None,
    protocol: Mapping[str, str],
    on_step: Callable[[], None] = lambda: None,
) -> list[Figure]:
    """Make a Frechet distance, its limit and the kernel distance beside it.

    Args:
        spec: how the figure is called.
        real: (N, D) or (N, K, D), in drawn order.
        fake: (M, D) or (M, K, D), likewise.
        frozen: the generated clips' first frames repeated, or None.
        protocol: what decides the figures.
        on_step: called for each group of the limit's interval, which can take minutes.

    Raises:
        DataError: a set has fewer than two videos.
    """
    count = min(len(real), len(fake))
    _require(spec.name, len(real), len(fake))
    beside = _baselines(real, frozen, count)
    real, fake = real[:count], fake[:count]
    if spec.name in _HAVE_REFERENCE:
        found = torchmetrics_distance(_flat(real), _flat(fake))
        beside |= {} if found is None else {"torchmetrics": found}
    groups = groups_of(count)
    features, samples = real.shape[-1], count * (real.shape[1] if real.ndim == 3 else 1)
    said = {**protocol, "groups": _group_text(groups)}
    warnings = []
    if samples < SAMPLES_A_FEATURE * features:
        warnings.append(
            f"{samples} samples of {features} features: too few for a Frechet distance (mostly "
            f"bias, and no limit is extrapolated); read {kernel_name(spec.name)}, or take "
            f"{SAMPLES_A_FEATURE * features} samples or more"
        )
    if groups is None:
        warnings.append(f"{count} videos: too few for an interval")

    def figure(name: str, value: float, without: NDArray[np.float64] | None, **more: Any) -> Figure:
        return Figure(
            name=name,
            value=value,
            interval=None if without is None else jackknife(value, without),
            better=spec.better,
            unit=spec.unit,
            n_real=count,
            n_fake=count,
            protocol=said,
            warnings=tuple(warnings),
            without=() if without is None else tuple(without.tolist()),
            **more,
        )

    value, without = _frechet(_flat(real), _flat(fake), groups, real.shape)
    made = [figure(spec.name, value, without, beside=beside)]
    if can_extrapolate(samples, features) and features < _COSTLY:
        spread = _spread(groups, real.shape)
        limit = extrapolate(_flat(real), _flat(fake))
        limits = (
            None
            if spread is None
            else extrapolate_without(_flat(real), _flat(fake), spread, on_step)
        )
        made.append(figure(f"{spec.name}_infinity", limit, limits))
    spread = _spread(groups, real.shape)
    spread = np.zeros(samples, np.int64) if spread is None else spread
    kernel, kernels = kernel_distances(_flat(real), _flat(fake), spread, spread)
    warnings = [w for w in warnings if "Frechet" not in w]
    made.append(figure(kernel_name(spec.name), kernel, None if groups is None else kernels))
    return made


def mean_figure(
    spec: FigureSpec, real: Rows | None, fake: Rows, protocol: Mapping[str, str]
) -> Figure:
    """Make a mean, or a share, over generated videos; that of the reference stands beside it."""
    values = np.asarray(fake, np.float64)
    groups = groups_of(len(values))
    warnings = []
    if len(values) < _FEW_VIDEOS:
        warnings.append(f"{len(values)} videos: a mean of fewer than {_FEW_VIDEOS} moves much")
    value = float(values.mean())
    share = spec.statistic == "share"
    return Figure(
        name=spec.name,
        value=value,
        interval=wilson(value, len(values)) if share else bootstrap_mean(values),
        better=spec.better,
        unit=spec.unit,
        n_real=0 if real is None else len(real),
        n_fake=len(values),
        protocol={**protocol, "groups": _group_text(groups)},
        beside={} if real is None else {"reference": float(np.mean(real, dtype=np.float64))},
        warnings=tuple(warnings),
        without=() if groups is None else tuple(leave_out_means(values, groups).tolist()),
        consistency=spec.consistency,
    )


def inception_figure(
    spec: FigureSpec, real: Rows | None, fake: Rows, protocol: Mapping[str, str]
) -> Figure:
    """Make an Inception score from class probabilities, (N, C) or (N, K, C).

    Source: Salimans et al., arXiv 1606.03498. Ours: over the whole set; the usual ten splits make
    ten small and more biased scores of one.
    """
    groups = groups_of(len(fake))
    without = None
    if groups is not None:
        kept = [inception_score(fake[groups != g]) for g in range(int(groups.max()) + 1)]
        without = np.array(kept)
    value = inception_score(fake)
    return Figure(
        name=spec.name,
        value=value,
        interval=None if without is None else jackknife(value, without),
        better=spec.better,
        unit=spec.unit,
        n_real=0 if real is None else len(real),
        n_fake=len(fake),
        protocol={**protocol, "groups": _group_text(groups), "splits": "none"},
        beside={} if real is None else {"reference": inception_score(real)},
        warnings=("too few videos for an interval",) if without is None else (),
        without=() if without is None else tuple(without.tolist()),
    )


def inception_score(probabilities: Rows) -> float:
    """Return exp of the mean divergence of each answer from the mean answer, 1 or more."""
    answers = np.asarray(_flat(probabilities), np.float64)
    answers = np.clip(answers / answers.sum(axis=1, keepdims=True), 1e-16, None)
    mean = answers.mean(axis=0)
    return float(np.exp((answers * (np.log(answers) - np.log(mean))).sum(axis=1).mean()))


def _require(name: str, n_real: int, n_fake: int) -> None:
    for title, count in (("reference", n_real), ("generated", n_fake)):
        if count < 2:
            raise DataError(
                f"{name}: {count} video in the {title} set; a distance between sets needs 2 or "
                "more of each, and says something from some hundred on."
            )


def _baselines(real: Rows, frozen: Rows | None, count: int) -> dict[str, float]:
    """Return what the figure has to be read with.

    The halves are as large as the sets that are compared, where the reference has twice as many
    videos: then both distances carry the same bias.
    """
    beside: dict[str, float] = {}
    half = min(len(real) // 2, count)
    if half >= 2:
        first, second = _flat(real[:half]), _flat(real[half : 2 * half])
        beside[f"real_halves_n{half}"] = _frechet(first, second, None, real.shape)[0]
    if frozen is not None:
        still = _frechet(_flat(real[:count]), _flat(frozen[:count]), None, real.shape)[0]
        beside["first_frame_repeated"] = still
    return beside


def _frechet(
    real: Rows, fake: Rows, groups: NDArray[np.int64] | None, shape: tuple[int, ...]
) -> tuple[float, NDArray[np.float64] | None]:
    """Return the distance of (n, D) samples, and those without each group of videos."""
    spread = _spread(groups, shape)
    if spread is None:
        return frechet_distance(Moments.of(real), Moments.of(fake)), None
    numbers = range(int(spread.max()) + 1)
    sides = [[Moments.of(rows[spread == number]) for number in numbers] for rows in (real, fake)]
    real_all, fake_all = (_merged(parts) for parts in sides)
    pairs = zip(*(leave_one_out(parts) for parts in sides), strict=True)
    without = np.array([frechet_distance(a, b) for a, b in pairs])
    return frechet_distance(real_all, fake_all), without


def _merged(parts: list[Moments]) -> Moments:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    return whole


def _flat(rows: Rows) -> Rows:
    return rows.reshape(-1, rows.shape[-1])


def _spread(groups: NDArray[np.int64] | None, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Give all parts of a video the group of the video."""
    if groups is None or len(shape) == 2:
        return groups
    return np.repeat(groups, shape[1])


def _group_text(groups: NDArray[np.int64] | None) -> str:
    return "none" if groups is None else f"{int(groups.max()) + 1}, dealt by key"
