"""The entry point of `vblake`: whoever stops the command while Python still reads it gets no traceback either."""

from __future__ import annotations

import atexit
import gc
import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line and exits."""
    # Thousands of classes and functions are imported, of which none is garbage: looking for it took a quarter of that time.
    gc.set_threshold(50_000, 20, 20)
    try:
        if sys.argv[1:2] == ["ingest"] and not {"-h", "--help"} & set(sys.argv):
            # First of all: what workers need takes as long to import as what this process needs.
            from pipelines.convert.workers import start_server
            from pipelines.no_pandas import refuse_pandas

            start_server()
            refuse_pandas()
        from assets.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted before it began\n")
        sys.exit(_INTERRUPTED)
    try:
        run()
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            _leave(leaving.code or 0)
        raise


def _leave(code: int) -> None:
    """Ends the process: Python would take all that it has imported down piece by piece, for 0.1 s. Returns if there is something to say."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # Python says what it makes of that
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage] - what libraries, and coverage, want done
    os._exit(code)


if __name__ == "__main__":
    main()
