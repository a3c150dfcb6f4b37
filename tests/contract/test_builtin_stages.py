"""Every installed built-in stage keeps every rule of its kind."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from fdream.stages import registry, testing
from fdream.stages.spec import KINDS, StageKind
from tests.stages import tiny_pipelines

# The first have the packaged weights, the others need some; all run on a tiny bundle too.
PACKAGED_WEIGHTS: set[tuple[StageKind, str]] = {("prior", "pocket"), ("generator", "pocket")}
NEEDS_ARGUMENT: set[tuple[StageKind, str]] = {("generator", "dreamer")}
# Held to the rules on a tiny pipeline of diffusers.
NEEDS_PIPELINE: dict[tuple[StageKind, str], str] = {
    ("prior", "diffusers"): "sd",
    ("generator", "diffusers"): "cogvideox",
}

# Metrics that look through networks of other people, or at a file of the user's: held to the rules
# with small stand-ins in tests/stages/test_metrics.py; and splitters that ask a model, in
# tests/stages/test_model_splitters.py.
NEEDS_WEIGHTS: set[tuple[StageKind, str]] = {
    ("metric", name)
    for name in ("fvd", "fvd-videomae", "fid", "is-frame", "clipsim", "clip-consistency")
} | {("metric", "watermark"), ("splitter", "llm"), ("splitter", "endpoint")}

# Rules that are not for a stage; written out, so that none is passed over by accident.
NOT_APPLICABLE = {
    ("prior", "pocket"): {"weights are on the device", "weights survive a file"},
    ("prior", "diffusers"): {"weights are on the device", "weights survive a file"},
    ("generator", "diffusers"): {
        "inner steps fit together",
        "weights are on the device",
        "weights survive a file",
    },
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
    if found.builtin and (kind, name) not in {*NEEDS_ARGUMENT, *NEEDS_PIPELINE, *NEEDS_WEIGHTS}
    for check in testing.checks(kind)
]


@functools.cache
def subject(kind: StageKind, name: str) -> testing.Subject:
    return testing.Subject(kind, name)


TINY_CASES = [
    pytest.param(kind, name, check, id=f"{kind}/{name}: {testing.title(check)}")
    for kind, name in sorted(PACKAGED_WEIGHTS | NEEDS_ARGUMENT)
    for check in testing.checks(kind)
]


PIPELINE_CASES = [
    pytest.param(kind, name, check, id=f"{kind}/{name}: {testing.title(check)}")
    for kind, name in NEEDS_PIPELINE
    for check in testing.checks(kind)
]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipelines")
    for name in NEEDS_PIPELINE.values():
        tiny_pipelines.build(name).save_pretrained(root / name)
    return root


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_conformance(kind: StageKind, name: str, check: testing.Check) -> None:
    demand(kind, name, testing.run(check, subject(kind, name)))


@pytest.mark.parametrize(("kind", "name", "check"), TINY_CASES)
def test_conformance_on_a_tiny_bundle(
    kind: StageKind, name: str, check: testing.Check, tiny_bundle: Path
) -> None:
    demand(kind, name, testing.run(check, subject(kind, f"{name}:{tiny_bundle}")))


@pytest.mark.parametrize(("kind", "name", "check"), PIPELINE_CASES)
def test_conformance_on_a_tiny_pipeline(
    kind: StageKind, name: str, check: testing.Check, pipelines: Path
) -> None:
    folder = pipelines / NEEDS_PIPELINE[kind, name]
    demand(kind, name, testing.run(check, subject(kind, f"{name}:{folder}")))


def demand(kind: StageKind, name: str, outcome: testing.Outcome) -> None:
    outcome.demand()
    exempt = outcome.check in NOT_APPLICABLE.get((kind, name), ())
    assert (outcome.verdict == "not applicable") is exempt, outcome.detail


def test_every_kind_has_checks() -> None:
    assert set(testing.CHECKS) == set(KINDS)
    for kind in KINDS:
        titles = [testing.title(check) for check in testing.checks(kind)]
        assert len(set(titles)) == len(titles) >= 3
