"""Calls made one after the other in a thread of their own, beside what the caller does."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_NICE = 5
"""A thread that is so much nicer gets a quarter of a core that another one wants too."""


def stand_back() -> None:
    """Has the thread that calls this work mostly when a core is idle, as one is when the last files are under way."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)


class Turns(Generic[T]):
    """A queue of calls that runs beside the caller, behind worker processes where all cores are busy. Use it in a `with` statement.

    An error of a call is raised where its result is asked for. An error in the `with` block, Ctrl-C too, lets the call that is under way
    come to its end and drops the others.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=stand_back)
        self._calls: deque[Future[T]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)

    def add(self, call: Callable[..., T], /, *args: object) -> None:
        """Puts a call at the end of the queue."""
        self._calls.append(self._thread.submit(call, *args))

    def done(self) -> Iterator[T]:
        """Results that are there by now, in order; each once."""
        while self._calls and self._calls[0].done():
            yield self._calls.popleft().result()

    def rest(self) -> Iterator[T]:
        """All results that have not been given yet, in order; waits for them."""
        while self._calls:
            yield self._calls.popleft().result()
