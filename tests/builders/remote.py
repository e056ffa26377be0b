"""An object in memory that is read in ranges, and notes which."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from pipelines.source.range_file import Range, RangeFile

MB = 1 << 20


class Remote:
    """An object in memory that notes what is asked of it.

    Attributes:
        asked: the ranges, in the order of the requests.
        done: how many requests have ended well.
        at_once: most requests at one time.
        fail: called with the number of the request; what it gives is raised.
    """

    def __init__(
        self,
        content: bytes,
        *,
        seconds: float = 0.0,
        fail: Callable[[int], BaseException | None] = lambda _: None,
    ) -> None:
        self.content = content
        self.asked: list[Range] = []
        self.at_once = 0
        self.done = 0
        self._seconds = seconds
        self._fail = fail
        self._open = 0

    async def fetch(self, start: int, stop: int) -> bytes:
        number = len(self.asked)
        self.asked.append((start, stop))
        self._open += 1
        self.at_once = max(self.at_once, self._open)
        try:
            await asyncio.sleep(self._seconds)
            assert 0 <= start < stop <= len(self.content)
            if (error := self._fail(number)) is not None:
                raise error
            self.done += 1
            return self.content[start:stop]
        finally:
            self._open -= 1

    def fetch_now(self, start: int, stop: int) -> bytes:
        return asyncio.run(self.fetch(start, stop))

    def open(self, **settings: int) -> RangeFile:
        return RangeFile(self.fetch, len(self.content), **settings)

    def moved(self) -> int:
        """Returns how many bytes were requested."""
        return sum(stop - start for start, stop in self.asked)

    def times(self) -> Counter[int]:
        """How often each byte was fetched."""
        return Counter(b for start, stop in self.asked for b in range(start, stop))


def content(size: int, seed: int = 0) -> bytes:
    """Random bytes, the same for the same seed."""
    return np.random.default_rng(seed).bytes(size)


def read(file: RangeFile, start: int, stop: int) -> bytes:
    """The bytes of a range, read as HDF5 would."""
    file.seek(start)
    return file.read(stop - start)


def settled(remote: Remote, requests: int) -> None:
    """Waits until other threads have completed this many requests."""
    for _ in range(2000):
        if remote.done >= requests:
            return
        time.sleep(0.005)
    raise AssertionError(f"{remote.done} requests, expected {requests}")
