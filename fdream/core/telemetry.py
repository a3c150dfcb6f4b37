"""Libraries report to nobody what is done here."""

from __future__ import annotations

import os
from typing import Final

# The Hub's client asks for these when it is first imported.
_VARIABLES: Final = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def switch_off() -> None:
    """Tell the libraries so, unless the user told them something else."""
    for name in _VARIABLES:
        os.environ.setdefault(name, "1")
