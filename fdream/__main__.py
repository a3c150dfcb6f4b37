"""The door: ``fdream`` and ``python -m fdream``."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the process' command line and exit with its code."""
    try:
        # Here, so that Ctrl-C while Python still reads our modules is as quiet as any other.
        from fdream.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
