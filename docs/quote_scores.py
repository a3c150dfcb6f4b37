"""Write pocket's scores into the pages that quote them: ``python docs/quote_scores.py``.

The scores are those that ``python -m benchmarks.pocket --out benchmarks/pocket_scores.json`` left;
the pages have two comments, between which the table goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.judges.tables import markdown  # noqa: E402  # run as a file, from anywhere

SCORES: Final = ROOT / "benchmarks/pocket_scores.json"
PAGES: Final = (ROOT / "README.md", ROOT / "fdream/weights/pocket/README.md")
BEGIN, END = "<!-- scores -->", "<!-- /scores -->"
RUNS: Final = {"pair": "from both caption halves", "split": "from the whole caption"}


def quoted(page: str, result: Mapping[str, Any]) -> str:
    """Return a page with the table of a result between its two comments.

    Args:
        page: Markdown with ``BEGIN`` and ``END``, once each.
        result: the JSON of ``benchmarks.pocket``.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    told = f"{markdown(result, RUNS)}\n\n{result['cases']} captions, each with its own seed."
    return f"{before}{BEGIN}\n\n{told}\n\n{END}{after}"


def main() -> None:
    """Rewrite the pages."""
    result = json.loads(SCORES.read_text(encoding="utf-8"))
    for page in PAGES:
        page.write_text(quoted(page.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
