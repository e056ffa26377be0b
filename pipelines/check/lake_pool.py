"""Checks the folders of a lake in worker processes: most of a check is Python, in one thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from pipelines import log
from pipelines.check.lake_folder import Folder, FolderFound, LakeFacts
from pipelines.lake.store import LocalStore
from pipelines.processes import forkserver, signals_blocked, start_worker
from schemas.errors import LakeError

_FILES_PER_WORKER = 1_000
_BYTES_PER_WORKER = 500_000_000
"""What takes a worker longer than it takes to start: about a second."""


def worthwhile_workers(listed: Mapping[str, Mapping[str, int]], *, deep: bool) -> int:
    """Returns how many processes gain time, at most.

    Args:
        listed: path and bytes of the files of each table.
        deep: whether all data are read.
    """
    files = sum(map(len, listed.values()))
    size = sum(sum(sizes.values()) for sizes in listed.values()) if deep else 0
    return max(1, files // _FILES_PER_WORKER + size // _BYTES_PER_WORKER)


def check_folders(
    lake: LakeFacts, folders: Sequence[Folder], workers: int
) -> Generator[FolderFound]:
    """Yields what is found in each folder, in their order.

    Close the generator to stop early: workers are then killed.

    Args:
        lake: what the checks need to know.
        folders: what to check.
        workers: processes; with one, or for a lake in a bucket, this process does all. It fetches
            a bucket's files ahead, of which the workers would not know.

    Raises:
        LakeError: a worker died.
    """
    workers = min(workers, len(folders))
    if workers <= 1 or not isinstance(lake.store, LocalStore):
        yield from map(lake.check, folders)
        return
    others = frozenset(multiprocessing.active_children())
    executor = _started(lake, workers)
    try:
        with signals_blocked():
            results = executor.map(_check, folders)
        yield from results
    except BrokenProcessPool:
        raise LakeError(
            "A process that reads the lake was killed, most often for lack of memory. "
            "Use fewer with --workers."
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _started(lake: LakeFacts, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, forkserver(__name__), _start, (log.shown(), lake))


_lake: LakeFacts | None = None


def _start(where: log.Log, lake: LakeFacts) -> None:
    """Prepares this process for its work. Runs first in each worker."""
    global _lake
    start_worker(where)
    _lake = lake


def _check(folder: Folder) -> FolderFound:
    assert _lake is not None
    return _lake.check(folder)
