"""Worker processes of any kind: how they start, what memory they may use, when they end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

from pipelines import log
from pipelines.no_pandas import refuse_pandas

_STOPPING = {signal.SIGINT, signal.SIGHUP}
"""The signals of Ctrl-C and of a closed terminal. They go to the whole process group, and only the
main process decides what happens then."""

_DATA_BYTES = 3 << 30
"""Limit on the memory a worker may allocate (RLIMIT_DATA), far above what sound files need: a
damaged file may claim any size. A gigabyte of it is address space that Arrow reserves and does not
use."""


def forkserver(*preloaded: str) -> ForkServerContext:
    """Returns what starts processes that have imported some modules already."""
    # The server looks for modules where this process does, not in the working directory first: the
    # user may have a folder called `pipelines` there.
    os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # Not fork: this process may have threads (Dagster, progress bar) whose locks a fork would copy.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*preloaded])
    return context


def block_signals() -> None:
    """Blocks the signals that stop a command in this thread, whose mask its processes inherit."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


@contextmanager
def signals_blocked() -> Generator[None]:
    """Blocks the same signals, until the end of the `with` block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(where: log.Log) -> None:
    """Prepares this process for its work. Runs first in each worker."""
    log.show(where)
    refuse_pandas()
    gc.freeze()  # what is imported stays: Python need not look through it for garbage
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = _DATA_BYTES if most == resource.RLIM_INFINITY else min(_DATA_BYTES, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, most))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Ends this process when its parent is gone: another one may already be writing to the lake."""
    wait([sentinel])
    os._exit(1)
