"""What the video generator can do so far, on held-out clips: pictures, videos, how they move."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from fdream.models.flow_ops import resize_flow
from fdream.stages.builtin.dis_flow import teach_flow
from fdream.stages.builtin.dreamer_generator import DreamerGenerator
from fdream.stages.builtin.pixels import to_unit
from fdream.stages.interfaces import SampleOptions
from fdream.training.clips.dataset import HeldOut, Views
from fdream.training.objective import Drawing, DrawnClip
from fdream.training.objectives.video_options import VideoOptions
from fdream.training.pictures import contact_sheet

_PRESET = "fast"


def draw_held_out(
    generator: DreamerGenerator, held_out: list[HeldOut], options: VideoOptions
) -> Drawing:
    """Animate the first frames of some held-out clips, with noise of their own.

    Returns:
        A sheet with the real clip above each drawn one, the drawn clips, and figures: how far
        things move a second in per cent of the width, drawn (``motion``) and real
        (``motion_real``), the share of drawn clips in which something moves (``dynamic_degree``),
        and how far drawn flow is from the real one, in pixels a frame (``flow_error``).
    """
    rows: list[Tensor] = []
    clips: list[DrawnClip] = []
    speeds: list[tuple[float, float, float]] = []
    wanted = SampleOptions(steps=options.sheet_steps, guidance=options.sheet_guidance)
    for part in held_out:
        room = options.sheet_clips - len(clips)
        if room <= 0:
            break
        real, views = part.frames()[:room], part.views
        count = len(real)
        drawn = generator.animate(
            real[:, 0],
            views.pairs[:count],
            real.shape[1],
            float(views.fps[0]),
            list(range(len(clips), len(clips) + count)),
            wanted,
        )
        for row in range(count):
            pair, fps = views.pairs[row], float(views.fps[row])
            rows += [to_unit(real[row]), to_unit(drawn[row])]
            clips.append(DrawnClip(pair.motion or pair.appearance, drawn[row], fps))
            speeds.append(_speeds(real[row], drawn[row], views, row))
    ours, theirs, error = (float(np.mean(part)) for part in zip(*speeds, strict=True))
    moving = float(np.mean([speed[0] > _MOVES for speed in speeds]))
    figures = {
        "motion": ours,
        "motion_real": theirs,
        "dynamic_degree": moving,
        "flow_error": error,
    }
    return Drawing(contact_sheet(_alike(rows)), clips, figures)


# Per cent of the width a second. Ours: slower than this reads as a photograph.
_MOVES = 1.0


def _speeds(
    real: np.ndarray, drawn: np.ndarray, views: Views, row: int
) -> tuple[float, float, float]:
    """How fast the drawn and the real clip move, and how far the drawn flow is from the real."""
    video = rearrange(to_unit(drawn), "f c h w -> 1 c f h w")
    found = teach_flow(video, _PRESET).flow
    wanted = views.target.flow[row : row + 1].float()
    cells = (wanted.shape[-2], wanted.shape[-1])
    error = (resize_flow(found, cells, rescale=False) - wanted).norm(dim=1).mean().item()
    scale = 100 * float(views.fps[row]) / drawn.shape[2]
    truth = teach_flow(rearrange(to_unit(real), "f c h w -> 1 c f h w"), _PRESET).flow
    return _top(found) * scale, _top(truth) * scale, error


def _top(flow: Tensor) -> float:
    """The mean length of the longest 5 % of displacements: a small thing that moves is motion.

    Source: as VBench's dynamic degree takes the largest 5 % of flow (arXiv 2311.17982).
    """
    lengths = flow.norm(dim=1).flatten(1)
    most = max(1, lengths.shape[1] // 20)
    return lengths.topk(most, dim=1).values.mean().item()


def _alike(rows: list[Tensor]) -> list[Tensor]:
    """Bring rows of several sizes to that of the first, for one sheet."""
    size = rows[0].shape[-2:]
    return [
        row
        if row.shape[-2:] == size
        else torch.nn.functional.interpolate(row, tuple(size), mode="area")
        for row in rows
    ]
