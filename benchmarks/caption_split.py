"""How well and how fast captions are split: ``python -m benchmarks.caption_split [SPLITTER]``.

Reads the labels of tests/data/caption_split and writes JSON to stdout: precision, recall and
coverage for the part that was tuned on and the part that was held out; then the speed on unique
captions made of them, of one process (captions a second of processor time), of one whose captions
each hold a word that nobody has, and of the whole command with two processes.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fdream.core.captions import CaptionPair
    from fdream.stages.interfaces import SplitterStage

LABELS = Path(__file__).parent.parent / "tests" / "data" / "caption_split"
WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        """a an the is are was were be being been am of in on at to for from by with and or but as
        into onto over under through across along down up off out past around near its his
        her their it he she they this that these those while where which who than then there
        here not""",
    )
)
"""Function words; all others are content."""

# Formats, ids, dates and the like, which are dropped on purpose (docs/captions.md).
_STOCK = frozenset(
    re.findall(
        r"\w+",
        """4k hd stock footage id seamless loop loopable alpha channel chroma key circa
        january february march april may june july august september october november december""",
    )
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A caption whose motion words are marked.

    Attributes:
        caption: without the marks.
        words: its words in lower case.
        motion: positions in ``words`` of the motion words.
    """

    caption: str
    words: list[str]
    motion: frozenset[int]

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the third that nobody tunes on; variants of a prompt agree."""
        key = self.caption[:24].lower().encode()
        return int(hashlib.sha256(key).hexdigest(), 16) % 3 == 0


@dataclass(slots=True)
class Score:
    """Counts over a set of captions."""

    captions: int = 0
    exact: int = 0
    right: int = 0
    said: int = 0
    labelled: int = 0
    invented: int = 0
    content: int = 0
    kept: int = 0

    @property
    def precision(self) -> float:
        """Share of the words in motion halves that stand in a labelled span."""
        return self.right / max(1, self.said)

    @property
    def recall(self) -> float:
        """Share of the words in labelled spans that are in the motion half."""
        return self.right / max(1, self.labelled)

    @property
    def coverage(self) -> float:
        """Share of content words that are in either half."""
        return self.kept / max(1, self.content)


def read_labels(path: Path) -> Iterator[Labelled]:
    """Read captions with ``[motion]`` and ``{camera}`` marked in brackets."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        marked = line.replace("\\n", "\n")
        words: list[str] = []
        motion: set[int] = set()
        inside = False
        for found in re.finditer(rf"[\[\]{{}}]|{WORD.pattern}", marked):
            token = found.group()
            if token in "[{":
                inside = True
            elif token in "]}":
                inside = False
            else:
                if inside:
                    motion.add(len(words))
                words.append(token.lower())
        yield Labelled(re.sub(r"[\[\]{}]", "", marked), words, frozenset(motion))


def positions(labelled: Labelled, motion: str) -> tuple[set[int], int]:
    """Find a motion half's words in the caption, in order.

    Returns:
        Their positions, and how many stand nowhere in the caption.
    """
    said = [word.lower() for word in WORD.findall(motion)]
    if said == ["still"] and "still" not in labelled.words:
        return set(), 0  # it says that nothing moves
    match = difflib.SequenceMatcher(None, labelled.words, said, autojunk=False)
    found = {b.a + i for b in match.get_matching_blocks() for i in range(b.size)}
    return found, len(said) - len(found)


def score(labels: Iterable[Labelled], splitter: SplitterStage) -> Score:
    """Hold a splitter to labels."""
    chosen = list(labels)
    total = Score(captions=len(chosen))
    for labelled, pair in zip(chosen, splitter.split([x.caption for x in chosen]), strict=True):
        found, invented = positions(labelled, pair.motion)
        total.exact += found == labelled.motion and not invented
        total.right += len(found & labelled.motion)
        total.said += len(found) + invented
        total.labelled += len(labelled.motion)
        total.invented += invented
        content, lost = coverage(labelled, pair)
        total.content += content
        total.kept += content - len(lost)
    return total


def coverage(labelled: Labelled, pair: CaptionPair) -> tuple[int, list[str]]:
    """Count a caption's content words, and list those that are in neither half."""
    there = {w.lower() for half in (pair.appearance, pair.motion) for w in WORD.findall(half)}
    # "runs" may stand as "running": the first four letters tell enough of a word.
    stems = {word[:4] for word in there}
    content = [
        word
        for word in labelled.words
        if word not in _EMPTY and word not in _STOCK and not word[0].isdigit()
    ]
    lost = [word for word in content if word not in there and word[:4] not in stems]
    return len(content), lost


def measure(splitter: SplitterStage) -> dict[str, dict[str, float]]:
    """Return the figures of both hand-labelled sets, tuned and held out apart."""
    figures = {}
    for name in ("vbench", "webvid"):
        labels = list(read_labels(LABELS / f"{name}.txt"))
        for part, held_out in (("tuned on", False), ("held out", True)):
            counted = score((x for x in labels if x.held_out == held_out), splitter)
            figures[f"{name}, {part}"] = {
                "captions": counted.captions,
                "motion words": counted.labelled,
                "precision": round(counted.precision, 3),
                "recall": round(counted.recall, 3),
                "exact spans": round(counted.exact / counted.captions, 3),
                "coverage": round(counted.coverage, 4),
                "invented": counted.invented,
            }
    return figures


def spriteworld(splitter: SplitterStage) -> dict[str, float]:
    """Return how often both halves are SpriteWorld's own."""
    lines = (LABELS / "spriteworld.jsonl").read_text(encoding="utf-8").splitlines()
    known = [json.loads(line) for line in lines]
    pairs = splitter.split([k["caption"] for k in known])
    both = list(zip(known, pairs, strict=True))
    return {
        "captions": len(known),
        "motion": sum(k["motion"] == p.motion for k, p in both) / len(known),
        "appearance": round(sum(k["appearance"] == p.appearance for k, p in both) / len(known), 3),
    }


def unique_captions(count: int, least_words: int = 12, *, strange: bool = False) -> list[str]:
    """Join labelled captions to different ones of at least so many words.

    Args:
        count: how many.
        least_words: of each.
        strange: begin each with a made-up name that no other has, as places and people do in the
            world's captions: the tagger has to guess it and cannot remember it.
    """
    captions = [
        x.caption for name in ("vbench", "webvid") for x in read_labels(LABELS / f"{name}.txt")
    ]
    made: dict[str, None] = {}
    step = 1
    while len(made) < count:
        for index, caption in enumerate(captions):
            parts, at = [caption.rstrip(".")], index
            while sum(len(part.split()) for part in parts) < least_words:
                at = (at + step) % len(captions)
                parts.append(captions[at].rstrip("."))
            name = f"{_name(len(made))}: " if strange else ""
            made[f"{name}{', '.join(parts)}."] = None
        step += 1
    return list(made)[:count]


def _name(number: int) -> str:
    """Make up a name: syllables for the digits of a number."""
    digits = f"{number:05d}"
    return "".join(_SYLLABLES[at % 2][int(digit)] for at, digit in enumerate(digits)).title()


_SYLLABLES = (
    ("ka", "lo", "vi", "zu", "me", "ro", "ti", "ba", "ne", "go"),
    ("rd", "lsk", "nt", "mb", "st", "ck", "rv", "nd", "gg", "lt"),
)


def speed(splitter: SplitterStage, captions: list[str], repeats: int = 3) -> dict[str, float]:
    """Time one process; the processor's own time, so that a busy machine does not count.

    The captions are split once before, as memory of their words would be found later on in a long
    table; captions that hold a word of their own are new to it all the same in every repeat.
    """
    rates = []
    share = len(captions) // (repeats + 1)
    splitter.split(captions[:share])
    for repeat in range(1, repeats + 1):
        began = time.process_time()
        splitter.split(captions[repeat * share : (repeat + 1) * share])
        rates.append(share / (time.process_time() - began))
    return {**described(captions), "captions a CPU second": round(statistics.median(rates))}


def speed_of_command(name: str, captions: list[str], repeats: int = 3) -> dict[str, float]:
    """Time ``fdream caption-split --workers 2`` whole: start, reading, splitting, writing."""
    walls, processors = [], []
    with tempfile.TemporaryDirectory() as folder:
        source, pairs = Path(folder) / "captions.txt", Path(folder) / "pairs.tsv"
        lines = [" ".join(caption.split()) for caption in captions]
        source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [sys.executable, "-m", "fdream", "caption-split", "--splitter", name]
        for _ in range(repeats):
            used = _processor_s()
            began = time.perf_counter()
            with source.open("rb") as taken, pairs.open("wb") as given:
                subprocess.run([*command, "--workers", "2"], stdin=taken, stdout=given, check=True)
            walls.append(time.perf_counter() - began)
            processors.append(_processor_s() - used)
            written = pairs.read_text(encoding="utf-8").count("\n")
            assert written == len(captions), f"{written} pairs of {len(captions)} captions"
    return {
        **described(captions),
        "captions a second": round(len(captions) / statistics.median(walls)),
        "captions a CPU second": round(len(captions) / statistics.median(processors)),
    }


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def described(captions: list[str]) -> dict[str, float]:
    """Say what captions a speed was measured on."""
    words = sum(len(c.split()) for c in captions)
    return {"captions": len(captions), "words each": round(words / len(captions), 1)}


def main() -> None:
    """Print every figure as JSON."""
    from fdream.core.device import DeviceManager
    from fdream.stages import registry

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("splitter", nargs="?", default="grammar")
    parser.add_argument("--captions", type=int, default=10_000, help="unique ones, for the speed")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing; the median counts")
    asked = parser.parse_args()
    splitter = registry.build("splitter", asked.splitter, {}, device=DeviceManager.choose("cpu"))
    captions = unique_captions(asked.captions)
    strange = unique_captions(asked.captions, strange=True)
    figures = {
        "splitter": asked.splitter,
        **measure(splitter),
        "spriteworld": spriteworld(splitter),
        "speed": speed(splitter, captions, asked.repeats),
        "speed, a new word in each": speed(splitter, strange, asked.repeats),
    }
    if splitter.in_processes:
        figures["speed, two processes"] = speed_of_command(asked.splitter, captions, asked.repeats)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
