"""`python -m assets`, and the entry point of `vblake`."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line and exits.

    Worker processes import this module: it imports nothing before it is called.
    """
    try:
        from assets.commands import main as run
    except KeyboardInterrupt:  # no traceback, even while Python still reads the program
        sys.stderr.write("error: interrupted\n")
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
