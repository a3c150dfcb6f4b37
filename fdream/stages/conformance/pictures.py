"""Checks for what makes pictures: priors and video generators."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fdream.core.captions import CaptionPair
from fdream.core.seeds import noise_seed
from fdream.core.sizes import Size
from fdream.stages.conformance.subject import (
    NotApplicable,
    Subject,
    expect,
    expect_close_frames,
    expect_equal,
    expect_frames,
)
from fdream.stages.conformance.weights import expect_reloads
from fdream.stages.interfaces import SampleOptions, TrainableGenerator, VideoGenerator

CAPTIONS: Final = ["a red ball on a green field", "a boat on the sea"]
PAIRS: Final = [CaptionPair(CAPTIONS[0], "moving left"), CaptionPair(CAPTIONS[1], "bouncing")]

# Enough to take a step that has both a successor and an end, and no more: checks should be quick.
_STEPS: Final = 2


def frames_have_the_promised_form(subject: Subject) -> None:
    """The output is uint8 RGB of exactly the shape asked for."""
    frames = make(subject, [0, 1])
    size: Size = subject.stage.default_size
    length = () if subject.kind == "prior" else (num_frames(subject),)
    expect_frames(frames, (2, *length, size.height, size.width, 3), _call(subject))


def a_seed_decides_everything(subject: Subject) -> None:
    """The same seeds give the same frames, whatever torch's global generator has been through."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = make(subject, [0, 1])
        torch.manual_seed(2)
        second = make(subject, [0, 1])
    expect_equal(first, second, f"{_call(subject)} gave other frames for the same seeds")


def a_fresh_stage_agrees(subject: Subject) -> None:
    """A second instance gives the same frames: nothing is drawn when a stage is built."""
    other = Subject(subject.kind, subject.name, subject.options, subject.device)
    expect_close_frames(make(subject, [0]), make(other, [0]), "built twice,")


def a_batch_may_be_split(subject: Subject) -> None:
    """A sample does not depend on its neighbours in the batch."""
    together = make(subject, [0, 1])
    apart = np.concatenate([make(subject, [0]), make(subject, [1])])
    expect_close_frames(together, apart, "in a batch and alone")


def weights_survive_a_file(subject: Subject) -> None:
    """Weights saved as safetensors load strictly into a fresh stage, which makes the same."""
    expected = make(subject, [0])
    other = Subject(subject.kind, subject.name, subject.options, subject.device)
    make(other, [0])  # components may load on first use
    expect_reloads(subject.stage, other.stage)
    expect_equal(expected, make(other, [0]), "after reloading its weights it makes other frames")


def progress_is_reported(subject: Subject) -> None:
    """If ``on_step`` is called, it counts up to its total, with or without guidance."""
    for guidance in (None, 1.0):
        seen: list[int] = []
        totals: set[int] = set()
        make(subject, [0], guidance=guidance, on_step=_recorder(seen, totals))
        if not seen:
            raise NotApplicable("it reports no steps")
        expect(len(totals) == 1, f"on_step was called with the totals {sorted(totals)}")
        expect(
            seen == list(range(1, min(totals) + 1)),
            f"on_step counted {seen[:6]}, expected 1 to {min(totals)} one by one",
        )


def it_describes_itself(subject: Subject) -> None:
    """``unknown_words`` lists words of the caption; ``provenance`` fits into JSON.

    A generator answers ``knows_photos`` with yes or no.
    """
    words = subject.stage.unknown_words("a zorblax on a field")
    expect(
        isinstance(words, list) and set(words) <= {"a", "zorblax", "on", "field"},
        f"unknown_words returned {words!r}, expected words of the caption",
    )
    if isinstance(subject.stage, VideoGenerator):
        photos: object = subject.stage.knows_photos()
        expect(isinstance(photos, bool), f"knows_photos returned {photos!r}, expected a bool")
    found = subject.stage.provenance()
    try:
        kept = json.loads(json.dumps(found)) == found
    except (TypeError, ValueError):
        kept = False
    expect(isinstance(found, dict) and kept, f"provenance returned {found!r}, not plain JSON data")


def inputs_are_left_alone(subject: Subject) -> None:
    """``animate`` does not write into the frames it is given."""
    first = first_frames(subject, [0])
    kept = first.copy()
    _animate(subject, first, [0])
    expect_equal(first, kept, "animate changed first_frames")


def inner_steps_fit_together(subject: Subject) -> None:
    """Encode, condition, predict and decode speak of the same latents, and gradients flow."""
    stage = subject.stage
    if not isinstance(stage, TrainableGenerator):
        raise NotApplicable("it is not a TrainableGenerator")
    count, size = num_frames(subject), stage.default_size
    pixels = torch.linspace(-1, 1, 2 * 3 * count * size.height * size.width)
    frames = subject.device.place(pixels.reshape(2, 3, count, size.height, size.width))
    with torch.no_grad():
        latents = stage.encode(frames)
        decoded = stage.decode(latents)
    expect(
        latents.ndim == 5 and latents.shape[0] == 2 and latents.shape[2] == count,
        f"encode returned {tuple(latents.shape)}, expected (2, C, {count}, h, w)",
    )
    expect(decoded.shape == frames.shape, f"decode returned {tuple(decoded.shape)}")
    fps = subject.device.place(torch.full((2,), stage.default_fps))
    condition = stage.condition(frames[:, :, 0], PAIRS, fps)
    t = torch.tensor([10, stage.schedule.num_steps - 1], device=latents.device)
    prediction = stage.predict(latents, t, condition)
    expect(
        prediction.output.shape == latents.shape,
        f"predict returned {tuple(prediction.output.shape)} for {tuple(latents.shape)}",
    )
    expect(bool(prediction.output.isfinite().all()), "predict returned inf or nan")
    expect(
        all(tap.ndim == 5 and tap.shape[2] == count for tap in prediction.taps),
        "predict returned taps that are not (B, C, F, h, w)",
    )
    expect(prediction.output.requires_grad, "predict returned no gradient to train with")


def make(
    subject: Subject, indices: list[int], *, guidance: float | None = None, on_step: Any = None
) -> NDArray[np.uint8]:
    """Draw or animate the samples with these indices."""
    if subject.kind == "generator":
        return _animate(subject, first_frames(subject, indices), indices, guidance, on_step)
    drawn: NDArray[np.uint8] = subject.stage.draw(
        [CAPTIONS[i] for i in indices],
        subject.stage.default_size,
        [noise_seed(0, "prior", i) for i in indices],
        SampleOptions(steps=_STEPS, guidance=guidance, on_step=on_step),
    )
    return drawn


def num_frames(subject: Subject) -> int:
    """Return the smallest number of frames the generator takes that is at least four."""
    fits = subject.stage.fit_frames
    return next(frames for frames in range(4, 1000) if fits(frames) == frames)


def first_frames(subject: Subject, indices: list[int]) -> NDArray[np.uint8]:
    """Paint a colour gradient for each index, (B, H, W, 3) uint8."""
    size: Size = subject.stage.default_size
    rows, columns = np.mgrid[0 : size.height, 0 : size.width]
    painted = [
        np.stack(
            [
                rows * 255 // size.height,
                columns * 255 // size.width,
                np.full_like(rows, 60 + 120 * index),
            ],
            axis=-1,
        )
        for index in indices
    ]
    return np.stack(painted).astype(np.uint8)


def _animate(
    subject: Subject,
    first: NDArray[np.uint8],
    indices: list[int],
    guidance: float | None = None,
    on_step: Any = None,
) -> NDArray[np.uint8]:
    animated: NDArray[np.uint8] = subject.stage.animate(
        first,
        [PAIRS[i] for i in indices],
        num_frames(subject),
        subject.stage.default_fps,
        [noise_seed(0, "generator", i) for i in indices],
        SampleOptions(steps=_STEPS, guidance=guidance, on_step=on_step),
    )
    return animated


def _recorder(seen: list[int], totals: set[int]) -> Callable[[int, int], None]:
    def on_step(done: int, total: int) -> None:
        seen.append(done)
        totals.add(total)

    return on_step


def _call(subject: Subject) -> str:
    return "draw" if subject.kind == "prior" else "animate"
