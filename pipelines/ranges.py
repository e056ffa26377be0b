"""A remote object as a file that h5py can read, moving only the bytes that are needed.

Two phases. HDF5's own metadata is read through an aligned block cache, a block at a time, since nobody knows beforehand where it is. Then
the byte ranges of the datasets that will be read are announced with `prefetch`: they are fetched concurrently, in the order of their use,
within a bound of bytes held, and dropped once they have been read. A read of anything else still works; it costs a block.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[int, int], bytes]
"""`fetch(start, stop)` gives exactly the bytes [start, stop) of the object; safe to call from several threads."""

BLOCK = 256 << 10
"""Metadata lies in clusters between the datasets; a smaller block needs more requests, a larger one moves more in vain."""

GAP = 128 << 10
"""Ranges closer than this are fetched as one: at 30 ms a request and 40 MB/s, a request costs as much as 1.2 MB, but the bytes between are
in vain, and most gaps are either a few kB of metadata or megabytes of other datasets."""

PART = 4 << 20
"""Longer ranges are fetched in parts, so that several connections share them."""

CONNECTIONS = 8
HELD = 96 << 20
"""Bytes fetched and not yet read, and in flight: bounds memory, and is over two seconds of a 40 MB/s connection ahead of the reader."""

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
    holes = list(held)
    for start, stop in ranges:
        for a, b in holes:
            if b <= start:
                continue
            if a >= stop:
                break
            if a > start:
                out.append((start, a))
            start = max(start, b)
        if start < stop:
            out.append((start, stop))
    return out


@dataclass(slots=True)
class _Part:
    """Bytes [start, stop) that were announced.

    Attributes:
        unread: ranges of datasets in it that were not read yet; the part is dropped when there are none left.
        keep: whether it stays until the file is closed.
        data: the bytes; None before they were asked for and after they were dropped.
    """

    start: int
    stop: int
    unread: list[Range]
    keep: bool
    data: Future[bytes] | None = None
    dropped: bool = False


class RangeFile(io.RawIOBase):
    """A remote object as a read-only file. Reads must come from one thread.

    Args:
        fetch: gives a byte range.
        size: bytes of the object.
        held: bound on bytes fetched ahead of the reader.

    Attributes:
        bytes_fetched: bytes moved so far.
        requests: requests made so far.
    """

    def __init__(self, fetch: Fetch, size: int, *, held: int = HELD) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._waiting: deque[_Part] = deque()
        self._room = held
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="vblake-fetch")
        self._count = threading.Lock()
        self.bytes_fetched = 0
        self.requests = 0

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
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fills the buffer from the position on."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self._size:
            taken = self._copy(view[done:])
            done += taken
            self._position += taken
        return done

    def _copy(self, view: memoryview) -> int:
        """Copies what the part or block at the position has; at least one byte."""
        position = self._position
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position < self._parts[index].stop and not self._parts[index].dropped:
            part = self._parts[index]
            start, data = part.start, self._bytes(part)
            count = min(len(view), part.stop - position)
            view[:count] = memoryview(data)[position - start : position - start + count]
            self._was_read(part, position, position + count)
            return count
        # Up to the next part, whose bytes need not be fetched a second time with the block.
        number, offset = divmod(position, BLOCK)
        data = self._block(number)
        following = self._starts[index + 1] if index + 1 < len(self._starts) else self._size
        count = min(len(view), len(data) - offset, max(following - position, 1))
        view[:count] = memoryview(data)[offset : offset + count]
        return count

    def _bytes(self, part: _Part) -> bytes:
        """A part's bytes. If they were not asked for yet they are now, room or not: the reader must never wait for itself."""
        if part.data is None:
            self._waiting.remove(part)
            self._start(part)
        assert part.data is not None
        return part.data.result()

    def _start(self, part: _Part) -> None:
        self._room -= part.stop - part.start
        part.data = self._pool.submit(self._get, part.start, part.stop)

    def _start_waiting(self) -> None:
        """Asks for parts in the order of their use as long as there is room."""
        while self._waiting and self._room >= self._waiting[0].stop - self._waiting[0].start:
            self._start(self._waiting.popleft())

    def _was_read(self, part: _Part, start: int, stop: int) -> None:
        if part.keep:
            return
        part.unread = without(part.unread, [(start, stop)])
        if not part.unread:
            part.data = None
            part.dropped = True
            self._room += part.stop - part.start
            self._start_waiting()

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * BLOCK
            self._blocks[number] = self._get(start, min(start + BLOCK, self._size))
        return self._blocks[number]

    def _get(self, start: int, stop: int) -> bytes:
        data = self._fetch(start, stop)
        with self._count:
            self.bytes_fetched += len(data)
            self.requests += 1
        return data

    def prefetch(self, ranges: Iterable[Range], *, keep: bool = False) -> None:
        """Announces ranges that will be read. Calls are in the order of use.

        What a block or an earlier announcement already covers is not fetched again.

        Args:
            ranges: of datasets, each of which will be read once.
            keep: the ranges may be read several times; they stay until the file is closed.
        """
        wanted = merged(ranges)
        held = merged(
            [*((n * BLOCK, n * BLOCK + len(data)) for n, data in self._blocks.items()), *((p.start, p.stop) for p in self._parts)]
        )
        for start, stop in without(merged(without(wanted, held), GAP), held):
            for first in range(start, stop, PART):
                last = min(first + PART, stop)
                unread = [(max(a, first), min(b, last)) for a, b in wanted if a < last and b > first]
                part = _Part(first, last, unread, keep)
                self._parts.append(part)
                self._waiting.append(part)
        self._parts.sort(key=lambda p: p.start)
        self._starts = [p.start for p in self._parts]
        self._start_waiting()

    def peek(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop), without counting as read: they stay."""
        out = bytearray()
        while start < stop:
            index = bisect_right(self._starts, start) - 1
            part = self._parts[index] if index >= 0 else None
            if part and start < part.stop and not part.dropped:
                data, base, end = self._bytes(part), part.start, part.stop
            else:
                base = start // BLOCK * BLOCK
                data = self._block(start // BLOCK)
                end = base + len(data)
            out += data[start - base : min(stop, end) - base]
            start = min(stop, end)
        return bytes(out)

    def close(self) -> None:
        """Stops what is still being fetched."""
        if not self.closed:
            self._pool.shutdown(wait=True, cancel_futures=True)
        super().close()
