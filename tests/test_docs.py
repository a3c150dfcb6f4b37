from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

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
