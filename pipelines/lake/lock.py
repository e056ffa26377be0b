"""One writer at a time. The lock belongs to a process and dies with it, however it dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipelines.lake.store import LocalStore, Store, private
from pipelines.log import ROOT
from pipelines.os_errors import within_limits
from schemas.errors import LakeError

if TYPE_CHECKING:
    from pipelines.lake.lease import Lease

_LOCK = "_lock"
_POLL_S = 0.5
_LONGEST_COMMAND = 200

writer: ContextVar[str | None] = ContextVar("writer", default=None)
"""What this process calls itself to others that wait for it; its command line if None."""


@contextmanager
def writing(store: Store, wait_s: float = 0.0) -> Generator[None]:
    """Holds the lake's write lock. Readers need no lock: files are replaced as a whole.

    The lock of a local lake dies with its process. That of a lake in a bucket is a lease, which
    ends a minute after its process has died (`lake.lease`).

    Args:
        store: the lake.
        wait_s: how long to wait for another process that writes to the lake, seconds.

    Raises:
        LakeError: another process is writing to the lake, or the disk is full, read-only or the
            like.
    """
    if not isinstance(store, LocalStore):
        from pipelines.lake.lease import Lease  # obstore, which a local lake does not need

        lease = Lease(store, _self())
        _wait(lambda: _attempt_lease(lease, store.root), store.root, wait_s)
        with lease.kept(), within_limits(store.staging):
            private(store.staging)
            yield
        return
    with within_limits(store.folder), (store.folder / _LOCK).open("a+") as file:
        _wait(lambda: _attempt(file), store.root, wait_s)
        file.truncate(0)
        file.write(json.dumps(_self()))
        file.flush()
        yield


def _attempt(file: TextIO) -> tuple[str, str] | None:
    """Takes the lock of a local lake, or returns who holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return _told(file.read()), ""
    return None


def _attempt_lease(lease: Lease, lake: str) -> tuple[str, str] | None:
    """Takes the lease of a lake in a bucket, or returns who holds it."""
    other = lease.take()
    if other is None:
        return None
    if other.left_s > 0:
        return _told(other.known), f"If that was killed, the lake is free in {other.left_s:.0f} s. "
    logging.getLogger(ROOT).warning(
        "%s was being written to by another vblake process (%s), which has not been heard of for "
        "a minute: its lease is taken over",
        lake,
        _told(other.known),
    )
    return None


def _wait(attempt: Callable[[], tuple[str, str] | None], lake: str, wait_s: float) -> None:
    """Tries to take the lock until it succeeds, and says once for each holder what it waits for.

    Args:
        attempt: takes the lock, or returns who holds it, and a hint.
        lake: the lake, for messages.
        wait_s: how long to try, seconds.
    """
    latest = time.monotonic() + wait_s
    said: str | None = None
    while (held := attempt()) is not None:
        holder, hint = held
        if time.monotonic() >= latest:
            waited = f" It was waited for {wait_s:g} s." if wait_s else ""
            raise LakeError(
                f"{lake} is being written to by another vblake process ({holder}).{waited} "
                f"{hint}Run the command again when it has finished; "
                "ingest, remove and rollback wait with --wait."
            )
        if holder != said:
            said = holder
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


def _told(known: str) -> str:
    """Who holds the lock, for people, from what it wrote about itself."""
    try:
        return "pid {pid} on {host}, since {since}: {command}".format_map(json.loads(known))
    except (ValueError, TypeError, KeyError):  # it has just taken the lock
        return "which has just started"
