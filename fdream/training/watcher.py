"""What is seen of a run while it goes: rows of figures, held-out errors, pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from PIL import Image

from fdream.data.encoding import Encoding
from fdream.data.writers import encode_video
from fdream.training.batches import Ahead
from fdream.training.checkpoints import Progress
from fdream.training.engine import Engine
from fdream.training.keeper import Keeper
from fdream.training.objective import Objective
from fdream.training.run_folder import RunFolder


class Watcher:
    """Measures, draws and logs.

    Args:
        objective: what is trained.
        folder: of the run.
        keeper: holds the averaged weights, which are what is measured and drawn.
        engine: one of its processes writes.
        batches: knows how long the loop waited for data.
        progress: how far the run has come; the loop moves it on.
    """

    def __init__(
        self,
        objective: Objective[Any],
        folder: RunFolder,
        keeper: Keeper,
        engine: Engine,
        batches: Ahead[Any],
        progress: Progress,
    ) -> None:
        self._objective = objective
        self._folder = folder
        self._keeper = keeper
        self._engine = engine
        self._batches = batches
        self._progress = progress
        self._last = (progress.step, progress.seconds, 0.0)
        self.evaluated_at: int | None = None
        self.drawn_at: int | None = None
        self._quarantined = folder.quarantined()
        self._note_troubles()

    def log_step(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Log a step's figures, with the pace of the steps since the last such row."""
        step, seconds, waited = self._last
        progress, waits = self._progress, self._batches.waited_s
        self._last = (progress.step, progress.seconds, waits)
        spent = max(progress.seconds - seconds, 1e-9)
        pace = {
            "step_s": spent / (progress.step - step),
            "data_wait": (waits - waited) / spent,
        }
        peak = self._engine.device.memory().peak
        if peak is not None:
            pace["memory_gb"] = peak / 1e9
        return self._log({**figures, **pace, **self._note_troubles()})

    def note(self, **seconds: float) -> None:
        """Log how long something took that is no step."""
        self._log(seconds)

    def evaluate(self) -> dict[str, float]:
        """Measure the averaged weights on held-out samples, and log it."""
        started = time.monotonic()
        self.evaluated_at = self._progress.step
        with self._keeper.averaged():
            measured = self._objective.validate()
        figures = {f"held_out_{key}": value for key, value in measured.items()}
        return self._log({**figures, "evaluate_s": time.monotonic() - started})

    def draw(self) -> dict[str, float]:
        """Draw what the averaged weights do, and log what can be measured of it."""
        started = time.monotonic()
        step = self.drawn_at = self._progress.step
        with self._keeper.averaged():
            drawing = self._objective.drawing()
        if self._engine.is_main:
            Image.fromarray(drawing.sheet).save(self._folder.sheets / f"step-{step:08d}.png")
            clips = [
                (clip.caption, encode_video(clip.frames, clip.fps, Encoding("mp4")))
                for clip in drawing.clips
            ]
            if clips:
                self._folder.write_samples(step, clips)
        figures = {f"sample_{key}": value for key, value in drawing.figures.items()}
        return self._log({**figures, "draw_s": time.monotonic() - started})

    def _note_troubles(self) -> dict[str, float]:
        """Write down clips that could not be read, each once, and say how many there are."""
        # Without the store each process reads its own share of the clips.
        for name, reason in self._engine.gathered(list(self._objective.troubles().items())):
            if name not in self._quarantined:
                self._quarantined.add(name)
                if self._engine.is_main:
                    self._folder.quarantine_clip(name, reason, self._progress.step)
        return {"quarantined": float(len(self._quarantined))} if self._quarantined else {}

    def _log(self, figures: Mapping[str, float]) -> dict[str, float]:
        progress = self._progress
        row = {
            "step": progress.step,
            "samples": progress.samples,
            "minutes": round(progress.seconds / 60, 2),
        }
        row |= {key: float(f"{value:.7g}") for key, value in figures.items()}
        if self._engine.is_main:
            self._folder.write_row(row)
            self._engine.track(figures, progress.step)
        return row
