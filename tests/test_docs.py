from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

from fdream.data.spriteworld.captions import vocabulary
from fdream.data.spriteworld.motions import CAMERAS, MOTIONS
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.sprites import cast
from fdream.stages.builtin.bundles import open_bundle

ROOT = Path(__file__).parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cli_page_is_what_the_commands_say() -> None:
    """If this fails, run ``make docs``."""
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert page == script("generate_cli").page()


def test_pages_quote_the_scores_that_were_measured() -> None:
    """If this fails, run ``python docs/quote_scores.py``."""
    quoting = script("quote_scores")
    result = json.loads(quoting.SCORES.read_text(encoding="utf-8"))
    for path in quoting.PAGES:
        page = path.read_text(encoding="utf-8")
        assert page.count(quoting.BEGIN) == page.count(quoting.END) == 1
        assert page == quoting.quoted(page, result)


def test_the_scores_are_those_of_the_packaged_weights() -> None:
    """If this fails, weights are new: score them, see docs/pocket.md."""
    stages = json.loads(script("quote_scores").SCORES.read_text(encoding="utf-8"))["stages"]
    packaged = open_bundle("pocket").hash
    assert [stages[kind]["sha256"] for kind in ("prior", "generator")] == [packaged, packaged]


def test_the_model_card_says_what_to_ask_for() -> None:
    card = (ROOT / "fdream/weights/pocket/README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", card, re.MULTILINE))
    listed = {name: re.findall(r"[^,()]+", row.replace(" (", ",")) for name, row in rows.items()}
    phrases = {name: [phrase.strip() for phrase in row] for name, row in listed.items()}
    worded = {
        "objects": cast("noto"),
        "motions": {name: wordings for name, (_, wordings) in MOTIONS.items()},
        "scenes": SCENES,
        "camera": {name: wordings for name, wordings in CAMERAS.items() if name != "still"},
    }
    for name, meanings in worded.items():
        told = [phrase for phrase in phrases[name] if phrase]
        known = {wording for wordings in meanings.values() for wording in wordings}
        assert set(told) <= known
        # Each by its first wording, so that none is left out.
        assert {wordings[0] for wordings in meanings.values()} <= set(told)
    assert f"all {len(vocabulary('noto'))} words" in card
