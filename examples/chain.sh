#!/bin/sh
# From a folder of clips to figures: shards, captions in halves, training, videos, a report.
#
#   examples/chain.sh FOLDER [WORK]        two CPU cores, under 5 minutes, no download
#
# Every command takes what the one before it left in WORK (by default chain/). The training is a
# dozen steps on from the packaged weights: it shows that the parts fit, and makes nothing better.
# A clip's caption is the .txt beside it; where there is none, the name of its file stands in.

set -eu
[ -d "${1-}" ] || { echo "usage: examples/chain.sh FOLDER [WORK]" >&2; exit 2; }
folder=$(cd "$1" && pwd)
mkdir -p "${2:-chain}"
cd "${2:-chain}"

# Prints the captions in shards, each once.
captions() {
    python3 - "$@" <<'END'
import json, pathlib, sys, tarfile

found = {}
for shard in sys.argv[1:]:
    with tarfile.open(shard) as archive:
        for member in archive:
            if member.name.endswith(".json"):
                row = json.load(archive.extractfile(member))
                name = pathlib.PurePath(row["url"]).stem.replace("_", " ").replace("-", " ")
                found[row["caption"] or name] = None
print(*found, sep="\n")
END
}

echo "1. prep: clips of two seconds, in shards" >&2
fdream prep "$folder" -o shards -s resize.size=64x64 -s clip.max_seconds=2 -s clip.fps=8 \
    -s filter.min_frames=8

echo "2. caption-split: what is seen, and what happens" >&2
captions shards/*.tar | fdream caption-split --json > pairs.jsonl

echo "3. train: a few steps on these shards" >&2
run=$(fdream train smoke-folder -s data.options.stride='[1, 1]')

echo "4. t2v: a video for each caption, by what was trained" >&2
fdream t2v --prompts pairs.jsonl --generator "dreamer:$run" --size 64 --frames 8 --fps 8 \
    --steps 8 --prior-steps 8 --seed 1 --resume -o videos/ > made.txt

echo "5. eval: those videos against the clips" >&2
fdream eval --all --real shards --fake videos -s clips.frames=8 -s clips.size=64 \
    -s sets.conditioning=none -o result.json --report report.html
