"""Checks for metrics."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fdream.stages.conformance.subject import Subject, expect
from fdream.stages.interfaces import ClipBatch

_CLIPS: Final = 4
_RELATIVE: Final = 1e-4


def columns_have_the_promised_form(subject: Subject) -> None:
    """``measure`` returns finite floats, one row a clip, in every column a figure summarises."""
    columns = subject.stage.measure(_clips())
    expect(bool(subject.stage.figures), "no figure is declared")
    for figure in subject.stage.figures:
        expect(figure.column in columns, f"figure {figure.name}: no column {figure.column!r}")
        values = columns[figure.column]
        rank = {"mean": (1,), "share": (1,), "frechet": (2, 3), "inception": (2, 3)}
        fits = values.ndim in rank[figure.statistic] and len(values) == _CLIPS
        expect(fits, f"figure {figure.name}: column {figure.column!r} has shape {values.shape}")
        sound = np.issubdtype(values.dtype, np.floating) and bool(np.isfinite(values).all())
        expect(sound, f"column {figure.column!r} holds {values.dtype} values, or not finite ones")
        if figure.statistic == "share":
            expect(bool(np.isin(values, (0, 1)).all()), f"column {figure.column!r} is not 0 or 1")


def runs_repeat(subject: Subject) -> None:
    """A fresh metric measures the same in the same clips."""
    first, second = (subject.another().measure(_clips()) for _ in range(2))
    for name, values in first.items():
        same = name in second and bool((values == second[name]).all())
        expect(same, f"a second run measured another {name!r}")


def a_batch_may_be_split(subject: Subject) -> None:
    """What is measured in a clip does not depend on the clips beside it."""
    together = subject.stage.measure(_clips())
    parts = [subject.stage.measure(_clips(slice(*span))) for span in ((0, 1), (1, _CLIPS))]
    for name, values in together.items():
        apart = np.concatenate([part[name] for part in parts])
        near = np.allclose(values, apart, rtol=_RELATIVE, atol=_RELATIVE * np.abs(values).max())
        expect(near, f"{name!r} differs between one batch of four and one and three")


def the_protocol_is_text(subject: Subject) -> None:
    """``protocol`` says in words what decides the figures, the same each time."""
    said = subject.stage.protocol()
    texts = all(isinstance(text, str) for pair in said.items() for text in pair)
    expect(texts, f"protocol returned {said!r}, not text by name")
    expect(said == subject.another().protocol(), "a second stage follows another protocol")


def _clips(part: slice = slice(None)) -> ClipBatch:
    """Return clips of coarse noise that slides to the right by two pixels a frame."""
    draws = np.random.default_rng(0)
    coarse = draws.integers(0, 256, (_CLIPS, 1, 8, 8, 3), dtype=np.uint8)
    still = coarse.repeat(8, axis=2).repeat(8, axis=3)
    frames = np.concatenate([np.roll(still, 2 * step, axis=3) for step in range(8)], axis=1)
    flow: NDArray[Any] = np.zeros((_CLIPS, 7, 64, 64, 2), np.float32)
    flow[..., 0] = 2
    return ClipBatch(
        frames=frames[part],
        captions=[f"clip {index}" for index in range(_CLIPS)][part],
        fps=[8.0] * len(frames[part]),
        flow=flow[part],
        visible=np.ones((_CLIPS, 7, 64, 64), bool)[part],
    )
