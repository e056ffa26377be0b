"""One writer at a time. The lock belongs to a process and dies with it, however it dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from pipelines.lake.store import LocalStore, Store, private
from pipelines.log import ROOT
from pipelines.os_errors import within_limits
from schemas.errors import LakeError

_LOCK = "_lock"
_POLL_S = 0.5
_LONGEST_COMMAND = 200

writer: ContextVar[str | None] = ContextVar("writer", default=None)
"""What this process calls itself to others that wait for it; its command line if None."""


@contextmanager
def writing(store: Store, wait_s: float = 0.0) -> Generator[None]:
    """Holds the lake's write lock. Readers need no lock: files are replaced as a whole.

    A lake in S3 has no lock; run one ingest at a time there.

    Args:
        store: the lake.
        wait_s: how long to wait for another process that writes to the lake, seconds.

    Raises:
        LakeError: another process is writing to the lake, or the disk is full, read-only or the
            like.
    """
    if not isinstance(store, LocalStore):
        with within_limits(store.staging):
            private(store.staging)
            yield
        return
    with within_limits(store.folder), (store.folder / _LOCK).open("a+") as file:
        _take(file, store.root, wait_s)
        file.truncate(0)
        file.write(json.dumps(_self()))
        file.flush()
        yield


def _take(file: TextIO, lake: str, wait_s: float) -> None:
    """Takes the lock, and says once for each other holder what it waits for."""
    latest = time.monotonic() + wait_s
    told: str | None = None
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
        else:
            return
        if time.monotonic() >= latest:
            waited = f" It was waited for {wait_s:g} s." if wait_s else ""
            raise LakeError(
                f"{lake} is being written to by another vblake process ({holder}).{waited} "
                "Run the command again when it has finished, or give a longer --wait."
            )
        if holder != told:
            told = holder
            logging.getLogger(ROOT).warning(
                "%s is being written to by another vblake process (%s); waiting up to %g s for it",
                lake,
                holder,
                wait_s,
            )
        time.sleep(_POLL_S)


def _self() -> dict[str, str | int]:
    command = writer.get() or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command[:_LONGEST_COMMAND],
    }


def _holder(file: TextIO) -> str:
    """Who holds the lock, for people."""
    file.seek(0)
    try:
        known = json.load(file)
        return "pid {pid} on {host}, since {since}: {command}".format_map(known)
    except (ValueError, TypeError, KeyError):  # it has just taken the lock
        return "which has just started"
