"""The prior ``diffusers``: any text-to-image pipeline of diffusers draws the first frame."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

from fdream.core.errors import StageError
from fdream.core.sizes import Size
from fdream.stages.builtin.known_models import known
from fdream.stages.builtin.ready_pipelines import (
    ReadyPipeline,
    noise_generator,
    step_callback,
    to_pixels,
)
from fdream.stages.interfaces import SampleOptions, TextToImagePrior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.fit import Demand
    from fdream.stages.builtin.specs.steps import PipelineOptions


@final
class DiffusersPrior(TextToImagePrior):
    """Prior ``diffusers``: opens the pipeline when first asked.

    Ours: one sample a call, whatever the batch, so that a picture depends on its own seed alone.

    Args:
        options: names the pipeline.
        device: where it works.
    """

    def __init__(self, options: PipelineOptions, *, device: DeviceManager) -> None:
        self._ready = ReadyPipeline(options.model, device=device)
        self._known = known(options.model)

    @cached_property
    def default_size(self) -> Size:  # type: ignore[override]
        """The size its network was trained at."""
        network = self._ready.config("unet") or self._ready.config("transformer")
        # Transformers of any size do not state one; 128 cells is what those pipelines assume.
        cells = network.get("sample_size") or 128
        if isinstance(cells, int):
            cells = (cells, cells)
        return Size(cells[0] * self._cell, cells[1] * self._cell)

    @cached_property
    def _cell(self) -> int:
        """Pixels that a latent cell covers along each side."""
        vae = self._ready.config("vae")
        widths = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or (0,) * 4
        return int(2 ** (len(widths) - 1))

    @property
    def default_steps(self) -> int:
        """Sampling steps where none are asked for."""
        if self._known is not None and self._known.steps is not None:
            return self._known.steps
        return int(self._ready.default("num_inference_steps") or 50)

    @property
    def default_guidance(self) -> float:
        """Guidance where none is asked for."""
        if self._known is not None and self._known.guidance is not None:
            return self._known.guidance
        return float(self._ready.default("guidance_scale") or 1.0)

    def fit_size(self, size: Size) -> Size:
        """Return the nearest size whose sides its networks can halve as often as they do."""
        # Two cells: transformers join them into patches, and UNets halve them at least once.
        return size.rounded(2 * self._cell)

    def check(self, options: SampleOptions) -> None:
        """Refuse a scheduler: the pipeline samples with the one it ships with.

        Raises:
            StageError: one is asked for.
        """
        refuse_scheduler(self._ready.name, options)

    def demand(self, size: Size) -> Demand:
        """Estimate the memory that drawing takes; see ``TextToImagePrior.demand``."""
        return self._ready.demand(size, 1)

    def draw(
        self, captions: list[str], size: Size, seeds: list[int], options: SampleOptions
    ) -> NDArray[np.uint8]:
        """Draw one image per caption; see ``TextToImagePrior.draw``.

        Raises:
            StageError: a scheduler is asked for, or the pipeline refuses its input.
        """
        self.check(options)
        steps = self.default_steps if options.steps is None else options.steps
        guidance = self.default_guidance if options.guidance is None else options.guidance
        drawn = [
            self._ready.call(
                self._pipeline,
                prompt=caption,
                negative_prompt=options.negative or None,
                height=size.height,
                width=size.width,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=noise_generator(seed),
                **step_callback(options.on_step, steps),
            ).images[0]
            for caption, seed in zip(captions, seeds, strict=True)
        ]
        return to_pixels(np.stack(drawn))

    def provenance(self) -> dict[str, Any]:
        """Return the model's name and revision, and the defaults it brings."""
        defaults = {"steps": self.default_steps, "guidance": self.default_guidance}
        return {**self._ready.provenance(), "defaults": defaults}

    @cached_property
    def _pipeline(self) -> Any:
        return self._ready.open(AutoPipelineForText2Image.from_pretrained)


def refuse_scheduler(name: str, options: SampleOptions) -> None:
    """Say that a ready-made pipeline keeps its own sampler.

    Raises:
        StageError: another one is asked for.
    """
    if options.scheduler is not None:
        raise StageError(
            f"--scheduler: {name} is a ready-made pipeline and samples with the scheduler it ships "
            "with; leave the option out, or use pocket or dreamer."
        )
