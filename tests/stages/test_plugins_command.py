"""``fdream plugins`` as its users meet it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from fdream.cli.app import run

InstallFake = Callable[..., None]

SPEC = """
from fdream.stages.spec import StageSpec
SPEC = StageSpec(
    kind="splitter", name="cut", summary="cuts", factory="cutter:Cut", licence="MIT",
    requires=("no_such_module",), downloads=("a knife (2 MB)",),
)
"""


def listing(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, dict[str, object]]:
    assert run(["plugins", "--json", *args]) == 0
    return {f"{row['kind']}/{row['name']}": row for row in json.loads(capsys.readouterr().out)}


def test_a_plain_listing_reads_metadata_alone(
    install_fake: InstallFake, capsys: pytest.CaptureFixture[str]
) -> None:
    install_fake("fdream-cut", {"splitter": {"cut": "cutter_spec:SPEC"}}, cutter_spec=SPEC)
    rows = listing(capsys)
    assert rows["prior/pocket"]["builtin"] is True
    assert rows["splitter/cut"]["status"] == "declared"
    assert "cutter_spec" not in sys.modules


def test_check_tells_what_each_stage_needs(
    install_fake: InstallFake, capsys: pytest.CaptureFixture[str]
) -> None:
    install_fake("fdream-cut", {"splitter": {"cut": "cutter_spec:SPEC"}}, cutter_spec=SPEC)
    row = listing(capsys, "--check", "--kind", "splitter")["splitter/cut"]
    assert row["status"] == "lacks requirements"
    assert row["missing"] == ["no_such_module"]
    assert row["licence"] == "MIT"
    assert row["downloads"] == ["a knife (2 MB)"]


def test_a_broken_plugin_is_listed_and_breaks_nothing(
    install_fake: InstallFake, capsys: pytest.CaptureFixture[str]
) -> None:
    install_fake("fdream-cut", {"splitter": {"cut": "cutter_spec:SPEC"}}, cutter_spec="1 / 0")
    rows = listing(capsys, "--check")
    assert rows["splitter/cut"]["status"] == "broken"
    assert "fdream-cut 1.0" in str(rows["splitter/cut"]["detail"])
    assert "ZeroDivisionError" in str(rows["splitter/cut"]["detail"])
    assert rows["splitter/whole"]["status"] == "ready"
    assert run(["--help"]) == 0


def test_what_is_disabled_is_listed_but_never_imported(
    install_fake: InstallFake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_fake("fdream-cut", {"splitter": {"cut": "cutter_spec:SPEC"}}, cutter_spec=SPEC)
    monkeypatch.setenv("FDREAM_PLUGINS", "fdream-cutt")
    assert run(["plugins", "--check"]) == 0
    shown = capsys.readouterr()
    assert "disabled: FDREAM_PLUGINS does not name fdream-cut" in shown.out
    assert "fdream-cutt" in shown.err
    assert "cutter_spec" not in sys.modules


def test_the_table_has_one_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins", "--kind", "supervisor"]) == 0
    rows = ["/".join(line.split("\t")[:2]) for line in capsys.readouterr().out.splitlines()]
    assert {"supervisor/none", "supervisor/predictnet", "supervisor/truth"} <= set(rows)
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--kind", "prio"], 2, "Did you mean prior?"),
        (["test", "pocket"], 2, "write KIND/NAME"),
        (["test", "sheduler/ddim"], 2, "Did you mean scheduler?"),
        (["test", "scheduler/dim"], 3, "Did you mean 'ddim'?"),
        (["--check", "test", "scheduler/ddim"], 2, "come after it"),
    ],
)
def test_a_wrong_command_gets_its_code_and_its_hint(
    args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plugins", *args]) == code
    assert message in capsys.readouterr().err


def test_testing_a_sound_stage_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins", "test", "splitter/whole", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert {check["verdict"] for check in report["checks"]} == {"passed"}


def test_testing_a_faulty_stage_exits_1_and_says_what_failed(
    install_fake: InstallFake, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SPEC.replace('"no_such_module",', "") + (
        "from fdream.stages.interfaces import SplitterStage\n"
        "class Cut(SplitterStage):\n"
        "    def __init__(self, options, *, device): pass\n"
        "    def split(self, captions): return captions\n"
    )
    install_fake("fdream-cut", {"splitter": {"cut": "cutter:SPEC"}}, cutter=source)
    assert run(["plugins", "test", "splitter/cut"]) == 1
    shown = capsys.readouterr()
    assert "every caption becomes a pair\tfailed" in shown.out
    assert "1 of 3 checks failed" in shown.err
