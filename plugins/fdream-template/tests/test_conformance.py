"""Both stages keep the rules of their kind."""

import pytest

from fdream.stages import testing

STAGES = [
    ("prior", "stripes"),
    ("scheduler", "momentum"),
]
CASES = [(kind, name, check) for kind, name in STAGES for check in testing.checks(kind)]


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_conformance(kind, name, check):
    testing.run(check, testing.Subject(kind, name)).demand()


def test_a_caption_has_its_own_stripes():
    stage = testing.Subject("prior", "stripes").stage
    red, blue = stage.draw(["red", "blue"], stage.default_size, [0, 0], None)
    assert (red != blue).any()
