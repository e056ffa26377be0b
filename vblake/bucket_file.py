"""An object of a bucket as a file that is read in parts, with few requests.

DuckDB reads a file column by column. So all readers of an object share what was fetched of it, and
of all but large objects the rest is fetched when more than one place is read. That makes one
request for the end of a file, where the footer is, and one or two for its data, in each query. Only
a question to the ids of a trace table takes one for each row group: they are far apart.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

TAIL = 64 << 10
"""Bytes that are fetched for the footer. Footers of the lake's files have 2 to 30 KB."""
SMALL = 8 << 20
"""An object of at most so many bytes is fetched whole when its data is read: 8 MB take as long as
seven requests of 30 ms at 40 MB/s."""
MEDIUM = 40 << 20
"""Of an object of at most so many bytes, all that is missing is fetched when a second place is
read. Eye tracking at 60 Hz has 36 MB a session. Larger are traces, of which a query reads all, or
one cell."""
LEAST = 256 << 10
"""Bytes of a request at least."""
MOST = 128 << 20
"""Bytes at most that are fetched ahead of a reader that goes through a large object. Trace tables
of one experiment have up to 100 MB."""


@dataclass
class _Piece:
    start: int
    stop: int
    data: Future[memoryview] = field(default_factory=Future[memoryview])


class Ranges:
    """What was fetched of an object, shared by all that read it at the same time.

    Args:
        size: of the object, in bytes.
        fetch: requests the bytes from a start to a stop.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], memoryview]) -> None:
        self.size = size
        self._fetch = fetch
        self._pieces: list[_Piece] = []
        self._reads: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> memoryview:
        """Returns the bytes from start to stop. May be called by several threads."""
        with self._lock:
            parts: list[_Piece] = []
            fresh: list[_Piece] = []
            at = start
            while at < stop:
                piece = next((p for p in self._pieces if p.start <= at < p.stop), None)
                if piece is None:
                    next_one = min((p.start for p in self._pieces if p.start > at), default=stop)
                    piece = _Piece(*self._span(start, at, min(stop, next_one)))
                    self._pieces.append(piece)
                    fresh.append(piece)
                parts.append(piece)
                at = piece.stop
            self._reads.append((start, stop))
        for piece in fresh:
            self._fill(piece)
        data = [p.data.result()[max(start, p.start) - p.start : stop - p.start] for p in parts]
        return data[0] if len(data) == 1 else memoryview(b"".join(data))

    def _fill(self, piece: _Piece) -> None:
        try:
            piece.data.set_result(self._fetch(piece.start, piece.stop))
        except BaseException as error:
            with self._lock:
                self._pieces.remove(piece)  # the next reader tries again
            piece.data.set_exception(error)
            raise

    def add(self, start: int, data: memoryview) -> None:
        """Adds bytes that were fetched otherwise."""
        piece = _Piece(start, start + len(data))
        piece.data.set_result(data)
        with self._lock:
            self._pieces.append(piece)

    def _span(self, begin: int, start: int, stop: int) -> tuple[int, int]:
        """What to request for a part that is missing of a read that begins at `begin`."""
        tail, end = max(0, self.size - TAIL), max(0, self.size - 2 * TAIL)
        if start >= end and (start >= tail or stop == self.size):  # the footer
            return min(start, tail), self.size
        held = sorted((p.start, p.stop) for p in self._pieces if p.start < end)
        if self.size <= SMALL or (held and self.size <= MEDIUM):
            first, last = 0, tail
            for piece_start, piece_stop in held:  # what is held at the start and end is left out
                first = max(first, piece_stop) if piece_start <= first + LEAST else first
            for piece_start, piece_stop in reversed(held):
                last = min(last, piece_start) if piece_stop >= last - LEAST else last
            return min(first, start), max(stop, last)
        if any(b - a >= LEAST and 0 <= begin - b <= LEAST for a, b in self._reads):
            # The reader goes through the object, as a scan of all cells does. What other threads
            # fetch of it is left to them, unless that is less than a request is worth.
            others = (p for p in self._pieces if p.start > start and p.stop - p.start > LEAST)
            return start, max(stop, min(tail, start + MOST, *(p.start for p in others)))
        return start, max(stop, min(tail, start + LEAST))


class BucketFile(io.RawIOBase):
    """An object as a file that fetches what is read.

    DuckDB 2.0 uses a file in several threads: each has a position of its own, as DuckDB always
    seeks before it reads.
    """

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._own = threading.local()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position of this thread."""
        return getattr(self._own, "position", 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position of this thread."""
        base = (0, self.tell(), self._ranges.size)[whence]
        self._own.position = base + offset
        return self._own.position

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads from this thread's position; without a size, all that follows."""
        start = self.tell()
        rest = max(0, self._ranges.size - start)
        stop = start + (rest if size is None or size < 0 else min(size, rest))
        self._own.position = stop
        return bytes(self._ranges.read(start, stop)) if start < stop else b""

    def readinto(self, buffer: Any, /) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
