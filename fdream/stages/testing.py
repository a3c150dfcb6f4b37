"""The conformance kit: what a plugin author runs against a stage, and we against ours.

In a plugin's tests::

    from fdream.stages import testing

    @pytest.mark.parametrize("check", testing.checks("prior"), ids=testing.title)
    def test_conformance(check):
        testing.run(check, testing.Subject("prior", "stripes")).demand()

On the command line: ``fdream plugins test prior/stripes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from fdream.core.errors import CheckFailed
from fdream.stages.conformance import captions, figures, flow, pictures, sampling, weights
from fdream.stages.conformance.subject import NotApplicable, Subject
from fdream.stages.spec import StageKind

__all__ = ["CHECKS", "Outcome", "Subject", "checks", "run", "run_all", "title"]

Check = Callable[[Subject], None]

_PICTURES: Final[tuple[Check, ...]] = (
    pictures.frames_have_the_promised_form,
    pictures.a_seed_decides_everything,
    pictures.a_fresh_stage_agrees,
    pictures.a_batch_may_be_split,
    pictures.progress_is_reported,
    pictures.it_describes_itself,
    weights.weights_are_on_the_device,
    pictures.weights_survive_a_file,
)

CHECKS: Final[dict[StageKind, tuple[Check, ...]]] = {
    "prior": _PICTURES,
    "generator": (
        *_PICTURES,
        pictures.inputs_are_left_alone,
        pictures.inner_steps_fit_together,
    ),
    "supervisor": (
        flow.targets_have_the_promised_form,
        flow.targets_repeat,
        flow.a_batch_may_be_split,
        flow.the_loss_reaches_every_tap,
        flow.weights_are_on_the_device,
        flow.weights_survive_a_file,
    ),
    "scheduler": (
        sampling.some_schedule_is_served,
        sampling.timesteps_descend_from_the_last,
        sampling.a_perfect_network_is_followed_to_the_end,
        sampling.runs_repeat,
        sampling.a_batch_may_be_split,
        sampling.shape_dtype_and_device_are_kept,
    ),
    "splitter": (
        captions.every_caption_becomes_a_pair,
        captions.runs_repeat,
        captions.a_batch_may_be_split,
    ),
    "metric": (
        figures.columns_have_the_promised_form,
        figures.runs_repeat,
        figures.a_batch_may_be_split,
        figures.the_protocol_is_text,
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found.

    Attributes:
        check: its title.
        verdict: ``not applicable`` says that the rule is not for this stage.
        detail: what was seen, or why it does not apply; empty when all is well.
    """

    check: str
    verdict: Literal["passed", "failed", "not applicable"]
    detail: str = ""

    def demand(self) -> None:
        """Raise ``CheckFailed`` if the check failed."""
        if self.verdict == "failed":
            raise CheckFailed(f"{self.check}: {self.detail}.")


def checks(kind: StageKind) -> tuple[Check, ...]:
    """Return the checks for a kind of stage."""
    return CHECKS[kind]


def title(check: Check) -> str:
    """Return a check's name as words."""
    return check.__name__.replace("_", " ")


def run(check: Check, subject: Subject) -> Outcome:
    """Run one check.

    Raises:
        FdreamError: the stage cannot be built.
    """
    stage = type(subject.stage).__name__  # what cannot be built is no matter of conformance
    try:
        check(subject)
    except NotApplicable as reason:
        return Outcome(title(check), "not applicable", str(reason))
    except CheckFailed as failure:
        return Outcome(title(check), "failed", str(failure))
    except Exception as error:  # the plugin boundary: foreign code runs here
        return Outcome(title(check), "failed", f"{stage} raised {type(error).__name__}: {error}")
    return Outcome(title(check), "passed")


def run_all(subject: Subject) -> Iterator[Outcome]:
    """Run every check for the subject's kind, one after another."""
    for check in checks(subject.kind):
        yield run(check, subject)
