"""What a launcher (torchrun, ``accelerate launch``) says of this process and its siblings.

Both say it through the environment, before anything heavy is imported.
"""

from __future__ import annotations

import os


def num_processes() -> int:
    """Return how many processes were started together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Say whether a launcher started this process, be it alone."""
    return "WORLD_SIZE" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def index() -> int:
    """Return which of all the processes this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Say whether this process writes and speaks for all."""
    return index() == 0


def local_index() -> int:
    """Return which of this machine's processes this one is."""
    return int(os.environ.get("LOCAL_RANK", "0"))
