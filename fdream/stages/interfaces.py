"""The abstract classes a stage implements, one or two for each kind.

Shapes use the project's legend: B batch, C channels, F frames, H height, W width. Frames that cross
a stage boundary are uint8 RGB with channels last; only ``TrainableGenerator`` shows tensors.
Nothing here imports torch or numpy, so a listing stays cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from fdream.core.captions import CaptionPair
    from fdream.core.fit import Demand
    from fdream.core.sizes import Size
    from fdream.models.conditions import FlowTarget, Prediction, VideoCondition, VideoSample
    from fdream.models.noise_schedule import NoiseSchedule

    Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How to sample; what is None is left to the stage.

    Attributes:
        steps: number of sampling steps; None: the stage's default.
        guidance: classifier-free guidance scale, 1 is off; None: the stage's default.
        negative: what to steer away from.
        scheduler: the sampler to use; None: the stage's own.
        on_step: called with (done, total) after every step.
    """

    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    scheduler: SchedulerStage | None = None
    on_step: Callable[[int, int], None] | None = None


class TextToImagePrior(ABC):
    """Kind ``prior``: a caption becomes the first frame.

    Attributes:
        default_size: the size it draws best, used when the user asks for none.
    """

    default_size: Size

    def fit_size(self, size: Size) -> Size:
        """Return the nearest size it can draw; the user is told where it is another."""
        return size

    def demand(self, size: Size) -> Demand | None:
        """Estimate the memory that drawing takes, without loading weights; None: unknown."""
        del size
        return None

    @abstractmethod
    def draw(
        self, captions: list[str], size: Size, seeds: list[int], options: SampleOptions
    ) -> Frames:
        """Draw one image per caption.

        Args:
            captions: B descriptions of what is seen.
            size: height and width in pixels, one that ``fit_size`` returns.
            seeds: B noise seeds; a sample depends on its own seed, never on its neighbours.
            options: how to sample.

        Returns:
            uint8 (B, H, W, 3), RGB.
        """

    def check(self, options: SampleOptions) -> None:
        """Refuse how to sample before any work, where another stage would work first.

        Raises:
            StageError: the stage cannot take that scheduler.
            UsageError: nor that number of steps.
        """
        del options

    def unknown_words(self, caption: str) -> list[str]:
        """Return the words of ``caption`` that the stage cannot know, in order."""
        del caption
        return []

    def provenance(self) -> dict[str, Any]:
        """Return what identifies the weights, for the recipe stored inside outputs."""
        return {}


class VideoGenerator(ABC):
    """Kind ``generator``: a first frame and a caption of the motion become a video.

    Attributes:
        default_frames: number of frames when the user asks for none.
        default_fps: frames per second when the user asks for none.
        default_size: the size it animates best.
    """

    default_frames: int
    default_fps: float
    default_size: Size

    def fit_frames(self, frames: int) -> int:
        """Return the nearest number of frames it can make; the user is told where it is another."""
        return max(1, frames)

    def fit_size(self, size: Size) -> Size:
        """Return the nearest size it can animate; the user is told where it is another."""
        return size

    def demand(self, size: Size, frames: int) -> Demand | None:
        """Estimate the memory that animating takes, without loading weights; None: unknown."""
        del size, frames
        return None

    @abstractmethod
    def animate(
        self,
        first_frames: Frames,
        captions: list[CaptionPair],
        frames: int,
        fps: float,
        seeds: list[int],
        options: SampleOptions,
    ) -> Frames:
        """Animate each first frame.

        Args:
            first_frames: uint8 (B, H, W, 3), RGB.
            captions: B pairs; ``motion`` says what happens, ``appearance`` what is seen.
            frames: number of frames F to make, one that ``fit_frames`` returns.
            fps: frames per second the motion is meant for.
            seeds: B noise seeds; a sample depends on its own seed, never on its neighbours.
            options: how to sample.

        Returns:
            uint8 (B, F, H, W, 3), RGB, the size of ``first_frames``.
        """

    def check(self, options: SampleOptions) -> None:
        """Refuse how to sample before any work, where another stage would work first.

        Raises:
            StageError: the stage cannot take that scheduler.
            UsageError: nor that number of steps.
        """
        del options

    def unknown_words(self, caption: str) -> list[str]:
        """Return the words of ``caption`` that the stage cannot know, in order."""
        del caption
        return []

    def knows_photos(self) -> bool:
        """Whether it animates pictures of any origin; where not, the user is warned of theirs."""
        return True

    def provenance(self) -> dict[str, Any]:
        """Return what identifies the weights, for the recipe stored inside outputs."""
        return {}


class TrainableGenerator(VideoGenerator):
    """A generator whose inner steps are open, as the video objective and free samplers need.

    Concrete ones are ``nn.Module`` too.
    """

    @property
    @abstractmethod
    def schedule(self) -> NoiseSchedule:
        """The noise schedule it is trained on and sampled with."""

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames (B, 3, F, H, W) in [-1, 1] to latents (B, C, F, h, w)."""

    @abstractmethod
    def condition(
        self, first_frame: Tensor, captions: list[CaptionPair], fps: Tensor
    ) -> VideoCondition:
        """Gather what the network is told about a clip.

        Args:
            first_frame: (B, 3, H, W) in [-1, 1].
            captions: B caption pairs.
            fps: (B,), frames per second.

        Returns:
            The condition, computed once per clip and used by every step.
        """

    @abstractmethod
    def predict(self, noisy: Tensor, t: Tensor, condition: VideoCondition) -> Prediction:
        """Run the network once.

        Args:
            noisy: (B, C, F, h, w), latents at noise level ``t``.
            t: (B,), time steps of ``schedule``.
            condition: from ``condition``.

        Returns:
            The raw output in the schedule's prediction type, and the features PredictNet taps.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, F, h, w) to frames (B, 3, F, H, W) in [-1, 1]."""


class FlowSupervisor(ABC):
    """Kind ``supervisor``: optical-flow targets, and the loss that holds features to them.

    Concrete ones are ``nn.Module`` too; their weights serve training only.
    """

    @abstractmethod
    def attach(self, tap_channels: Sequence[int], schedule: NoiseSchedule) -> None:
        """Build what depends on the generator; called once, before the first loss.

        Args:
            tap_channels: width of each feature map in ``Prediction.taps``.
            schedule: the generator's, whose signal level weighs the loss.
        """

    @abstractmethod
    def targets(self, sample: VideoSample) -> FlowTarget:
        """Compute the flow to supervise with, without gradient; the result may be cached.

        Args:
            sample: frames (B, 3, F, H, W) in [-1, 1]; with exact flow where the data has it.

        Returns:
            flow (B, 2, F-1, H, W) in pixels, x first, from each frame to the next, and
            visibility (B, 1, F-1, H, W) in [0, 1].
        """

    @abstractmethod
    def loss(self, prediction: Prediction, target: FlowTarget, t: Tensor) -> Tensor:
        """Return the flow loss, a scalar, before the weight the objective gives it.

        Args:
            prediction: of ``TrainableGenerator.predict``, with its taps.
            target: of ``targets`` for the same clips.
            t: (B,), the time steps of ``prediction``.
        """


class NoiseScheduler(ABC):
    """One sampler bound to one noise schedule; holds the state of one sampling run at a time."""

    @abstractmethod
    def timesteps(self, num_steps: int) -> Tensor:
        """Begin a run: return the time steps to visit, descending, on the CPU.

        Spacing is trailing: the first one is the schedule's last, where no signal is left.
        """

    @abstractmethod
    def start(self, noise: Tensor, first_latents: Tensor | None) -> Tensor:
        """Return the latents the run begins with; call ``timesteps`` before.

        Args:
            noise: (B, C, F, h, w) or (B, C, h, w), standard normal.
            first_latents: (B, C, h, w), latents of the first frame, or None when there is none.

        Returns:
            The noise where the schedule ends without signal. Otherwise the mixture that training
            showed at that step, ``sqrt(abar) * first + sqrt(1 - abar) * noise``.
        """

    @abstractmethod
    def scale_input(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return ``latents`` as the network wants to see them at ``t``."""

    @abstractmethod
    def step(self, output: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """Go from ``t`` to the next time step.

        Args:
            output: the network's raw output, in the schedule's prediction type.
            t: an element of ``timesteps``; steps are taken in order.
            latents: the current latents, unscaled.

        Returns:
            The next latents, shaped like ``latents``; after the last step the clean ones.
        """


class SchedulerStage(ABC):
    """Kind ``scheduler``: makes a sampler for any noise schedule it can serve."""

    @abstractmethod
    def build(self, schedule: NoiseSchedule) -> NoiseScheduler:
        """Bind to a schedule.

        Raises:
            StageError: the sampler cannot serve this schedule.
        """


class SplitterStage(ABC):
    """Kind ``splitter``: a caption becomes what is seen and what happens.

    Attributes:
        in_processes: whether copies of it may work side by side in processes of their own; what
            holds a device or a rate limit works alone and shares out its batch itself.
    """

    in_processes: bool = False

    @abstractmethod
    def split(self, captions: list[str]) -> list[CaptionPair]:
        """Split captions, one pair for each, in order.

        Returns:
            The halves, with the camera's motion where the caption speaks of it, how sure the
            stage is, and a note on what a reader should know of the pair.
        """


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Clips of one size and length that a metric looks at together.

    Attributes:
        frames: uint8 (B, F, H, W, 3), RGB.
        captions: B captions, empty where there is none.
        fps: B frame rates.
        flow: float32 (B, F-1, H, W, 2), pixels, x first, from each frame to the next; None where
            the data does not know it.
        visible: bool (B, F-1, H, W), whether what a pixel shows is seen in the next frame too;
            None without ``flow``.
    """

    frames: Frames
    captions: list[str]
    fps: list[float]
    flow: NDArray[np.float32] | None = None
    visible: NDArray[np.bool_] | None = None


Statistic = Literal["frechet", "mean", "share", "inception"]


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """How what is measured in each clip becomes one figure of a set.

    Attributes:
        name: what the figure is called, unique among all metrics.
        column: which of the metric's columns it summarises.
        statistic: ``frechet`` compares generated features with real ones; ``mean`` and ``share``
            (of clips with 1 among 0 and 1) average over clips; ``inception`` is the Inception
            score of class probabilities.
        better: which way is better; ``neither`` for what only describes.
        unit: such as ``dB``; empty for a bare number.
        consistency: whether a frozen clip scores perfectly, so that the figure is never shown
            without how much moves.
        temporal: whether features see motion, so that frozen clips are worth a comparison.
    """

    name: str
    column: str
    statistic: Statistic
    better: Literal["lower", "higher", "neither"]
    unit: str = ""
    consistency: bool = False
    temporal: bool = False


class Metric(ABC):
    """Kind ``metric``: what is seen in each clip, and which figures summarise a set.

    A metric keeps no state and does no statistics: what it measures in a clip is cached, resumed,
    spread over machines, and given its interval by the same code for all metrics.

    Attributes:
        figures: what is reported.
        needs: what clips have to come with: ``captions``, ``flow``.
    """

    figures: ClassVar[tuple[FigureSpec, ...]]
    needs: ClassVar[frozenset[Literal["captions", "flow"]]] = frozenset()

    @abstractmethod
    def measure(self, clips: ClipBatch) -> dict[str, NDArray[np.floating[Any]]]:
        """Measure clips, each by itself: a clip's values never depend on its neighbours.

        Args:
            clips: B clips, with what ``needs`` names.

        Returns:
            Columns by name, each (B, ...): (B,) for a mean or share, (B, D) or (B, K, D) for
            features or probabilities of a clip or of K parts of it.
        """

    def protocol(self) -> dict[str, str]:
        """Return what decides the figures beside the clips: extractor, hash, own resizing."""
        return {}
