"""Data preparation against its limits: ``python benchmarks/prep.py [--clips DIR] [--repeats N]``.

Real clips, two processes, pictures of 256 x 256. Writes JSON to stdout:

- ``limit``: FFmpeg's own program decoding the same files to the same size and encoding nothing, the
  quicker of two files at a time with one thread each, and one at a time with as many as it likes;
- ``prep``: ``fdream prep`` with probe, cut, clip and shard, from start to finished shards;
- ``ratio``: prep over limit, in wall-clock time and in processor time. Bar: 0.7;
- ``processor_ms_a_frame``: of that work, for each size of the files;
- ``cut``: PySceneDetect's own command against ``fdream prep --only cut``, and how many files are
  cut at exactly the same frames.

Files that FFmpeg refuses, and high dynamic range, for which it does less work, are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av

SIDE = 256
LEFT_OUT = ("corrupted_bitstream.mp4", "nasa_13013_hdr.mp4")
# PySceneDetect reads the first video stream of a file, players and fdream the main one.
OTHER_STREAM = ("nasa_13013.mp4",)
WORKERS = 2
CROP = f"crop=min(iw\\,ih):min(iw\\,ih),scale={SIDE}:{SIDE}"
BARE = ["motion", "light", "text", "hash"]


def timed(function, *args: object) -> tuple[float, float]:
    """Return wall-clock and processor seconds, those of waited-for children included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    function(*args)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime


def decode(path: Path, *threads: str) -> None:
    """Decode a file to the size of the clips with FFmpeg's program."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", *threads, "-i", f"file:{path}", "-an"]
    command += ["-vf", CROP, "-pix_fmt", "yuv420p", "-f", "rawvideo", "-y", os.devnull]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def decode_two_at_a_time(files: list[Path]) -> None:
    """One thread each."""
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda f: decode(f, "-threads", "1", "-filter_threads", "1"), files))


def decode_one_at_a_time(files: list[Path]) -> None:
    """As many threads as FFmpeg likes."""
    for file in files:
        decode(file)


def prepare(table: Path, out: Path) -> None:
    """Probe, cut, clip and shard."""
    sets = [f"measure.{name}=false" for name in BARE]
    sets += [f"resize.size={SIDE}x{SIDE}", "split.use=false", "overlay.use=false"]
    sets += ["report.use=false", "shard.rows=50", "filter.min_seconds=0", "filter.min_frames=0"]
    command = [sys.executable, "-m", "fdream", "-q", "prep", str(table), "-o", str(out)]
    command += ["--workers", str(WORKERS), *(part for one in sets for part in ("-s", one))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def processor_seconds(files: list[Path], rounds: int) -> dict[Path, tuple[float, float]]:
    """Processor time of the limit and of the same work as prep's workers do it, on one core.

    Both take turns on each file, and the least of all rounds counts: that is what the work takes
    where nobody else wants the processor's cache. Workers' own time is not handed up, so their
    work is done in this process.
    """
    import cv2

    from fdream.core.prep_recipe import PrepRecipe
    from fdream.data.prep.clipping import clip_source
    from fdream.data.prep.sources.files import file_row

    cv2.setNumThreads(1)
    recipe = PrepRecipe.model_validate(
        {
            "name": "x",
            "resize": {"size": f"{SIDE}x{SIDE}"},
            "measure": dict.fromkeys(BARE, False),
        }
    )
    found = {}
    for file in files:
        decoded, clipped = [], []
        for _ in range(rounds):
            decoded.append(timed(decode_two_at_a_time, [file])[1])
            with tempfile.TemporaryDirectory() as spool:
                started = time.process_time()
                clip_source(file_row(file, file.name), recipe, Path(spool) / "clips")
                clipped.append(time.process_time() - started)
        found[file] = (min(decoded), min(clipped))
    return found


def milliseconds_a_frame(seconds: dict[Path, tuple[float, float]]) -> dict[str, float]:
    """Processor time of prep's work for one frame, by the size of the frames."""
    spent, frames = Counter[str](), Counter[str]()
    for file, (_, prep) in seconds.items():
        with av.open(str(file)) as opened:
            stream = opened.streams.best("video")
            size = f"{stream.codec_context.width}x{stream.codec_context.height}"
            frames[size] += sum(packet.size > 0 for packet in opened.demux(stream))
        spent[size] += prep
    return {size: round(1000 * spent[size] / frames[size], 2) for size in sorted(frames)}


def cuts_of_pyscenedetect(file: Path) -> list[int]:
    """Cut with PySceneDetect's own command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "scenedetect", "-q", "-i", str(file), "-o", folder]
        command += ["detect-adaptive", "list-scenes"]
        subprocess.run(command, check=True, capture_output=True)
        rows = list(csv.reader(next(Path(folder).glob("*.csv")).open()))
    head = next(number for number, row in enumerate(rows) if row and row[0] == "Scene Number")
    return [int(row[1]) - 1 for row in rows[head + 1 :]][1:]


def cuts_of_prep(folder: Path) -> dict[str, list[int]]:
    """Cut all files of a folder with ours."""
    command = [sys.executable, "-m", "fdream", "-q", "prep", str(folder), "--only", "cut"]
    command += ["--workers", str(WORKERS), "-s", "cut.fades=false", "-s", "clip.max_seconds=1e6"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for told in map(json.loads, lines.splitlines()):
        fps = told["facts"]["fps"]
        found[told["url"]] = [round(clip["start_s"] * fps) for clip in told["clips"]][1:]
    return found


def measure_cuts(files: list[Path]) -> dict[str, object]:
    """Cut the same files with both."""
    with tempfile.TemporaryDirectory() as name:
        for file in files:
            (Path(name) / file.name).symlink_to(file)
        theirs: dict[str, list[int]] = {}

        def by_them() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                found = pool.map(cuts_of_pyscenedetect, files)
                theirs.update(zip((f.name for f in files), found, strict=True))

        ours: dict[str, list[int]] = {}
        their_wall, _ = timed(by_them)
        our_wall, _ = timed(lambda: ours.update(cuts_of_prep(Path(name))))
    same = [file.name for file in files if ours[file.name] == theirs[file.name]]
    return {
        "files": len(files),
        "frame_exact": len(same),
        "cuts": sum(map(len, theirs.values())),
        "different": {n: [ours[n], theirs[n]] for n in theirs if n not in same},
        "pyscenedetect_files_per_s": round(len(files) / their_wall, 2),
        "prep_files_per_s": round(len(files) / our_wall, 2),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent.parent
    parser.add_argument("--clips", type=Path, default=here.parent / "shared" / "data" / "clips")
    parser.add_argument("--repeats", type=int, default=8, help="times each file is listed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    files = sorted(f for f in options.clips.iterdir() if f.is_file() and f.name not in LEFT_OUT)
    many = files * options.repeats
    limits, preps = [], []
    for _ in range(options.rounds):
        # In turn, so that a busy machine is busy for all.
        limits.append(min(timed(decode_two_at_a_time, many), timed(decode_one_at_a_time, many)))
        with tempfile.TemporaryDirectory() as name:
            table = Path(name) / "files.csv"
            table.write_text("video\n" + "\n".join(map(str, many)) + "\n", encoding="utf-8")
            preps.append(timed(prepare, table, Path(name) / "out")[0])
    seconds = processor_seconds(files, options.rounds + 2)
    processor_limit, processor_prep = (
        sum(column) for column in zip(*seconds.values(), strict=True)
    )
    limit = statistics.median(wall for wall, _ in limits)
    prep = statistics.median(preps)
    report = {
        "benchmark": "prep",
        "files": len(many),
        "limit_files_per_s": round(len(many) / limit, 2),
        "prep_files_per_s": round(len(many) / prep, 2),
        "ratio": {
            "wall": round(limit / prep, 3),
            "processor": round(processor_limit / processor_prep, 3),
        },
        "processor_ms_a_frame": milliseconds_a_frame(seconds),
        "rounds": {
            "limit_s": [round(wall, 2) for wall, _ in limits],
            "prep_s": [round(wall, 2) for wall in preps],
        },
        "cut": measure_cuts([f for f in files if f.name not in OTHER_STREAM]),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
