"""A worker process that converts files: how it starts, what it may use, how far it is.

Each worker has an executor of its own, so that a worker that dies costs the one file that it was
reading. Workers are forked from a server process that has imported the readers already.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver as fork_server
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

from pipelines import log
from pipelines.processes import block_signals, forkserver, signals_blocked, start_worker
from pipelines.release.selection import FileKind

R = TypeVar("R")

BYTES_PER_WORKER = 512 * 10**6
"""Memory that a worker takes at most. Planes of any size took up to 435 MB, including the byte
ranges being fetched: `python -m benchmarks.large_plane`."""

READ_SHARE: Mapping[FileKind, float] = {
    FileKind.BEHAVIOR_SESSION: 15 / 196,
    FileKind.OPHYS_EXPERIMENT: 270 / 670,
}
"""The part of a file that the default tables are read from, of files of the released size."""

_CPU_SECONDS = 120.0
_CPU_SECONDS_PER_BYTE = 1 / 4e6
"""Limit on the processor time for one file, about a hundred times what a sound file needs: a
damaged file can send the HDF5 library into an endless loop. Processor time, not time on the clock:
a slow network or a suspended laptop must not fail a good file."""


def _converting_forkserver() -> ForkServerContext:
    # obstore is only imported: its threads, which come with a client, would not survive a fork.
    return forkserver(
        "pipelines.convert.libraries", "pipelines.convert.file", "pipelines.source.object_store"
    )


def start_early() -> None:
    """Starts the server that workers are forked from, and does not wait for it.

    It takes 0.25 s to import the readers, which this process can use for its plan. If there turns
    out to be nothing to convert, another core has worked for nothing.
    """
    _converting_forkserver()
    resource_tracker.ensure_running()  # it would unblock the signals
    with signals_blocked():
        fork_server.ensure_running()


def worker_process(moved: Any = None) -> ProcessPoolExecutor:
    """Returns an executor with one worker process, which starts with the first call.

    Call this, and `submit`, in another thread than the main thread: the signals that stop a command
    are blocked in the calling thread, whose mask the worker inherits.
    """
    context = _converting_forkserver()
    executor = ProcessPoolExecutor(1, context, _start, (log.shown(), moved))
    # After the executor is made: its semaphores start Python's resource tracker, which unblocks.
    block_signals()
    return executor


def counter() -> Any:
    """A number that a worker shares with this process: how far it is in its file, bytes."""
    return multiprocessing.get_context("forkserver").RawValue("q", 0)


_moved: Any = None


def _start(where: log.Log, moved: Any) -> None:
    """Prepares this process for its work. Runs first in each worker."""
    global _moved
    start_worker(where)
    _moved = moved


def progress_in(size: int, kind: FileKind) -> Callable[[int], None] | None:
    """Returns what is told each time a part of a file was read; None if nobody wants to know.

    How far a worker is in its file is what it has read of the part that is read of such files.

    Args:
        size: of the file, bytes.
        kind: of the file.
    """
    if _moved is None:
        return None
    read = 0

    def on_read(count: int) -> None:
        nonlocal read
        read += count
        _moved.value = round(size * min(0.99, read / max(1.0, size * READ_SHARE[kind])))

    return on_read


def processor_seconds(size: int) -> float:
    """Returns the processor time that a worker may use for a file of `size` bytes."""
    return _CPU_SECONDS + size * _CPU_SECONDS_PER_BYTE


def run_limited(seconds: float, call: Callable[..., R], *arguments: Any) -> R:
    """Returns `call(*arguments)`; the kernel kills this process if that takes too long.

    Args:
        seconds: limit on the processor time.
        call: what to call.
        *arguments: its arguments.
    """
    with killed_after(seconds):
        return call(*arguments)


_files = 0
_counting = threading.Lock()


@contextmanager
def killed_after(seconds: float) -> Generator[None]:
    """The kernel kills this process if a block takes more processor time.

    Blocks in other threads of the process share the limit: it counts from the start of the latest.

    Args:
        seconds: of processor time.
    """
    global _files
    if threading.current_thread() is threading.main_thread():
        # The default action, not a Python handler, which would wait for the library to return.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with _counting:
        _files += 1
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        with _counting:
            _files -= 1
            if not _files:
                signal.setitimer(signal.ITIMER_PROF, 0)
