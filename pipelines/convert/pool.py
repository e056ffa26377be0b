"""Converts files in worker processes. A worker that dies costs only the file it was reading."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pipelines.convert.staged import ConvertSettings, FileResult, staging_folder
from pipelines.convert.worker import (
    BYTES_PER_WORKER,
    counter,
    processor_seconds,
    progress_in,
    run_limited,
    worker_process,
)
from pipelines.release.selection import FileTask

if TYPE_CHECKING:
    from pipelines.convert.cluster import Cluster


R = TypeVar("R")


def workers_for(wanted: int | None, memory: int | None) -> int:
    """Returns how many worker processes to use: at least one, and no more than fit the memory.

    Args:
        wanted: number asked for; None for one per core; 0 stays 0, which means this process.
        memory: bound on the memory of all workers together, in bytes; None for half of the
            machine's.

    >>> workers_for(4, 2 * BYTES_PER_WORKER)
    2
    """
    if wanted == 0:
        return 0
    return max(1, min(wanted or _cores(), _processes_in(memory)))


def ahead_of(workers: int, memory: int | None) -> int:
    """Returns how many processes fetch ahead: two for each worker, as far as they fit the memory.

    With one, a file of a behaviour session, which is converted in a tenth of a second, left none
    behind it that was open already.

    Args:
        workers: number of workers.
        memory: as for `workers_for`.

    >>> ahead_of(2, 3 * BYTES_PER_WORKER)
    1
    """
    return max(0, min(2 * workers, _processes_in(memory) - workers))


def _processes_in(memory: int | None) -> int:
    """Returns how many worker processes fit a bound on their memory."""
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return memory // BYTES_PER_WORKER


def _cores() -> int:
    """Returns the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS does not have it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def converting(
    tasks: Sequence[FileTask],
    settings: ConvertSettings,
    workers: int,
    cluster: Cluster | None = None,
    *,
    ahead: int = 0,
) -> Generator[Iterator[FileResult]]:
    """Converts files in the block, whose value yields their results as they are ready.

    What is wrong with a file is in its result. Workers of this machine begin at once, whatever else
    the block does before it asks for a result. An exception in the block kills them.

    Args:
        tasks: files, converted in this order.
        settings: what the workers need besides.
        workers: processes on this machine; 0 means this process.
        cluster: the workers of a Dask scheduler, to use instead.
        ahead: processes besides the workers that fetch the next files from a bucket meanwhile.
    """
    if cluster is not None:
        from pipelines.convert.cluster import convert_on_cluster

        with closing(convert_on_cluster(tasks, settings, cluster)) as results:
            yield results
    elif not workers:
        yield (_convert_file(task, settings) for task in tasks)
    else:
        fetched = settings.source.is_bucket and not settings.verify_hash
        with _Workers(workers, ahead if fetched else 0, settings) as pool:
            yield pool.convert(tasks)


def _convert_file(task: FileTask, settings: ConvertSettings) -> FileResult:
    # Imported where files are read: the process that publishes needs neither readers nor h5py.
    from pipelines.convert.file import convert_file

    return convert_file(task, settings, on_read=progress_in(task.bytes or 0, task.kind))


def _fetch_ahead(task: FileTask, settings: ConvertSettings, turns: int) -> None:
    from pipelines.convert.file import fetch_ahead

    fetch_ahead(task, settings, turns)


_active: list[_Workers] = []


def bytes_in_progress() -> int:
    """How far the workers of this process are in the files that they convert now, bytes."""
    return sum(counter.value for workers in _active for counter in workers.counters)


class _Workers:
    """Worker processes, each fed by a thread of this process. Use it in a `with` statement.

    There are more of them than convert at a time if files are fetched ahead: each opens its file
    and starts to fetch it before it is its turn, so that neither link nor processor wait for the
    other. On leaving the block because of an exception, Ctrl-C included, the workers are killed.
    """

    def __init__(self, count: int, ahead: int, settings: ConvertSettings) -> None:
        self._settings = settings
        # As many are fetched at a time as are converted.
        self._fetch_ahead = partial(_fetch_ahead, turns=count) if ahead else None
        self._turns = threading.Semaphore(count)
        self._threads = ThreadPoolExecutor(count + ahead, thread_name_prefix="vblake-worker")
        self._own = threading.local()
        self.counters: list[Any] = []
        self._started: list[ProcessPoolExecutor] = []
        self._running: list[Future[FileResult]] = []
        self._stopping = False
        self._others = frozenset(multiprocessing.active_children())

    def __enter__(self) -> Self:
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.remove(self)
        if kind is not None:
            self._stopping = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            # Again and again: a thread may be about to start a worker.
            while not all(future.done() for future in self._running):
                for process in set(multiprocessing.active_children()) - self._others:
                    process.kill()
                time.sleep(0.02)
        self._threads.shutdown()
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(ProcessPoolExecutor.shutdown, self._started))

    def convert(self, tasks: Iterable[FileTask]) -> Iterator[FileResult]:
        """Starts to convert files; returns their results as they are ready."""
        self._running = [self._threads.submit(self._convert, task) for task in tasks]
        return (future.result() for future in as_completed(self._running))

    def _convert(self, task: FileTask) -> FileResult:
        """Converts one file in the worker of this thread.

        If the worker dies, the file gets a second try in a new one: the kernel may have killed the
        worker for the memory that others took.
        """
        for _ in range(2):
            try:
                if self._fetch_ahead is not None:
                    self._call(self._fetch_ahead, task)
                with self._turns:
                    return self._call(_convert_file, task)
            except BrokenProcessPool:
                del self._own.executor
                if self._stopping:
                    raise CancelledError from None
            finally:
                self._own.counter.value = 0
        error = (
            f"file {task.object.key}: the worker process died twice while reading it: it was "
            "killed (most often for lack of memory), it was stopped because it did not finish, or "
            "the HDF5 library crashed. Use a machine with more memory, or check the file."
        )
        return FileResult(task, staging_folder(task, self._settings), error=error)

    def _call(self, call: Callable[[FileTask, ConvertSettings], R], task: FileTask) -> R:
        """Returns what a call returns in the worker of this thread."""
        seconds = processor_seconds(task.bytes or 0)
        executor = self._executor()
        return executor.submit(run_limited, seconds, call, task, self._settings).result()

    def _executor(self) -> ProcessPoolExecutor:
        if not hasattr(self._own, "executor"):
            self._own.counter = counter()
            self.counters.append(self._own.counter)
            self._own.executor = worker_process(self._own.counter)
            self._started.append(self._own.executor)
        return self._own.executor
