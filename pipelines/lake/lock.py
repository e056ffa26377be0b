"""One writer at a time. The lock belongs to a process and dies with it, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager

from pipelines.lake.store import LocalStore, Store, private
from pipelines.os_errors import within_limits
from schemas.errors import LakeError

_LOCK = "_lock"


@contextmanager
def writing(store: Store) -> Generator[None]:
    """Holds the lake's write lock. Readers need no lock: files are replaced as a whole.

    A lake in S3 has no lock; run one ingest at a time there.

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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise LakeError(
                f"{store.root} is being written to by another vblake process (pid {owner}). "
                "Wait until it has finished."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
