"""Pocket at its examination: the cases become pictures and clips, and those become verdicts.

Everything goes through ``pipelines.generation``, as the commands do, so what is scored is what
users get.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from einops import rearrange

from benchmarks.judges.protocol import Case, world
from benchmarks.judges.score import Verdict
from benchmarks.judges.verdicts import Bench
from fdream.core.captions import CaptionPair
from fdream.core.errors import UsageError
from fdream.core.report import Reporter
from fdream.core.seeds import noise_seed
from fdream.pipelines.generation import (
    ClipSettings,
    Sample,
    StillSettings,
    image_to_video,
    text_to_image,
)
from fdream.pipelines.given import prompt_captions
from fdream.pipelines.workshop import Workshop
from fdream.stages.builtin.pixels import to_uint8, to_unit
from fdream.stages.interfaces import TrainableGenerator

RUNS: Final = {
    "still": "t2i alone, from the true appearance half",
    "pair": "t2v from the true caption halves",
    "split": "t2v from the whole caption, through the default splitter",
    "image": "i2v from a real rendering and the true motion half",
}
STILLS_AT_ONCE: Final = 20
IMAGE_SHARE: Final = 4
"""One in so many cases is also animated from its real first frame, which needs the font."""


@dataclass(frozen=True, slots=True)
class Examination:
    """Pocket, its settings and its judges.

    Attributes:
        shop: the stages.
        still: how first frames are drawn.
        clip: how they are animated.
        bench: the judges.
    """

    shop: Workshop
    still: StillSettings
    clip: ClipSettings
    bench: Bench = field(default_factory=Bench)

    def ask(self, run: str, case: Case) -> Verdict:
        """Have the clip of one case made and judged; ``run`` is a key of ``RUNS`` but not "still".

        Raises:
            DataError: the run needs the emoji font, and it is not installed.
        """
        started = time.perf_counter()
        pair, sample = self.captions(run, case), Sample(case.index)
        if run == "image":
            painter = world()
            first = painter.render(case.shown, painter.frames).frames[0]
        else:
            first = text_to_image(pair, sample, self.still, self.shop).pixels
        made = image_to_video(first, pair, sample, self.clip, self.shop).frames
        took = time.perf_counter() - started
        verdict = self.bench.clip(case, made, self._round_trip(first))
        return replace(verdict, measured={**verdict.measured, "seconds": took})

    def captions(self, run: str, case: Case) -> CaptionPair:
        """Return the halves from which a run makes the clip of a case."""
        if run == "split":
            return prompt_captions(case.shown.caption, self.shop)
        return case.shown.pair

    def ask_stills(self, asked: list[Case]) -> list[Verdict]:
        """Have the first frames of some cases drawn, from their true appearance halves, and judged.

        Drawn together, which is three times as fast as one by one and differs in the last bits
        only: noise belongs to the sample.
        """
        prior, sampling = self.shop.prior, self.still.sampling
        size = self.still.size or prior.default_size
        with self.shop.sample_options(sampling, "images") as options:
            drawn = prior.draw(
                [case.shown.pair.appearance for case in asked],
                size,
                [noise_seed(case.index, "prior", 0) for case in asked],
                options,
            )
        return [self.bench.still(case, picture) for case, picture in zip(asked, drawn, strict=True)]

    def _round_trip(self, picture: np.ndarray) -> np.ndarray:
        """Return what the generator's autoencoder leaves of a picture, uint8 (H, W, 3)."""
        generator = self.shop.generator
        assert isinstance(generator, TrainableGenerator)
        with self.shop.device.inference():
            unit = self.shop.device.place(rearrange(to_unit(picture[None]), "b c h w -> b c 1 h w"))
            frames = to_uint8(generator.decode(generator.encode(unit)))
        return frames[0, 0]


def examine(
    examination: Examination, run: str, asked: list[Case], journal: Journal, report: Reporter
) -> list[Verdict]:
    """Ask the cases of a run; those in the journal are not asked again.

    Where the splitter finds the true halves, `split` takes the verdict of `pair`: it is the same
    clip, made by the same seed from the same words.
    """
    if run == "image":
        asked = asked[: len(asked) // IMAGE_SHARE]
    known = {case.index: journal.find(run, case.index) for case in asked}
    if run == "split":
        for case in asked:
            split, true = examination.captions(run, case), case.shown.pair
            if (split.appearance, split.motion) == (true.appearance, true.motion):
                known[case.index] = known[case.index] or journal.find("pair", case.index)
    open_cases = [case for case in asked if known[case.index] is None]
    size = STILLS_AT_ONCE if run == "still" else 1
    with report.progress(len(asked), run, initial=len(asked) - len(open_cases)) as bar:
        for start in range(0, len(open_cases), size):
            batch = open_cases[start : start + size]
            if run == "still":
                fresh = examination.ask_stills(batch)
            else:
                fresh = [examination.ask(run, case) for case in batch]
            for verdict in fresh:
                journal.add(run, verdict)
                known[verdict.index] = verdict
            bar.update(len(fresh))
    return [verdict for verdict in known.values() if verdict is not None]


class Journal:
    """Verdicts on disk, one a line, so that an interrupted examination goes on where it stopped.

    Args:
        path: of the file; None keeps them as long as this lives.
        about: what the verdicts depend on; a journal about something else is refused.

    Raises:
        UsageError: the file is about other weights or settings.
    """

    def __init__(self, path: Path | None, about: dict[str, object]) -> None:
        self._path = path
        self._known: dict[tuple[str, int], Verdict] = {}
        if path is None:
            return
        begun = path.with_name(f"{path.name}.{os.getpid()}")
        begun.write_text(json.dumps(about) + "\n", encoding="utf-8")
        try:
            # Whole or not at all, and never over what a process with another part has begun.
            os.link(begun, path)
        except FileExistsError:
            self._read(path, about)
        finally:
            begun.unlink()

    def _read(self, path: Path, about: dict[str, object]) -> None:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        if json.loads(head) != json.loads(json.dumps(about)):
            raise UsageError(
                f"--journal {path}: its verdicts are about other weights or settings; "
                "give another file, or remove this one."
            )
        for line in lines:
            entry = json.loads(line)
            run = entry.pop("run")
            self._known[run, entry["index"]] = Verdict(**entry)

    def find(self, run: str, index: int) -> Verdict | None:
        """Return the verdict on a case, if it is known."""
        return self._known.get((run, index))

    def add(self, run: str, verdict: Verdict) -> None:
        """Write a verdict down."""
        self._known[run, verdict.index] = verdict
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"run": run, **asdict(verdict)}) + "\n")
