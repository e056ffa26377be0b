"""The entry point of `vblake`: whoever stops the command while Python still reads it gets no traceback either."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line and exits."""
    try:
        from assets.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted before it began\n")
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
