"""The generator ``diffusers``: a ready-made image-to-video pipeline animates the first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image

from fdream.core.captions import CaptionPair
from fdream.core.errors import UsageError
from fdream.core.sizes import Size
from fdream.stages.builtin.diffusers_prior import refuse_scheduler
from fdream.stages.builtin.known_models import known
from fdream.stages.builtin.pipeline_families import Family, family_of
from fdream.stages.builtin.ready_pipelines import (
    ReadyPipeline,
    noise_generator,
    step_callback,
    to_pixels,
)
from fdream.stages.interfaces import SampleOptions, VideoGenerator

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.fit import Demand
    from fdream.stages.builtin.specs.steps import PipelineOptions


@final
class DiffusersGenerator(VideoGenerator):
    """Generator ``diffusers``: opens the pipeline when first asked.

    Ours: models that read one caption are given both halves, what is seen before what happens; one
    sample a call, so that a video depends on its own seed alone.

    Args:
        options: names the pipeline.
        device: where it works.
    """

    def __init__(self, options: PipelineOptions, *, device: DeviceManager) -> None:
        self._ready = ReadyPipeline(options.model, device=device)
        self._device = device
        self._known = known(options.model)

    @property
    def default_frames(self) -> int:  # type: ignore[override]
        """Frames where none are asked for: what the pipeline or its network was made for."""
        return self._window

    @cached_property
    def _window(self) -> int:
        stated = self._ready.default("num_frames") or self._ready.config("unet").get("num_frames")
        return self._fit_window(int(stated or 25))

    @cached_property
    def default_fps(self) -> float:  # type: ignore[override]
        """Frames per second of its training clips."""
        return self._family.fps(self._ready.config)

    @cached_property
    def default_size(self) -> Size:  # type: ignore[override]
        """The size it animates best."""
        height, width = self._ready.default("height"), self._ready.default("width")
        if height is None or width is None:
            grid = self._ready.config("transformer")
            scale = 2 ** (len(self._ready.config("vae")["block_out_channels"]) - 1)
            height, width = grid["sample_height"] * scale, grid["sample_width"] * scale
        return self.fit_size(Size(int(height), int(width)))

    def fit_frames(self, frames: int) -> int:
        """Return the nearest number of frames that it can make.

        Its latents hold some numbers and not others; beyond the length that it was made for it
        goes on from its own last frame, and then any number can be made.
        """
        return frames if frames > self._window else self._fit_window(frames)

    def _fit_window(self, frames: int) -> int:
        step = self._family.frame_step
        # Halves go up, and whoever asks for more than one frame gets a video.
        groups = max(int((frames - 1) / step + 0.5), 1 if frames > 1 else 0)
        return max(1, frames) if step == 1 else groups * step + 1

    def fit_size(self, size: Size) -> Size:
        """Return the nearest size that its latents can hold."""
        return size.rounded(self._family.cell(self._ready.config))

    def check(self, options: SampleOptions) -> None:
        """Refuse a scheduler: the pipeline samples with the one it ships with.

        Raises:
            StageError: one is asked for.
        """
        refuse_scheduler(self._ready.name, options)

    def demand(self, size: Size, frames: int) -> Demand:
        """Estimate the memory that animating takes; see ``VideoGenerator.demand``."""
        return self._ready.demand(size, min(frames, self._window))

    def animate(
        self,
        first_frames: NDArray[np.uint8],
        captions: list[CaptionPair],
        frames: int,
        fps: float,
        seeds: list[int],
        options: SampleOptions,
    ) -> NDArray[np.uint8]:
        """Animate each first frame; see ``VideoGenerator.animate``.

        Raises:
            UsageError: a number of frames or a size that the model cannot make.
            StageError: a scheduler is asked for, or the pipeline refuses its input.
        """
        size = Size(*first_frames.shape[1:3])
        if self.fit_frames(frames) != frames or self.fit_size(size) != size:
            raise UsageError(
                f"{self._ready.name}: makes {self.fit_frames(frames)} frames of "
                f"{self.fit_size(size)}, not {frames} of {size}."
            )
        self.check(options)
        made = [
            self._chain(first, caption, frames, fps, seed, options)
            for first, caption, seed in zip(first_frames, captions, seeds, strict=True)
        ]
        return np.stack(made)

    def _chain(
        self,
        first: NDArray[np.uint8],
        caption: CaptionPair,
        frames: int,
        fps: float,
        seed: int,
        options: SampleOptions,
    ) -> NDArray[np.uint8]:
        """Animate windows, each from the last frame of the one before: uint8 (F, H, W, 3).

        Ours: one frame is all that is carried over, so speed may change at a seam.
        """
        noise = noise_generator(seed)
        lengths = window_lengths(frames, self._window)
        video = first[None][:0]
        for number, length in enumerate(lengths):
            told = replace(options, on_step=_part_of(options.on_step, number, len(lengths)))
            # The last may be longer than what is left: models make some lengths and not others.
            whole = self._fit_window(length)
            whole += self._family.frame_step if whole < length else 0
            made = to_pixels(self._one(first, caption, whole, fps, noise, told))[:length]
            video = np.concatenate([video, made if number == 0 else made[1:]])
            first = video[-1]
        return video

    def _one(
        self,
        first: NDArray[np.uint8],
        caption: CaptionPair,
        frames: int,
        fps: float,
        noise: torch.Generator,
        options: SampleOptions,
    ) -> Any:
        steps = self._default_steps if options.steps is None else options.steps
        guidance = self._default_guidance if options.guidance is None else options.guidance
        family = self._family
        told: dict[str, Any] = {family.guidance: guidance}
        if family.text:
            told |= {"prompt": one_caption(caption), "negative_prompt": options.negative or None}
        if family.rate is not None:
            told[family.rate] = round(fps)
        if self._device.tiling:
            told["decode_chunk_size"] = 1
        answer = self._ready.call(
            self._pipeline,
            image=Image.fromarray(first),
            height=first.shape[0],
            width=first.shape[1],
            num_frames=frames,
            num_inference_steps=steps,
            generator=noise,
            **told,
            **step_callback(options.on_step, steps),
        )
        return answer.frames[0][:frames]

    def provenance(self) -> dict[str, Any]:
        """Return the model's name and revision, and the defaults it brings."""
        defaults = {"steps": self._default_steps, "guidance": self._default_guidance}
        return {**self._ready.provenance(), "defaults": defaults}

    @property
    def _default_steps(self) -> int:
        if self._known is not None and self._known.steps is not None:
            return self._known.steps
        return int(self._ready.default("num_inference_steps"))

    @property
    def _default_guidance(self) -> float:
        if self._known is not None and self._known.guidance is not None:
            return self._known.guidance
        return float(self._ready.default(self._family.guidance))

    @cached_property
    def _family(self) -> Family:
        return family_of(self._ready.class_name, self._ready.name)

    @cached_property
    def _pipeline(self) -> Any:
        self._family  # noqa: B018  # an unsupported one is refused before gigabytes are read
        return self._ready.open(DiffusionPipeline.from_pretrained)


def window_lengths(frames: int, window: int) -> list[int]:
    """Part a video into windows that share one frame with the next.

    Args:
        frames: of the video.
        window: the most frames of a window, at least 2.

    Returns:
        Their lengths; in all ``frames``, counting each shared frame once.
    """
    lengths = [min(frames, window)]
    left = frames - lengths[0]
    while left > 0:
        lengths.append(min(left, window - 1) + 1)
        left -= lengths[-1] - 1
    return lengths


def _part_of(
    on_step: Callable[[int, int], None] | None, number: int, windows: int
) -> Callable[[int, int], None] | None:
    """Have the steps of one window told as steps of all of them."""
    if on_step is None:
        return None
    return lambda done, total: on_step(number * total + done, windows * total)


def one_caption(caption: CaptionPair) -> str:
    """Join both halves for a model that reads one text, saying nothing twice."""
    seen, happens = caption.appearance.strip(), caption.motion.strip()
    if not happens or happens.lower() in seen.lower():
        return seen
    if not seen or seen.lower() in happens.lower():
        return happens
    return f"{seen.rstrip('.')}. {happens}"
