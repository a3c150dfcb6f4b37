"""Write pocket's scores into the pages that quote them: ``python docs/quote_scores.py``.

The scores are those that ``python -m benchmarks.pocket --out benchmarks/pocket_scores.json`` left;
the pages have two comments, between which the table goes.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.judges.tables import markdown  # noqa: E402  # run as a file, from anywhere

SCORES: Final = ROOT / "benchmarks/pocket_scores.json"
PAGES: Final = (ROOT / "README.md", ROOT / "fdream/weights/pocket/README.md")
BEGIN, END = "<!-- scores -->", "<!-- /scores -->"
LEGEND: Final = (
    "*Bar*: what we set out to reach. *Halves*: what is seen and what happens, each in its own "
    "words; in a *whole* caption `t2v` finds them itself. *Ceiling*: how often the same judges are "
    "right about real clips that went through the autoencoder. *First frame*: PSNR in dB of frame "
    "0 against the autoencoder's round trip of the given image. *Background*: mean change from "
    "frame 0 outside of the sprite, of 255 levels."
)
PAGE_WIDTH: Final = 120
RUNS: Final = {"pair": "from both caption halves", "split": "from the whole caption"}


def quoted(page: str, result: Mapping[str, Any]) -> str:
    """Return a page with the table of a result between its two comments.

    Args:
        page: Markdown with ``BEGIN`` and ``END``, once each.
        result: the JSON of ``benchmarks.pocket``.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    below = f"{result['cases']} captions, each with its own seed. {LEGEND}"
    told = f"{markdown(result, RUNS)}\n\n{textwrap.fill(below, PAGE_WIDTH)}"
    return f"{before}{BEGIN}\n\n{told}\n\n{END}{after}"


def main() -> None:
    """Rewrite the pages."""
    result = json.loads(SCORES.read_text(encoding="utf-8"))
    for page in PAGES:
        page.write_text(quoted(page.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
