"""Worker processes: how they start, which signals they hear, what they may use up."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_end
from threading import Thread
from typing import Any, TypeVar

from pipelines import log
from pipelines.no_pandas import refuse_pandas

R = TypeVar("R")

BYTES_PER_WORKER = 512 << 20
"""What one worker may need: the largest real files took up to 424 MB, fetched ranges included (docs/performance.md)."""

_DATA_BYTES = (1 << 30) + 4 * BYTES_PER_WORKER
"""Bound on what a worker may allocate, far above what a sound file needs: a damaged one may claim any size. The gigabyte is address space
that Arrow's allocator reserves and does not use."""

_CPU_SECONDS = 120.0
_CPU_SECONDS_PER_BYTE = 1 / 4e6
"""Bound on the work for one file, about a hundred times what a sound one needs: damaged HDF5 can send the library round in circles."""


def _begin_worker(log_level: int) -> None:
    """Runs first in each worker process."""
    log.show(log_level)
    refuse_pandas()
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = _DATA_BYTES if most == resource.RLIM_INFINITY else min(_DATA_BYTES, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, most))
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Ends this process when the one that it works for is gone, killed for instance: another may already be writing to the lake."""
    wait_for_end([sentinel])
    os._exit(1)


def seconds_for(size: int) -> float:
    """Processor time that a worker may use up over a file of so many bytes."""
    return _CPU_SECONDS + size * _CPU_SECONDS_PER_BYTE


def bounded(seconds: float, call: Callable[..., R], *arguments: Any) -> R:
    """A call in a worker process, which dies if it uses up the processor time that it may need."""
    # Not a Python handler: it would wait for the library to come back.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return call(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def unbounded(_: float, call: Callable[..., R], *arguments: Any) -> R:
    """A call in this process, or in one that is not ours."""
    return call(*arguments)


_NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGHUP)


def start_server() -> None:
    """Has the process begin that workers are forked from, if it has not: it takes 0.3 s to import what they need, beside its caller."""
    # There is a process per core, and nothing here multiplies matrices: NumPy's threads would only keep cores busy while they start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Not fork: this process may have threads (Dagster, progress bar), which a forked child would find locked.
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["pipelines.convert.worker_memory", "pipelines.convert.file"]
    )
    # Ctrl-C and the SIGHUP of a closed terminal go to the whole group. The processes that start here do not hear them, not even while they
    # start: what becomes of them is for this process to say.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(
            signal.SIG_BLOCK, _NOT_FOR_WORKERS
        )  # the line above has let Ctrl-C through again
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def processes(workers: int) -> ProcessPoolExecutor:
    """So many worker processes, started."""
    start_server()
    context = multiprocessing.get_context("forkserver")
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin_worker, initargs=(log.shown(),)
    )
    # Started by another thread. What a signal raises, it raises in the main thread, and there it would leave a worker half started, of
    # which nobody knows.
    starting = Thread(target=_start_workers, args=(executor, workers))
    starting.start()
    try:
        starting.join()
    except BaseException:
        starting.join()
        raise
    return executor


def _start_workers(executor: ProcessPoolExecutor, workers: int) -> None:
    with suppress(BrokenProcessPool):  # found out by whoever uses it
        for _ in range(workers):
            executor.submit(os.getpid)
