"""A remote object as a file that h5py can read, moving only the bytes that are needed.

Two phases. What HDF5 reads to find its way is fetched by the block, or several places at once with `load`, and stays. Then the byte ranges
of the datasets that will be read are announced with `prefetch`: they are fetched concurrently, in the order of their use, within a bound of
bytes held, and dropped once they have been read. A read of anything else still works; it costs a request.
"""

from __future__ import annotations

import io
import itertools
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from schemas.errors import SourceError

Fetch = Callable[[int, int], bytes]
"""`fetch(start, stop)` gives exactly the bytes [start, stop) of the object; safe to call from several threads."""

BLOCK = 32 << 10
BEFORE = 4 << 10
"""A block begins so far before the byte that was asked for. HDF5 keeps its metadata in clusters of 2 to 8 kB between the datasets and reads
them in any order: blocks aligned to their size would cut clusters in two, larger ones move more in vain."""

GAP = 128 << 10
"""Ranges closer than this are fetched as one: at 30 ms a request and 40 MB/s, a request costs as much as 1.2 MB, but the bytes between are
in vain, and most gaps are either a few kB of metadata or megabytes of other datasets."""

PART = 4 << 20
"""Longer ranges are fetched in parts of up to this, which several connections share; at 40 MB/s one takes three times the latency."""

CONNECTIONS = 8
HELD = 64 << 20
"""Bytes fetched and not yet read, and in flight: bounds memory. With parts of 2 to 8 MB, 6 or 8 connections and 32 to 96 MB held, a plane's
file of 670 MB takes 3.1 to 3.7 s, since the processor is what is waited for; below twice what is in flight, the link would be."""

KEPT = 32 << 20
"""Bytes of blocks that were read without having been announced; the oldest go first. Of the released files it is under 2 MB."""

Range = tuple[int, int]


def merged(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """Ranges in ascending order, with those that overlap or lie within `gap` bytes of each other put together."""
    out: list[Range] = []
    for start, stop in sorted(r for r in ranges if r[1] > r[0]):
        if out and start <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def without(ranges: Iterable[Range], held: Iterable[Range]) -> list[Range]:
    """What of `ranges` is not in `held`; both ascending and without overlaps."""
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


@dataclass(slots=True, eq=False)
class _Part:
    """Bytes [start, stop) of the object, here or under way.

    Attributes:
        unread: ranges of datasets in it that were not read yet; the part is dropped when there are none left. None: it stays.
        data: the bytes; None before they were asked for.
    """

    start: int
    stop: int
    unread: list[Range] | None
    data: Future[bytes] | None = None


class RangeFile(io.RawIOBase):
    """A remote object as a read-only file. Reads must come from one thread, in the process that made it.

    After a fetch that failed every read raises that same error: HDF5 asks for some things only to see whether they are there, and must not
    go on as if they were not.

    Args:
        fetch: gives a byte range.
        size: bytes of the object.
        held: bound on bytes that are fetched ahead of the reader.
        abandon: called on closing: ends fetches that are under way, which may be waiting for a server that does not answer.

    Attributes:
        bytes_fetched: bytes moved so far.
        requests: requests made so far.
        failure: the error of the fetch that failed, once its bytes were to be read.
    """

    def __init__(
        self,
        fetch: Fetch,
        size: int,
        *,
        held: int = HELD,
        abandon: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._abandon = abandon
        self._fetch = fetch
        self._size = size
        self._position = 0
        # In ascending order and without overlaps; their starts apart, for bisection.
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._waiting: deque[_Part] = deque()
        self._asides: deque[_Part] = deque()
        self._asides_bytes = 0
        self._room = held
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="vblake-fetch")
        self._count = threading.Lock()
        self.bytes_fetched = 0
        self.requests = 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position."""
        self._position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        )
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fills the buffer from the position on, as far as the object goes."""
        view = memoryview(buffer).cast("B")
        start, stop = self._position, min(self._position + len(view), self._size)
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
        """Bytes [start, stop), without counting as read: they stay."""
        out = bytearray()
        stop = min(stop, self._size)
        while start < stop:
            part = self._part_at(start, stop)
            last = min(stop, part.stop)
            out += memoryview(self._bytes(part))[start - part.start : last - part.start]
            start = last
        return bytes(out)

    def load(self, ranges: Iterable[Range], *, gap: int = 0) -> None:
        """Fetches blocks with these ranges, concurrently; they stay until the file is closed.

        Args:
            ranges: of what is read in pieces, several times, or not known exactly.
            gap: what lies between two ranges closer than this is fetched too.
        """
        missing = without(self._inside(ranges), [(p.start, p.stop) for p in self._parts])
        blocks = ((start - BEFORE, max(stop, start - BEFORE + BLOCK)) for start, stop in missing)
        for part in self._add(self._inside(blocks), gap, keep=True):
            self._start(part)

    def prefetch(self, ranges: Iterable[Range]) -> None:
        """Announces ranges that will be read once each. Calls are in the order of use.

        What is here or under way already is not fetched again.
        """
        wanted = self._inside(ranges)
        for start, stop in wanted:
            # What came along in a gap between others must stay with them now.
            for part in self._parts[
                max(bisect_right(self._starts, start) - 1, 0) : bisect_right(self._starts, stop)
            ]:
                if part.unread is not None:
                    part.unread = merged(
                        [*part.unread, (max(start, part.start), min(stop, part.stop))]
                    )
        self._waiting.extend(self._add(wanted, GAP))
        self._start_waiting()

    def close(self) -> None:
        """Gives up what is still to be fetched."""
        if not self.closed:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._abandon()
            self._pool.shutdown(wait=True)
            self._parts.clear()
            self._starts.clear()
        super().close()

    def _inside(self, ranges: Iterable[Range]) -> list[Range]:
        """Ranges merged, and cut where the object ends: a damaged file may point anywhere."""
        return merged((max(start, 0), min(stop, self._size)) for start, stop in ranges)

    def _add(self, wanted: list[Range], gap: int = 0, *, keep: bool = False) -> list[_Part]:
        """Parts for what is not held of the ranges, with the gaps between them where these are small."""
        held = [(p.start, p.stop) for p in self._parts]
        missing = without(wanted, held)
        added: list[_Part] = []
        for start, stop in without(merged(missing, gap), held):
            own = [(max(a, start), min(b, stop)) for a, b in missing if a < stop and b > start]
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
                index = bisect_right(self._starts, first)
                self._parts.insert(index, part)
                self._starts.insert(index, first)
                added.append(part)
        return added

    def _part_at(self, position: int, stop: int) -> _Part:
        """The part that has the byte at the position. If there is none, one is made for what will be read up to `stop`."""
        if self.closed:
            raise ValueError("the file is closed")
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position < self._parts[index].stop:
            return self._parts[index]
        start = position - BEFORE
        if stop > start + 2 * BLOCK:
            # No metadata: a dataset nobody announced. It goes before all that was.
            added = self._add([(position, stop)])
            self._waiting.extendleft(reversed(added))
            self._start_waiting()
            return added[0]
        # Only what is missing of the block.
        before = self._parts[index].stop if index >= 0 else 0
        after = self._starts[index + 1] if index + 1 < len(self._starts) else self._size
        part = self._add([(max(start, before), min(start + BLOCK, after))], keep=True)[0]
        self._asides.append(part)
        self._asides_bytes += part.stop - part.start
        while self._asides_bytes > KEPT:
            oldest = self._asides.popleft()
            self._asides_bytes -= oldest.stop - oldest.start
            self._remove(oldest)
        return part

    def _remove(self, part: _Part) -> None:
        index = bisect_right(self._starts, part.start) - 1
        del self._parts[index], self._starts[index]

    def _start(self, part: _Part) -> None:
        part.data = self._pool.submit(self._get, part.start, part.stop)

    def _start_waiting(self) -> None:
        """Asks for parts in the order of their use as long as there is room."""
        while self._waiting and self._room >= self._waiting[0].stop - self._waiting[0].start:
            part = self._waiting.popleft()
            self._room -= part.stop - part.start
            self._start(part)

    def _bytes(self, part: _Part) -> bytes:
        """A part's bytes; waits for them. What nobody fetches yet is fetched here, room or not: the reader must never wait for itself."""
        if self.failure is not None:
            raise self.failure
        if part.data is None and part.unread is not None:
            self._waiting.remove(part)
            self._room -= part.stop - part.start
        try:
            if part.data is None or part.data.cancel():
                part.data = Future()
                part.data.set_result(self._get(part.start, part.stop))
            return part.data.result()
        except BaseException as error:
            self.failure = error
            raise

    def _was_read(self, part: _Part, start: int, stop: int) -> None:
        if part.unread is None:
            return
        part.unread = without(part.unread, [(start, stop)])
        if not part.unread:
            self._remove(part)
            self._room += part.stop - part.start
            self._start_waiting()

    def _get(self, start: int, stop: int) -> bytes:
        data = self._fetch(start, stop)
        if len(data) != stop - start:
            raise SourceError(
                f"{len(data)} bytes were fetched for a range of {stop - start}; the source does not answer ranges as it should."
            )
        with self._count:
            self.bytes_fetched += len(data)
            self.requests += 1
        return data
