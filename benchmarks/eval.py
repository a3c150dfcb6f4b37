"""Videos a second of ``fdream eval --fvd`` against its network alone, and against StyleGAN-V.

    python benchmarks/eval.py --clips CLIPS [--stylegan-v CHECKOUT] [--rounds 3]

The network is I3D with random weights, the same for all: the limit is how fast it goes on frames
that are already there. StyleGAN-V's own feature loop (its checkout, and `pip install omegaconf`)
reads pictures, so it is given the same windows as PNG files; cutting them is not counted. Each way
runs in a process of its own, whose peak of memory is told. Beside the videos a second, which other
work on the machine takes away from, stand the processor's seconds a video, which it hardly does;
and how far the mean features are from those of the network alone on the same windows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

RULE_FRAMES, SIDE, BATCH = 16, 224, 4


def sources(clips: Path, folder: Path, count: int) -> list[Any]:
    """Return as many files as asked for: real ones again and again, with other last bytes."""
    from fdream.core.errors import DataError
    from fdream.evals.clips import ClipRule
    from fdream.evals.sets import FileSource, find_sources

    rule = ClipRule(frames=RULE_FRAMES, start="random")
    usable = []
    for source in find_sources(str(clips)):
        try:
            source.read(rule)
        except DataError:
            continue
        usable.append(source.path)
    found = []
    for number in range(count):
        original = usable[number % len(usable)]
        path = folder / f"{number:04d}{original.suffix}"
        if not path.is_file():
            path.write_bytes(original.read_bytes() + number.to_bytes(8))
        found.append(FileSource(path.stem, path))
    return found


@dataclass(frozen=True)
class Spent:
    """What a way took, and what it found.

    Attributes:
        wall_s: from beginning to end.
        cpu_s: of all its threads, and of its processes that have ended.
        mean: (D,) of the features.
    """

    wall_s: float
    cpu_s: float
    mean: NDArray[np.floating]


class Watch:
    """Wall time and processor time from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), sum(os.times()[:4])

    def read(self, mean: NDArray[np.floating]) -> Spent:
        """Stop it."""
        return Spent(time.perf_counter() - self._wall, sum(os.times()[:4]) - self._cpu, mean)


def limit(network: torch.jit.ScriptModule, given: list[Any]) -> Spent:
    """Time the network alone."""
    from fdream.evals.clips import ClipRule

    rule = ClipRule(frames=RULE_FRAMES, start="random")
    frames = np.stack([source.read(rule).frames for source in given])
    videos = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float().contiguous()
    watch = Watch()
    with torch.inference_mode():
        found = [
            network(videos[begin : begin + BATCH], rescale=True, resize=True, return_features=True)
            for begin in range(0, len(videos), BATCH)
        ]
    return watch.read(torch.cat(found).mean(0).numpy())


def ours(given: list[Any], file: Path) -> Spent:
    """Time one pass of ours, cold: hashing, decoding, resizing, the network, the rows on disk."""
    from fdream.core.device import DeviceManager
    from fdream.core.report import SilentReporter
    from fdream.evals.clips import ClipRule
    from fdream.evals.measuring import Pass, SetMeasurer
    from fdream.stages import registry
    from fdream.stages.builtin import frechet_metrics

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    frechet_metrics.I3D = replace(frechet_metrics.I3D, sha256=digest)
    device = DeviceManager.choose("cpu")
    metric = registry.build("metric", "fvd", {"weights": str(file)}, device=device)
    rule = ClipRule(frames=RULE_FRAMES, start="random")
    with tempfile.TemporaryDirectory() as cache:
        watch = Watch()
        job = Pass(rule, {"fvd": metric}, Path(cache), BATCH)
        measured = SetMeasurer(job, SilentReporter()).measure(given, None, "videos")
        spent = watch.read(measured.columns["fvd", "clip"]["features"].mean(0))
    assert len(measured.keys) == len(given)
    return spent


def stylegan_v(checkout: Path, given: list[Any], file: Path, pictures: Path) -> Spent:
    """Time StyleGAN-V's feature loop on the same windows, cut to PNG files beforehand."""
    from PIL import Image

    from fdream.evals.clips import ClipRule

    rule = ClipRule(frames=RULE_FRAMES, start="random")
    for source in given:
        folder = pictures / source.key
        if folder.is_dir():
            continue
        folder.mkdir(parents=True)
        for index, frame in enumerate(source.read(rule).frames):
            Image.fromarray(frame).save(folder / f"{index:03d}.png", compress_level=1)
    sys.path.insert(0, str(checkout))
    from omegaconf import OmegaConf
    from src import dnnlib
    from src.metrics import metric_utils

    metric_utils._feature_detector_cache[file.as_uri(), torch.device("cpu")] = torch.jit.load(file)
    config = OmegaConf.create({"max_num_frames": 1024})
    table = dnnlib.EasyDict(
        class_name="src.training.dataset.VideoFramesFolderDataset",
        path=str(pictures),
        cfg=config,
        load_n_consecutive=RULE_FRAMES,
        discard_short_videos=True,
        resolution=SIDE,
    )
    options = metric_utils.MetricOptions(
        dataset_kwargs=table, device=torch.device("cpu"), cache=False
    )
    watch = Watch()
    found = metric_utils.compute_feature_stats_for_dataset(
        opts=options,
        detector_url=file.as_uri(),
        detector_kwargs={"rescale": True, "resize": True, "return_features": True},
        capture_mean_cov=True,
        max_items=len(given),
        temporal_detector=True,
        batch_size=BATCH,
        data_loader_kwargs={"num_workers": 1, "prefetch_factor": 2},
    )
    return watch.read(found.get_mean_cov()[0])


def one(way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one way in this process."""
    folder = Path(asked.folder)
    given = sources(asked.clips, folder / "videos", asked.count)
    file = folder / "i3d.pt"
    if way == "limit":
        spent = limit(torch.jit.load(file), given)
    elif way == "ours":
        spent = ours(given, file)
    else:
        spent = stylegan_v(asked.stylegan_v, given, file, folder / "pictures")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "videos_a_second": asked.count / spent.wall_s,
        "cpu_s": spent.cpu_s / asked.count,
        "peak_mb": peak,
        "mean": spent.mean.tolist(),
    }


def main() -> None:
    """Run every way in turn, some rounds, and tell medians: load on the machine comes and goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stylegan-v", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(one(asked.way, asked)))
        return
    from benchmarks.i3d import script

    ways = ["limit", "ours"] + (["stylegan-v"] if asked.stylegan_v else [])
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "videos").mkdir()
        script().save(str(Path(folder) / "i3d.pt"))
        for _ in range(asked.rounds):
            for way in ways:
                ran = subprocess.run(
                    [sys.executable, "-m", "benchmarks.eval", *sys.argv[1:], "--way", way,
                     "--folder", folder],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                found[way].append(json.loads(ran.stdout))
    middle = {
        way: {
            key: float(np.median([row[key] for row in rows]))
            for key in ("videos_a_second", "cpu_s", "peak_mb")
        }
        for way, rows in found.items()
    }
    alone = np.array(found["limit"][0]["mean"])
    for way, row in middle.items():
        share = row["videos_a_second"] / middle["limit"]["videos_a_second"]
        cpu = middle["limit"]["cpu_s"] / row["cpu_s"]
        apart = np.abs(np.array(found[way][0]["mean"]) - alone).max() / np.abs(alone).max()
        print(
            f"{way}: {row['videos_a_second']:.3f} videos/s, {share:.2f} of the limit; "
            f"{row['cpu_s']:.2f} s of processor a video, {cpu:.2f} of the limit; "
            f"{row['peak_mb']:.0f} MB; features apart by {apart:.1e}"
        )


if __name__ == "__main__":
    main()
