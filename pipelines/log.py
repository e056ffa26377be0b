"""What vblake logs, under the name `vblake`, and where it is shown.

By default, Python shows warnings on stderr. The command and its worker processes set their own
level with `show`; a Dask worker or a Dagster daemon keeps the settings it was started with.
"""

from __future__ import annotations

import logging
import sys

ROOT = "vblake"


class _OnStderr(logging.Handler):
    """Writes `warning: ...` to the current stderr, which a progress bar replaces while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            sys.stderr.write(f"{record.levelname.lower()}: {record.getMessage()}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # its reader has gone away
            self.handleError(record)


def show(level: int) -> None:
    """Shows vblake's log on stderr from this level on. May be called again with another level."""
    logger = logging.getLogger(ROOT)
    logger.setLevel(level)
    if not any(isinstance(handler, _OnStderr) for handler in logger.handlers):
        logger.addHandler(_OnStderr())
        logger.propagate = False  # it would be shown twice


def shown() -> int:
    """Returns the level from which the log is shown, to set it in worker processes."""
    return logging.getLogger(ROOT).getEffectiveLevel()
