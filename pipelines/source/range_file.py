"""A remote object as a file that h5py can read, which moves only the bytes that are needed.

There are two phases. What HDF5 reads to find its way is fetched by the block, or in several places
at once with `load`, and is kept. Then `prefetch` announces the byte ranges of the datasets that
will be read: they are fetched concurrently, in the order of their use, within a bound of bytes
held, and dropped once they have been read. Reading anything else still works; it costs a request.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import itertools
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any

Fetch = Callable[[int, int], Coroutine[Any, Any, bytes]]
"""`fetch(start, stop)` returns exactly the bytes [start, stop) of the object. It runs in the event
loop that fetches for all files of this process, several times at once."""

BLOCK = 32 << 10
BEFORE = BLOCK // 2
"""A block begins this far before the byte that was asked for. HDF5 keeps its metadata in clusters
of 2 to 8 kB between the datasets and reads them in any order: blocks aligned to their size would
cut clusters in two, larger ones would fetch more unused bytes. Beginning 4 kB before takes a round
of requests more in every second file."""

GAP = 128 << 10
"""Ranges closer than this are fetched as one: at 30 ms a request and 40 MB/s, a request costs as
much as 1.2 MB, but bytes in a gap are fetched for nothing, and most gaps are either a few kB of
metadata or megabytes of other datasets."""

PART = 4 << 20
"""Longer ranges are fetched in parts of up to this size, which several connections share; at
40 MB/s one takes three times the latency."""

CONNECTIONS = 8
HELD = 64 << 20
"""Bound on the bytes that are in flight or fetched and not yet read. With parts of 2 to 8 MB, 6 or
8 connections and 32 to 96 MB held, a plane's file of 670 MB takes 3.1 to 3.7 s, limited by the
processor; with less than twice what is in flight, the link would limit it."""

Range = tuple[int, int]


def merged(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """Returns ranges in ascending order; those at most `gap` bytes apart become one.

    >>> merged([(5, 8), (0, 3), (2, 4)])
    [(0, 4), (5, 8)]
    """
    out: list[Range] = []
    for start, stop in sorted(r for r in ranges if r[1] > r[0]):
        if out and start <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def without(ranges: Iterable[Range], held: Iterable[Range]) -> list[Range]:
    """Returns the parts of `ranges` that are not in `held`; both ascending, without overlaps.

    >>> without([(0, 10)], [(2, 4), (8, 12)])
    [(0, 2), (4, 8)]
    """
    out: list[Range] = []
    holes, first = list(held), 0
    for start, stop in ranges:
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        for a, b in itertools.islice(holes, first, None):
            if a >= stop:
                break
            if a > start:
                out.append((start, a))
            start = max(start, b)
        if start < stop:
            out.append((start, stop))
    return out


class _Loop(asyncio.SelectorEventLoop):
    """The event loop that fetches for all files of this process, in a thread of its own.

    Threads that each wait for an answer would be woken for every record of TLS.

    obstore's threads hand their results over by `call_soon_threadsafe`. Nothing joins them
    (https://github.com/PyO3/pyo3-async-runtimes/issues/40), and the process aborts if it ends
    before they have come back from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._inside = deque[None]()
        threading.Thread(target=self.run_forever, name="vblake-fetch", daemon=True).start()
        atexit.register(self._end)

    def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> asyncio.Handle:
        """As in the base class."""
        self._inside.append(None)
        try:
            return super().call_soon_threadsafe(*arguments, **options)
        finally:
            self._inside.pop()

    def _end(self) -> None:
        """Waits for requests in flight, and for the threads that hand over their results."""
        asyncio.run_coroutine_threadsafe(_others(), self).result()
        while self._inside:
            time.sleep(0.001)


async def _others() -> None:
    """Waits for the other tasks of this loop."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


_loop = cache(_Loop)


@dataclass(slots=True, eq=False)
class _Part:
    """Bytes [start, stop) of the object, fetched or about to be.

    Attributes:
        unread: ranges of datasets in it that have not been read; the part is dropped when none is
            left. None: the part is kept.
        data: the bytes; None before they were requested.
    """

    start: int
    stop: int
    unread: list[Range] | None
    data: Future[bytes] | None = None


class RangeFile(io.RawIOBase):
    """A remote object as a read-only file. One thread may read it, in the process that made it.

    After a failed fetch every read raises that same error: HDF5 asks for some things only to see
    whether they are there, and must not go on as if they were not.

    Args:
        fetch: fetches a byte range.
        size: bytes of the object.
        held: bound on the bytes that are fetched ahead of the reader.

    Attributes:
        size: bytes of the object.
        failure: the error of the fetch that failed, once its bytes were to be read.
        on_demand: how many blocks were fetched because what was read had not been announced.
    """

    def __init__(self, fetch: Fetch, size: int, *, held: int = HELD) -> None:
        super().__init__()
        self.size = size
        self.failure: BaseException | None = None
        self.on_demand = 0
        self._fetch = fetch
        self._position = 0
        self._parts: list[_Part] = []  # ascending, without overlaps
        self._waiting: deque[_Part] = deque()
        self._room = held
        self._paused = False
        self._fetched: Callable[[], object] | None = None
        self._connections = asyncio.Semaphore(CONNECTIONS)

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position."""
        self._position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        )
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Reads into the buffer from the position on, up to the end of the object."""
        view = memoryview(buffer).cast("B")
        start, stop = self._position, min(self._position + len(view), self.size)
        at = start
        while at < stop:
            part = self._part_at(at, stop)
            last = min(stop, part.stop)
            view[at - start : last - start] = memoryview(self._bytes(part))[
                at - part.start : last - part.start
            ]
            self._was_read(part, at, last)
            at = last
        self._position = max(at, start)
        return at - start

    def peek(self, start: int, stop: int) -> bytes:
        """Returns the bytes [start, stop) without marking them as read: they are kept."""
        out = bytearray()
        stop = min(stop, self.size)
        while start < stop:
            part = self._part_at(start, stop)
            last = min(stop, part.stop)
            out += memoryview(self._bytes(part))[start - part.start : last - part.start]
            start = last
        return bytes(out)

    def load(self, ranges: Iterable[Range], *, gap: int = 0) -> None:
        """Fetches the blocks that hold these ranges, concurrently, and keeps them.

        Args:
            ranges: what is read in pieces, several times, or not known exactly.
            gap: also fetch what lies between two ranges that are closer than this.
        """
        missing = without(self._inside(ranges), [(p.start, p.stop) for p in self._parts])
        blocks = ((start - BEFORE, max(stop, start - BEFORE + BLOCK)) for start, stop in missing)
        for part in self._add(self._inside(blocks), gap, keep=True):
            self._start(part)

    def prefetch(self, ranges: Iterable[Range]) -> None:
        """Announces ranges that will be read once each, in the order of their use.

        What is held or being fetched is not fetched again.
        """
        wanted = self._inside(ranges)
        for start, stop in wanted:
            # What was fetched as the gap between others must now be kept until it is read.
            for part in self._parts[max(self._count(start) - 1, 0) : self._count(stop)]:
                if part.unread is not None:
                    part.unread = merged(
                        [*part.unread, (max(start, part.start), min(stop, part.stop))]
                    )
        self._waiting.extend(self._add(wanted, GAP))
        self._start_waiting()

    def pause(self) -> None:
        """Fetches nothing of what is announced from now on, until `go_on`, unless it is read."""
        self._paused = True

    def go_on(self, fetched: Callable[[], object] | None = None) -> None:
        """Fetches what is announced.

        Args:
            fetched: called once, by any thread, when all of it is here or the file is closed.
        """
        self._paused = False
        self._fetched = fetched
        self._start_waiting()

    def close(self) -> None:
        """Gives up what is still to be fetched. Requests in flight end in the background."""
        if self._fetched is not None:
            self._fetched()
            self._fetched = None
        if not self.closed:
            for part in self._parts:
                if part.data is not None:
                    part.data.cancel()
            self._waiting.clear()
            self._parts.clear()
        super().close()

    def _inside(self, ranges: Iterable[Range]) -> list[Range]:
        """Merges ranges and cuts them at the object's ends: a damaged file may point anywhere."""
        return merged((max(start, 0), min(stop, self.size)) for start, stop in ranges)

    def _count(self, position: int) -> int:
        """Returns how many parts start at or before a position."""
        return bisect_right(self._parts, position, key=lambda part: part.start)

    def _add(self, wanted: list[Range], gap: int = 0, *, keep: bool = False) -> list[_Part]:
        """Adds parts for what is not held of the ranges, and for small gaps between them."""
        held = [(p.start, p.stop) for p in self._parts]
        missing = without(wanted, held)
        starts, ends = [a for a, _ in missing], [b for _, b in missing]
        added: list[_Part] = []
        for start, stop in without(merged(missing, gap), held):
            hit = missing[bisect_right(ends, start) : bisect_left(starts, stop)]
            own = [(max(a, start), min(b, stop)) for a, b in hit]
            if not own:
                continue  # a gap between two held ranges
            start, stop = own[0][0], own[-1][1]
            count = -(-(stop - start) // PART)
            edges = [start + (stop - start) * i // count for i in range(count + 1)]
            for first, last in itertools.pairwise(edges):
                unread = (
                    None
                    if keep
                    else [(max(a, first), min(b, last)) for a, b in own if a < last and b > first]
                )
                part = _Part(first, last, unread)
                self._parts.insert(self._count(first), part)
                added.append(part)
        return added

    def _part_at(self, position: int, stop: int) -> _Part:
        """Returns the part that holds a byte, or adds one for what will be read up to `stop`."""
        if self.closed:
            raise ValueError("the file is closed")
        index = self._count(position)
        if index and position < self._parts[index - 1].stop:
            return self._parts[index - 1]
        start = position - BEFORE
        if stop > start + 2 * BLOCK:
            # Not metadata but a dataset that was not announced. It is fetched before all others.
            added = self._add([(position, stop)])
            self._waiting.extendleft(reversed(added))
            self._start_waiting()
            return added[0]
        self.on_demand += 1
        # Only what is missing of the block.
        before = self._parts[index - 1].stop if index else 0
        after = self._parts[index].start if index < len(self._parts) else self.size
        return self._add([(max(start, before), min(start + BLOCK, after))], keep=True)[0]

    def _start(self, part: _Part) -> None:
        """Requests a part when a connection is free, unless its future is cancelled before."""
        part.data = data = Future[bytes]()

        async def request() -> None:
            async with self._connections:
                if not data.set_running_or_notify_cancel():
                    return
                try:
                    data.set_result(await self._fetch(part.start, part.stop))
                except BaseException as error:  # noqa: BLE001 - the reader raises it
                    data.set_exception(error)

        asyncio.run_coroutine_threadsafe(request(), _loop())

    def _start_waiting(self) -> None:
        """Requests parts in the order of their use as long as there is room."""
        if self._paused:
            return
        part: _Part | None = None
        while self._waiting and self._room >= self._waiting[0].stop - self._waiting[0].start:
            part = self._waiting.popleft()
            self._room -= part.stop - part.start
            self._start(part)
        if not self._waiting and (told := self._fetched) is not None:
            self._fetched = None
            if part is None or part.data is None:
                told()
            else:
                part.data.add_done_callback(lambda _: told())

    def _bytes(self, part: _Part) -> bytes:
        """Waits for the bytes of a part.

        A part that has not been requested is requested at once, with or without room and a free
        connection: the reader must never wait for itself.
        """
        if self.failure is not None:
            raise self.failure
        if part.data is None and part.unread is not None:
            self._waiting.remove(part)
            self._room -= part.stop - part.start
        try:
            if part.data is None or part.data.cancel():
                part.data = asyncio.run_coroutine_threadsafe(
                    self._fetch(part.start, part.stop), _loop()
                )
            return part.data.result()
        except BaseException as error:
            self.failure = error
            raise

    def _was_read(self, part: _Part, start: int, stop: int) -> None:
        if part.unread is None:
            return
        part.unread = without(part.unread, [(start, stop)])
        if not part.unread:
            del self._parts[self._count(part.start) - 1]
            self._room += part.stop - part.start
            self._start_waiting()
