"""Optional steps flow and latents: what training would compute again and again, beside each clip.

Kept clips alone get them; a clip that is filtered later loses them, one that comes back gets them
again. Members are ``flow.safetensors`` and ``latents.safetensors``, with what they were made with
in their metadata.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from einops import rearrange
from safetensors.numpy import save_file

from fdream.core.errors import DataError
from fdream.data.media import read_video
from fdream.data.prep.settling import read_samples, rewrite, stored_members, stored_videos
from fdream.data.shards.folder import shard_name
from fdream.data.shards.reader import FLOW, LATENTS
from fdream.models.flow_ops import resize_flow
from fdream.models.latents import encode_latents, latent_downscale, latent_scaling
from fdream.stages.builtin.bundles import open_bundle
from fdream.stages.builtin.dis_flow import teach_flow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fdream.core.device import DeviceManager
    from fdream.core.prep_recipe import FlowTable, LatentsTable, PrepRecipe
    from fdream.core.report import Reporter
    from fdream.data.prep.shard_builder import Members
    from fdream.data.shards.folder import ShardFolder

_CHUNK: Final = 16  # frames at once: flow in full size is large

Compute = Callable[["NDArray[np.uint8]", float, str], tuple[dict[str, Any], dict[str, str]]]
"""From the frames of a clip (F, H, W, 3), its rate and its key to arrays and metadata."""


def precompute(
    folder: ShardFolder,
    recipe: PrepRecipe,
    device: Callable[[], DeviceManager],
    reporter: Reporter,
) -> int:
    """Compute for every kept clip what it lacks.

    Args:
        folder: of the shards; the caller holds its lock.
        recipe: its ``[flow]`` and ``[latents]`` say what.
        device: chooses where latents are computed.
        reporter: told how far it is.

    Returns:
        How many clips got something.
    """
    wanted: dict[str, Compute] = {}
    if recipe.flow.use:
        wanted[FLOW] = _flow_of(recipe.flow)
    if recipe.latents.use:
        wanted[LATENTS] = _latents_of(recipe.latents, device())
    computed = 0
    aside = folder.state / "computed"
    shutil.rmtree(aside, ignore_errors=True)
    with reporter.progress(len(folder.done()), "computing") as bar:
        for number in folder.done() if wanted else ():
            more = _shard(folder, number, wanted, aside / shard_name(number))
            if more:
                rewrite(folder, number, read_samples(folder, number), more)
            computed += len(more)
            shutil.rmtree(aside, ignore_errors=True)
            bar.update(1)
    return computed


def _shard(
    folder: ShardFolder, number: int, wanted: dict[str, Compute], aside: Path
) -> dict[str, Members]:
    """Compute what the kept clips of a shard lack, into files, and return those by key."""
    aside.mkdir(parents=True, exist_ok=True)
    stored, videos = stored_members(folder, number), stored_videos(folder, number)
    more: dict[str, Members] = {}
    for sample in read_samples(folder, number):
        missing = [name for name in wanted if name not in stored.get(sample.key, {})]
        if sample.status != "success" or not missing:
            continue
        video = read_video(io.BytesIO(videos[sample.key].read()), place=sample.key)
        for name in missing:
            arrays, facts = wanted[name](video.frames, float(video.fps), sample.key)
            path = aside / f"{sample.key}.{name}"
            # One entry: safetensors writes several in an order of chance.
            said = {"fdream": json.dumps(facts, sort_keys=True)}
            save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, path, said)
            more.setdefault(sample.key, {})[name] = path
    return more


def _flow_of(options: FlowTable) -> Compute:
    """Return what estimates optical flow.

    ``flow`` float16 (F-1, 2, h, w): pixels of the clip from each frame to the next, x first,
    averaged over the cells of a grid; ``visibility`` uint8 (F-1, 1, h, w): 255 where all of a cell
    is seen in both frames.
    """

    def compute(
        frames: NDArray[np.uint8], fps: float, key: str
    ) -> tuple[dict[str, Any], dict[str, str]]:
        height, width = frames.shape[1:3]
        factor = max(1.0, max(height, width) / options.cells)
        grid = max(1, round(height / factor)), max(1, round(width / factor))
        parts = [np.zeros((0, 3, *grid), np.float32)]  # a single frame has no flow
        for start in range(0, len(frames) - 1, _CHUNK):
            target = teach_flow(_as_tensor(frames[start : start + _CHUNK + 1]), options.preset)
            both = torch.cat([target.flow, target.visibility], dim=1)
            on_grid = resize_flow(both, grid, rescale=False)
            parts.append(rearrange(on_grid.numpy(), "1 c f h w -> f c h w"))
        made = np.concatenate(parts)
        arrays = {
            "flow": made[:, :2].astype(np.float16),
            "visibility": (made[:, 2:] * 255).round().astype(np.uint8),
        }
        return arrays, {"teacher": f"dis/{options.preset}", "fps": f"{fps:g}"}

    return compute


def _latents_of(options: LatentsTable, device: DeviceManager) -> Compute:
    """Return what encodes frames.

    ``latents`` float16 (F, C, h, w), scaled as the base takes them.
    """
    bundle = open_bundle(options.bundle)
    vae = device.place(bundle.load("vae"))
    cell = latent_downscale(vae)
    facts = {"bundle": bundle.name, "vae": bundle.hash_of("vae"), "scale": str(latent_scaling(vae))}

    def compute(
        frames: NDArray[np.uint8], fps: float, key: str
    ) -> tuple[dict[str, Any], dict[str, str]]:
        height, width = frames.shape[1:3]
        if height % cell or width % cell:
            raise DataError(
                f"clip {key}: latents of {options.bundle} need sides in steps of {cell}, not "
                f"{width}x{height}; set resize.size accordingly."
            )
        parts = []
        for start in range(0, len(frames), _CHUNK):
            with device.inference():
                shown = device.place(_as_tensor(frames[start : start + _CHUNK]))
                latents = encode_latents(vae, shown).float().cpu().numpy()
            parts.append(rearrange(latents, "1 c f h w -> f c h w").astype(np.float16))
        return {"latents": np.concatenate(parts)}, {**facts, "fps": f"{fps:g}"}

    return compute


def _as_tensor(frames: NDArray[np.uint8]) -> torch.Tensor:
    """Return (1, 3, F, H, W) in [-1, 1]."""
    picture = torch.from_numpy(frames).float() / 127.5 - 1
    return rearrange(picture, "f h w c -> 1 c f h w")
