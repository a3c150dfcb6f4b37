"""Every installed built-in stage keeps every rule of its kind."""

from __future__ import annotations

import functools

import pytest

from fdream.core.errors import WeightsError
from fdream.stages import registry, testing
from fdream.stages.spec import KINDS, StageKind

# These run when the bundle they name is there; ``dreamer`` is told which one by its own test.
NEEDS_WEIGHTS = {("prior", "pocket"), ("generator", "pocket")}
NEEDS_ARGUMENT = {("generator", "dreamer")}

# Rules that are not for a stage; written out, so that none is passed over by accident.
NOT_APPLICABLE = {
    ("prior", "pocket"): {"weights are on the device", "weights survive a file"},
    ("supervisor", "none"): {
        "the loss reaches every tap",
        "weights are on the device",
        "weights survive a file",
    },
}

CASES = [
    pytest.param(kind, name, check, id=f"{kind}/{name}: {testing.title(check)}")
    for kind in KINDS
    for name, found in registry.declared(kind).items()
    if found.builtin and (kind, name) not in NEEDS_ARGUMENT
    for check in testing.checks(kind)
]


@functools.cache
def subject(kind: StageKind, name: str) -> testing.Subject:
    return testing.Subject(kind, name)


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_conformance(kind: StageKind, name: str, check: testing.Check) -> None:
    try:
        outcome = testing.run(check, subject(kind, name))
    except WeightsError as error:
        if (kind, name) not in NEEDS_WEIGHTS:
            raise
        pytest.skip(str(error))
    outcome.demand()
    exempt = testing.title(check) in NOT_APPLICABLE.get((kind, name), ())
    assert (outcome.verdict == "not applicable") is exempt, outcome.detail


def test_every_kind_has_checks() -> None:
    assert set(testing.CHECKS) == set(KINDS)
    for kind in KINDS:
        titles = [testing.title(check) for check in testing.checks(kind)]
        assert len(set(titles)) == len(titles) >= 3
