"""Texts of variable length, looked up without HDF5.

HDF5 believes what a file says of them: the 4 GB that a damaged reference claims are allocated before it is followed, an entry without a
size in a heap is walked for ever, and an entry longer than its reference is copied over the end of the buffer. Here everything is checked
against the file first (HDF5 file format specification, III.E and IV.A).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from schemas.casts import NDArray

Read = Callable[[int, int], bytes]
"""`read(start, stop)` gives the bytes [start, stop) of the file, as far as it goes."""

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
"""How a text is stored: its length, the address of a collection of the global heap and the number in it."""

MOST = 64 << 20
"""Bytes that the texts of a dataset, or a collection, may take together. The release has 0.5 MB at most."""

_HEADER = struct.Struct("<4sB3xQ")
_HEADER_BYTES = 16
_SMALLEST = 4096
_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_MESSAGES = 1 << 16
_VARIABLE_LENGTH = 9


@dataclass(frozen=True)
class _Collection:
    """A collection of the global heap.

    Attributes:
        content: its bytes.
        starts, lengths: of the entries in it, by their number; -1 where there is none.
    """

    content: bytes
    starts: NDArray
    lengths: NDArray


class Texts:
    """The texts of a file.

    Args:
        read: gives bytes of the file.
        size: bytes of the file.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        # Columns of a table share collections; 64 kB each.
        self._collection = lru_cache(maxsize=32)(self._read_collection)

    def read(self, start: int, count: int) -> NDArray:
        """References that lie in one piece in the file."""
        return np.frombuffer(
            self._bytes(start, count * REFERENCE.itemsize, "references to texts"), dtype=REFERENCE
        )

    def look_up(self, references: NDArray) -> NDArray:
        """The texts that references lead to as an array of bytes, shape (n,); empty for those to nothing.

        Args:
            references: shape (n,), of dtype `REFERENCE`.

        Raises:
            ValueError: they do not lead to texts of their length in the file.
        """
        lengths, addresses, numbers = (
            references[name].astype(np.int64) for name in ("length", "address", "number")
        )
        if lengths.sum() > MOST:
            raise ValueError(f"texts of {lengths.sum()} bytes, more than {MOST}")
        out: NDArray = np.full(len(references), b"", dtype=object)
        used = (addresses != 0) & (lengths != 0)
        for address in np.unique(addresses[used]).tolist():
            heap = self._collection(address)
            here = used & (addresses == address)
            own = numbers[here]
            if own.max() >= len(heap.starts) or not np.array_equal(
                heap.lengths[own], lengths[here]
            ):
                raise ValueError(f"a reference to a text that is not in the heap at {address}")
            out[here] = _cut(heap.content, heap.starts[own], lengths[here])
        return out

    def attribute(self, address: int, name: str) -> NDArray | None:
        """The references of an attribute that holds text; None if it is not in a header of the first kind, the only one without a checksum.

        Args:
            address: of the header of the attribute's object.
            name: of the attribute.
        """
        encoded = name.encode()
        for kind, shared, body in self._messages(address):
            if kind == _ATTRIBUTE and (found := _attribute(body, encoded)) is not None:
                if shared:
                    raise ValueError("an attribute that is kept elsewhere")
                return np.frombuffer(found, dtype=REFERENCE, count=len(found) // REFERENCE.itemsize)
        return None

    def _bytes(self, start: int, length: int, what: str) -> bytes:
        if not (start >= 0 and start + length <= self._size):
            raise ValueError(f"{what} at {start}, {length} bytes, in a file of {self._size}")
        return self._read(start, start + length)

    def _read_collection(self, address: int) -> _Collection:
        # HDF5 makes none smaller, and reads so much at once.
        content = self._bytes(
            address, min(_SMALLEST, max(self._size - address, _HEADER_BYTES)), "a heap"
        )
        signature, version, size = _HEADER.unpack_from(content)
        if signature != b"GCOL" or version != 1 or not _HEADER_BYTES < size <= MOST:
            raise ValueError(f"no heap of texts at {address}")
        content = content[:size] if size <= len(content) else self._bytes(address, size, "a heap")
        words = np.frombuffer(content, dtype="<u8", count=size // 8)
        # An entry is a word with its number (16 bits), a word with its length, and its bytes, filled up to a word. What follows what:
        end = len(words)
        after = np.full(end + 1, end)
        length = words[1:]
        fits = length <= size
        after[: end - 1][fits] = np.minimum(
            np.arange(end - 1)[fits] + 2 + (length[fits].astype(np.int64) + 7) // 8, end
        )
        # The chain from the first entry on, twice as long with every step.
        chain = np.array([_HEADER_BYTES // 8])
        jump = after
        while chain[-1] < end:
            chain = np.concatenate((chain, jump[chain]))
            jump = jump[jump]
        chain = chain[chain < end - 1]
        numbers = (words[chain] & 0xFFFF).astype(np.int64)
        free = np.flatnonzero(numbers == 0)
        if len(free):  # number 0 is the free space at the end
            chain, numbers = chain[: free[0]], numbers[: free[0]]
        lengths = words[chain + 1]
        starts = (chain + 2) * 8
        found = _Collection(
            content,
            *(np.full(int(numbers.max(initial=0)) + 1, -1, dtype=np.int64) for _ in range(2)),
        )
        found.starts[numbers] = starts
        found.lengths[numbers] = lengths
        repeated = np.count_nonzero(found.starts >= 0) != len(numbers)
        if repeated or np.any(lengths > size) or np.any(starts + lengths.astype(np.int64) > size):
            raise ValueError(f"a damaged heap of texts at {address}")
        return found

    def _messages(self, address: int) -> Iterator[tuple[int, bool, bytes]]:
        """Messages of an object's header, continuations included: kind, whether it is shared, content. None of a header of another kind."""
        head = self._bytes(address, _HEADER_BYTES, "a header")
        if head[0] != 1:
            return
        blocks = [(address + _HEADER_BYTES, struct.unpack_from("<I", head, 8)[0])]
        for start, length in blocks:
            block = self._bytes(start, length, "a header")
            at = 0
            while at + 8 <= length:
                kind, size, flags = struct.unpack_from("<HHB", block, at)
                body = block[at + 8 : at + 8 + size]
                if kind == _CONTINUATION and len(body) >= 16:
                    blocks.append(struct.unpack_from("<QQ", body))
                    if len(blocks) > _MESSAGES or sum(n for _, n in blocks) > MOST:
                        raise ValueError("a header that goes on and on")
                else:
                    yield kind, bool(flags & 2), body
                at += 8 + size


def _cut(content: bytes, starts: NDArray, lengths: NDArray) -> NDArray:
    """Texts at some places of a collection, those of one length at a time."""
    letters = np.frombuffer(content, dtype=np.uint8)
    out: NDArray = np.empty(len(starts), dtype=object)
    for length in np.unique(lengths).tolist():
        rows = lengths == length
        found = letters[starts[rows][:, np.newaxis] + np.arange(length)]
        if not found.all():
            raise ValueError("a text with a zero byte in it")
        out[rows] = found.view(f"S{length}")[:, 0]
    return out


def _attribute(body: bytes, name: bytes) -> bytes | None:
    """The value of an attribute's message if it has this name; raises if it cannot be understood."""
    if len(body) < 9:
        return None
    version, flags, *sizes = struct.unpack_from("<BBHHH", body)
    at = 9 if version == 3 else 8
    padded = [-(-n // 8) * 8 if version == 1 else n for n in sizes]
    if body[at : at + sizes[0]].rstrip(b"\0") != name:
        return None
    kind = at + padded[0]
    if (
        version not in (1, 2, 3)
        or (version > 1 and flags)
        or kind >= len(body)
        or body[kind] & 0xF != _VARIABLE_LENGTH
    ):
        raise ValueError("an attribute that is not stored as text")
    return body[kind + padded[1] + padded[2] :]


def items(shape: tuple[int, ...], references: NDArray) -> NDArray:
    """As many references as there are items, without what fills the message up."""
    count = int(np.prod(shape, dtype=np.int64))
    if count > len(references):
        raise ValueError(f"{len(references)} references to texts, not {count}")
    return references[:count]


def is_variable(dtype: Any, info: Any) -> bool:
    """Whether a dtype is text of variable length, given what `h5py.check_string_dtype` says of it."""
    return dtype.kind == "O" and info is not None and info.length is None
