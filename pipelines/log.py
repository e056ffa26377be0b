"""What vblake logs, under the name `vblake`, and where it is shown.

By default, Python shows warnings on stderr. The command and its worker processes set their own
level with `show`; a Dask worker or a Dagster daemon keeps the settings it was started with.
Commands that run long can write a log with times besides (`writing`): what is logged, and what they
`record`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from schemas.errors import UsageError

ROOT = "vblake"
_RECORDS = "vblake_records"
"""Not below `vblake`, whose messages Dagster takes into the record of a run."""


class LogFormat(StrEnum):
    """Formats of a log with times."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Log:
    """Where this process logs; sent to worker processes.

    Attributes:
        level: the level from which `vblake` is shown on stderr.
        file: the log with times; None for stderr, which then has nothing else.
        format: its format; None if there is none.
    """

    level: int = logging.WARNING
    file: Path | None = None
    format: LogFormat | None = None


class _OnStderr(logging.Handler):
    """Writes `warning: ...` to the current stderr, which a progress bar replaces while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        _write(self, record, f"{record.levelname.lower()}: {record.getMessage()}")


class _WithTime(_OnStderr):
    """Writes lines with times to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        _write(self, record, self.format(record))


def _write(handler: logging.Handler, record: logging.LogRecord, line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # its reader has gone away
        handler.handleError(record)


class _Lines(logging.Formatter):
    """Text or JSON, a line per record, with the time in UTC."""

    def __init__(self, chosen: LogFormat) -> None:
        super().__init__()
        self._json = chosen is LogFormat.JSON

    def format(self, record: logging.LogRecord) -> str:
        """Formats one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = " ".join(record.getMessage().split())
        if not self._json:
            return f"{time} {record.levelname} {text}"
        facts = {"time": time, "level": record.levelname.lower(), "message": text}
        return json.dumps(facts | getattr(record, "facts", {}), default=str)


_log = Log()


def show(log: Log | int) -> None:
    """Shows vblake's log on stderr from a level on, or where a log says.

    May be called again with another level.
    """
    global _log
    _log = Log(log, _log.file, _log.format) if isinstance(log, int) else log
    logger = logging.getLogger(ROOT)
    logger.setLevel(_log.level)
    if not any(isinstance(handler, _OnStderr) for handler in logger.handlers):
        logger.addHandler(_OnStderr())
        logger.propagate = False  # it would be shown twice
    if isinstance(log, Log) and log.format is not None:
        _add(log.file, log.format)


def shown() -> Log:
    """Where this process logs, to set it in worker processes."""
    return Log(logging.getLogger(ROOT).getEffectiveLevel(), _log.file, _log.format)


def record(text: str, **facts: object) -> None:
    """Notes in the log with times what a command does, if there is one.

    Args:
        text: for people.
        **facts: for programs.
    """
    logging.getLogger(_RECORDS).info(text, extra={"facts": facts})


def takes_stderr() -> bool:
    """Whether stderr has the log with times, and nothing else."""
    return _log.format is not None and _log.file is None


@contextmanager
def writing(file: Path | None, chosen: LogFormat | None) -> Generator[None]:
    """Writes a log with times in the block.

    Args:
        file: where to append it; None for stderr, if a format is given.
        chosen: its format; text if only a file is given.

    Raises:
        UsageError: the file cannot be written.
    """
    global _log
    if file is None and chosen is None:
        yield
        return
    before, chosen = _log, chosen or LogFormat.TEXT
    try:
        handler = _add(file, chosen)
    except OSError as error:
        raise UsageError(f"--log-file {file} cannot be written ({error.strerror}).") from None
    _log = Log(_log.level, file, chosen)
    logger = logging.getLogger(ROOT)
    plain = [h for h in logger.handlers if type(h) is _OnStderr] if file is None else []
    for other in plain:
        logger.removeHandler(other)
    try:
        yield
    finally:
        for name in (ROOT, _RECORDS):
            logging.getLogger(name).removeHandler(handler)
        for other in plain:
            logger.addHandler(other)
        handler.close()
        _log = before


def _add(file: Path | None, chosen: LogFormat) -> logging.Handler:
    handler: Any = _WithTime() if file is None else logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(_Lines(chosen))
    records = logging.getLogger(_RECORDS)
    records.setLevel(logging.INFO)
    records.propagate = False
    for name in (ROOT, _RECORDS):
        logging.getLogger(name).addHandler(handler)
    return handler
