"""The stages of one run, built when first needed and then kept for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fdream.core.captions import CaptionPair
from fdream.core.errors import WeightsError
from fdream.core.limits import GUIDANCE, STEPS
from fdream.stages import registry
from fdream.stages.interfaces import SampleOptions

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.core.report import Reporter
    from fdream.stages.interfaces import SplitterStage, TextToImagePrior, VideoGenerator

Role = Literal["prior", "generator", "splitter", "scheduler"]


@dataclass(frozen=True, slots=True)
class StageChoices:
    """The stages of a run as the user wrote them, ``NAME`` or ``NAME:ARG``."""

    prior: str = "pocket"
    generator: str = "pocket"
    splitter: str = "grammar"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one stage samples; None leaves a choice to the stage.

    A scheduler changes the sampler alone; the noise schedule belongs to the weights.

    Raises:
        UsageError: a number is out of range.
    """

    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    scheduler: str | None = None

    def __post_init__(self) -> None:
        STEPS.refuse_outside("steps", self.steps)
        GUIDANCE.refuse_outside("guidance", self.guidance)


class Workshop:
    """Holds the stages of a run, its device and its reporter.

    Args:
        choices: which stages.
        device: where they work.
        reporter: who hears of progress and warnings.
    """

    def __init__(self, choices: StageChoices, device: DeviceManager, reporter: Reporter) -> None:
        self.choices = choices
        self.device = device
        self.reporter = reporter
        self._told: set[str] = set()

    @cached_property
    def prior(self) -> TextToImagePrior:
        """The stage that draws the first frame."""
        return registry.build("prior", self.choices.prior, {}, device=self.device)

    @cached_property
    def generator(self) -> VideoGenerator:
        """The stage that animates it."""
        return registry.build("generator", self.choices.generator, {}, device=self.device)

    @cached_property
    def splitter(self) -> SplitterStage:
        """The stage that parts a caption into what is seen and what happens."""
        return registry.build("splitter", self.choices.splitter, {}, device=self.device)

    def check(self, *roles: Role, scheduler: str | None = None) -> None:
        """Look up stages before any work: a misspelt last one would cost all that came before.

        Raises:
            StageError: one is not installed, or its declaration does not hold.
            UsageError: its argument is not valid.
        """
        for role in roles:
            registry.options(role, getattr(self.choices, role), {})
        if scheduler is not None:
            registry.options("scheduler", scheduler, {})

    def check_sampling(self, role: Literal["prior", "generator"], sampling: Sampling) -> None:
        """Have a stage refuse what it cannot do, where others would work before its turn.

        Raises:
            StageError: it cannot take that scheduler.
            UsageError: it cannot take that number of steps.
        """
        stage = self.prior if role == "prior" else self.generator
        stage.check(self._options(sampling))

    def find_weights(self) -> None:
        """Have both steps find, or fetch, what they load, before either works.

        Raises:
            WeightsError: it is not to be had; of two, both are told.
        """
        faults = []
        for role in ("prior", "generator"):
            try:
                # Its own size is what a stage reads first, and before any network.
                _ = getattr(self, role).default_size
            except WeightsError as error:
                faults.append(error)
        if len(faults) == 1:
            raise faults[0]
        if faults:
            # One missing bundle that serves both steps is one fault.
            raise WeightsError("\n".join(dict.fromkeys(map(str, faults))))

    def defaults(self, role: Literal["prior", "generator"]) -> dict[str, Any]:
        """Return what a stage takes where nothing is asked for, as far as it tells."""
        if role == "prior":
            return {"size": str(self.prior.default_size), **_stated(self.prior)}
        made = self.generator
        shape = {"frames": made.default_frames, "fps": made.default_fps}
        return {"size": str(made.default_size), **shape, **_stated(made)}

    def move_to(self, device: DeviceManager) -> None:
        """Work on another device; stages are built again when they are next needed."""
        self.device = device
        for role in ("prior", "generator", "splitter"):
            self.__dict__.pop(role, None)

    def split(self, prompt: str) -> CaptionPair:
        """Split one prompt."""
        return self.splitter.split([prompt])[0]

    @contextmanager
    def sample_options(self, sampling: Sampling, description: str) -> Iterator[SampleOptions]:
        """Turn settings into what a stage takes, with a progress bar while it works."""
        with self._steps_shown(description) as on_step:
            yield replace(self._options(sampling), on_step=on_step)

    def _options(self, sampling: Sampling) -> SampleOptions:
        scheduler = None
        if sampling.scheduler is not None:
            scheduler = registry.build("scheduler", sampling.scheduler, {}, device=self.device)
        return SampleOptions(
            steps=sampling.steps,
            guidance=sampling.guidance,
            negative=sampling.negative,
            scheduler=scheduler,
        )

    @contextmanager
    def _steps_shown(self, description: str) -> Iterator[Callable[[int, int], None]]:
        with ExitStack() as stack:
            bars: list[Any] = []

            def on_step(done: int, total: int) -> None:
                del done
                if not bars:  # the stage alone knows how many steps it takes
                    opened = self.reporter.progress(total, description)
                    bars.append(stack.enter_context(opened))
                bars[0].update(1)

            yield on_step

    def warn_once(self, text: str, about: str = "") -> None:
        """Warn of something that would otherwise be repeated for every sample.

        Args:
            text: the warning.
            about: what it is of, where the text names a sample; the first one speaks for all.
        """
        key = about or text
        if key not in self._told:
            self._told.add(key)
            self.reporter.warn(text)

    def warn_unknown_words(self, role: Literal["prior", "generator"], captions: list[str]) -> None:
        """Name the words a stage does not know, and say how to choose one that may."""
        stage = self.prior if role == "prior" else self.generator
        words = {w.lower(): w for caption in captions for w in stage.unknown_words(caption)}
        # t2v asks two stages of one bundle; one warning is enough.
        fresh = [word for key, word in words.items() if f"word {key}" not in self._told]
        if not fresh:
            return
        self._told.update(f"word {key}" for key in words)
        name, argument = registry.split_argument(getattr(self.choices, role))
        named = ", ".join(repr(word) for word in fresh[:12])
        more = f" and {len(fresh) - 12} more" if len(fresh) > 12 else ""
        self.reporter.warn(
            f"{name} does not know {named}{more} and goes on without. It is a small model, and "
            f"knows words in one form alone; `fdream models {argument or name}` lists them, and "
            f"--{role} chooses a larger model (`fdream models` lists some)."
        )

    def stage_record(self, role: Role, chosen: str) -> dict[str, Any]:
        """Return what identifies a stage: name, distribution, version, weights."""
        found = registry.declaration(role, chosen)
        record: dict[str, Any] = {
            "name": _without_folder(chosen),
            "distribution": found.distribution,
            "version": found.version,
        }
        if role == "prior":
            record |= self.prior.provenance()
        elif role == "generator":
            record |= self.generator.provenance()
        return record


def _stated(stage: TextToImagePrior | VideoGenerator) -> dict[str, Any]:
    stated: dict[str, Any] = stage.provenance().get("defaults", {})
    return stated


def _without_folder(name: str) -> str:
    """Keep an argument that names something, such as a Hub id, and only the end of a path."""
    bare, argument = registry.split_argument(name)
    if argument is None:
        return name
    # BUNDLE@BASE names two, unless the whole is the name of one.
    named = [argument] if Path(argument).exists() else argument.split("@")
    return f"{bare}:{'@'.join(map(_end_of_path, named))}"


def _end_of_path(named: str) -> str:
    path = Path(named)
    if path.is_absolute() or path.exists() or named.startswith((".", "~")) or "\\" in named:
        return path.name
    return named
