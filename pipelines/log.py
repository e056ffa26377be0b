"""What vblake logs, under the name `vblake`, and where it shows.

Without further ado Python shows warnings on stderr. The command and its worker processes ask for more, or less, with `show`; a Dask
worker or a Dagster daemon that was started by others has its own settings.
"""

from __future__ import annotations

import logging
import sys

ROOT = "vblake"

WARNINGS = logging.WARNING
DETAILS = logging.INFO

_TALKATIVE = ("aiobotocore", "boto3", "botocore", "s3fs", "urllib3")


class _OnStderr(logging.Handler):
    """Writes `warning: ...` to what is stderr at the time: a progress bar puts itself in its place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            sys.stderr.write(f"{record.levelname.lower()}: {record.getMessage()}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it any more
            self.handleError(record)


def show(level: int) -> None:
    """Shows vblake's log from this level on, on the stderr of this process. May be called again for another level."""
    logger = logging.getLogger(ROOT)
    logger.setLevel(level)
    if not any(isinstance(handler, _OnStderr) for handler in logger.handlers):
        logger.addHandler(_OnStderr())
        logger.propagate = False  # it has been shown


def shown() -> int:
    """The level from which on the log is shown, for worker processes to do the same."""
    return logging.getLogger(ROOT).getEffectiveLevel()


def quiet_libraries() -> None:
    """Keeps the S3 libraries from logging details: at the level DEBUG they write signed headers, tokens and URLs."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)
