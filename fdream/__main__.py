"""The door: ``fdream`` and ``python -m fdream``."""

from __future__ import annotations

from fdream.cli.app import main

if __name__ == "__main__":
    main()
