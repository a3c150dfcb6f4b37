"""Stages are found by name, refused by name and owner, and never break their neighbours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from fdream.core.captions import CaptionPair
from fdream.core.device import DeviceManager
from fdream.core.errors import PluginError, StageError, UsageError
from fdream.stages import registry
from fdream.stages.declarations import all_declarations, declared, unmatched_limits
from fdream.stages.spec import KINDS

InstallFake = Callable[..., None]

SPLITTER = """
from fdream.core.captions import CaptionPair
from fdream.stages.interfaces import SplitterStage
from fdream.stages.spec import StageOptions, StageSpec

class Options(StageOptions):
    mark: str = "|"
    times: int = 1

SPEC = StageSpec(
    kind="splitter", name="bar", summary="cuts at a bar", options=Options,
    factory="{module}:Bar", licence="MIT", argument="mark",
)

class Bar(SplitterStage):
    def __init__(self, options, *, device):
        self.mark = options.mark

    def split(self, captions):
        return [CaptionPair(*c.split(self.mark, 1)) for c in captions]
"""

BUILTIN = [
    ("prior", "pocket"),
    ("generator", "pocket"),
    ("generator", "dreamer"),
    ("supervisor", "predictnet"),
    ("supervisor", "truth"),
    ("supervisor", "none"),
    ("scheduler", "dreamer"),
    ("scheduler", "ddim"),
    ("scheduler", "dpm++"),
    ("scheduler", "euler"),
    ("splitter", "whole"),
]


def install_bar(install_fake: InstallFake, module: str = "bar_plugin", **changes: str) -> None:
    source = SPLITTER.replace("{module}", module)
    for old, new in changes.items():
        source = source.replace(old, new)
    install_fake("fdream-bar", {"splitter": {"bar": f"{module}:SPEC"}}, **{module: source})


@pytest.mark.parametrize(("kind", "name"), BUILTIN)
def test_built_in_stages_take_the_public_path(kind: str, name: str) -> None:
    found = declared(kind)[name]
    assert found.builtin
    assert registry.spec(kind, name).summary


def test_declaring_and_reading_specs_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from fdream.stages import registry\n"
        "from fdream.stages.spec import KINDS\n"
        "found = [d for k in KINDS for d in registry.declared(k).values() if d.builtin]\n"
        "[registry.spec(d.kind, d.name) for d in found]\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plugin_is_declared_described_and_built(
    install_fake: InstallFake, cpu: DeviceManager
) -> None:
    install_bar(install_fake)
    assert declared("splitter")["bar"].owner == "fdream-bar 1.0"
    assert "bar_plugin" not in sys.modules  # declared from metadata alone
    stage = registry.build("splitter", "bar", {"mark": "/"}, device=cpu)
    assert stage.split(["a dog/runs"]) == [CaptionPair("a dog", "runs")]


def test_the_argument_after_the_colon_sets_the_declared_option(
    install_fake: InstallFake, cpu: DeviceManager
) -> None:
    install_bar(install_fake)
    stage = registry.build("splitter", "bar:::", {}, device=cpu)
    assert stage.split(["a dog::runs"]) == [CaptionPair("a dog", "runs")]
    with pytest.raises(UsageError, match="give it once"):
        registry.options("splitter", "bar:x", {"mark": "y"})
    with pytest.raises(UsageError, match="takes no argument"):
        registry.options("splitter", "whole:x", {})


def test_every_option_problem_is_reported_at_once(install_fake: InstallFake) -> None:
    install_bar(install_fake)
    with pytest.raises(UsageError) as raised:
        registry.options("splitter", "bar", {"marc": "/", "times": "often"})
    message = str(raised.value)
    assert "option marc" in message
    assert "did you mean mark?" in message
    assert "option times" in message
    assert "'often'" in message


def test_a_missing_argument_says_how_to_write_it() -> None:
    with pytest.raises(UsageError, match="write dreamer:BUNDLE"):
        registry.options("generator", "dreamer", {})


def test_an_unknown_name_gets_the_nearest_and_the_known() -> None:
    with pytest.raises(StageError, match=r"Did you mean 'euler'.*Installed: .*ddim") as raised:
        registry.spec("scheduler", "eulr")
    assert raised.value.exit_code == 3


def test_an_empty_group_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdream.stages.declarations.metadata.entry_points", lambda **_: ())
    with pytest.raises(StageError, match=r"pip install -e \."):
        registry.spec("prior", "pocket")


def test_two_owners_of_one_name_are_both_named(install_fake: InstallFake) -> None:
    install_bar(install_fake)
    install_fake("fdream-pub", {"splitter": {"bar": "pub:SPEC"}}, version="2.1")
    with pytest.raises(PluginError, match=r"fdream-bar 1\.0 and fdream-pub 2\.1"):
        registry.spec("splitter", "bar")
    assert registry.spec("splitter", "whole")


def test_naming_one_owner_in_the_environment_settles_a_clash(
    install_fake: InstallFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_bar(install_fake)
    install_fake("fdream-pub", {"splitter": {"bar": "pub:SPEC"}}, version="2.1")
    monkeypatch.setenv("FDREAM_PLUGINS", "fdream_bar")
    assert registry.spec("splitter", "bar").name == "bar"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({'name="bar"': 'name="pub"'}, "calls itself splitter/pub"),
        ({'kind="splitter"': 'kind="prior"'}, "calls itself prior/bar"),
        ({'licence="MIT"': 'licence="MIT", api=2'}, "stage API 2, this fdream speaks 1"),
        ({"SPEC = StageSpec(": "SPEC = dict("}, "is a dict, not a StageSpec"),
        ({"class Options": "import no_such_module\nclass Options"}, "does not import.*no_such"),
        ({"class Options": "raise SystemExit(0)\nclass Options"}, "does not import.*SystemExit"),
    ],
)
def test_a_faulty_spec_is_refused_with_its_owner(
    install_fake: InstallFake, change: dict[str, str], message: str
) -> None:
    install_bar(install_fake, **change)
    with pytest.raises(PluginError, match=message) as raised:
        registry.spec("splitter", "bar")
    assert "fdream-bar" in str(raised.value)
    assert registry.spec("splitter", "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class Bar(SplitterStage)": "class Bar"}, "is not a SplitterStage"),
        ({":Bar": ":Foo"}, "factory bar_plugin:Foo does not import"),
        ({"self.mark = options.mark": "raise ValueError('no luck')"}, "ValueError: no luck"),
        ({"def split": "def cut"}, "abstract"),
    ],
)
def test_a_faulty_factory_is_refused_with_its_owner(
    install_fake: InstallFake, cpu: DeviceManager, change: dict[str, str], message: str
) -> None:
    install_bar(install_fake, **change)
    with pytest.raises(PluginError, match=message) as raised:
        registry.build("splitter", "bar", {}, device=cpu)
    assert "fdream-bar" in str(raised.value)


def test_a_missing_requirement_is_named_before_the_factory_is_imported(
    install_fake: InstallFake, cpu: DeviceManager
) -> None:
    install_bar(
        install_fake, **{'licence="MIT"': 'licence="MIT", requires=("torch", "no_such.module")'}
    )
    with pytest.raises(StageError, match=r"needs no_such\.module.*pip install fdream-bar"):
        registry.build("splitter", "bar", {}, device=cpu)


def test_a_clash_with_a_built_in_disables_the_plugin(install_fake: InstallFake) -> None:
    install_fake("a-thief", {"prior": {"pocket": "thief:SPEC"}})
    assert registry.declaration("prior", "pocket").builtin
    stolen = [d for d in all_declarations("prior") if d.distribution == "a-thief"]
    assert "built-in names are kept" in str(stolen[0].disabled)


@pytest.mark.parametrize(("limit", "on"), [("", False), ("fdream_bar,other", True), ("x", False)])
def test_the_environment_limits_plugins_but_never_the_built_ins(
    install_fake: InstallFake, monkeypatch: pytest.MonkeyPatch, limit: str, on: bool
) -> None:
    install_bar(install_fake)
    monkeypatch.setenv("FDREAM_PLUGINS", limit)
    assert ("bar" in declared("splitter")) is on
    assert "whole" in declared("splitter")
    if not on:
        with pytest.raises(StageError, match="FDREAM_PLUGINS does not name fdream-bar"):
            registry.spec("splitter", "bar")


def test_a_misspelt_limit_is_noticed(
    install_fake: InstallFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_bar(install_fake)
    monkeypatch.setenv("FDREAM_PLUGINS", "fdream-bra")
    assert unmatched_limits() == ["fdream-bra"]


def test_every_kind_has_an_interface() -> None:
    assert set(registry.INTERFACES) == set(KINDS)
