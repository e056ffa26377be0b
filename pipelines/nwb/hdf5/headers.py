"""Fetches what HDF5 reads to list groups and to open objects, for many of them at once.

HDF5 itself follows one address after the other, and over a network each is a request. Here, a round
of requests follows the addresses that the round before has found, in all parts of the tree. It is
about time only: whatever is not laid out as expected is left to HDF5.

The released files have objects and groups of the first kind (HDF5 file format specification, II.A,
III.A to III.D, IV.A.1): a header may continue elsewhere, and a group has a B-tree, whose leaves
refer to the members, and a heap with their names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.source.range_file import Range, RangeFile

HEADER = 2 << 10
"""Bytes from an object's address that mostly hold its header: HDF5 allocates metadata in pieces of
this size."""

_LAYOUT, _CONTINUATION, _SYMBOL_TABLE = 0x08, 0x10, 0x11  # kinds of header messages
_NODE = 24 + 32 * 8 + 33 * 8  # bytes of a B-tree's node, of a leaf's entries, of a heap's header
_ENTRY = 40
_LEAF = 8 + 8 * _ENTRY
_HEAP = 32
_SUPERBLOCK = 96

_INDEX = 1536 << 10
"""Bytes after the header of event detection in which the index of its chunks lies, between the
chunks: 630 to 1,330 kB. What lies beyond takes a request for each 45 kB."""

_NEAR = 1 << 20
"""Headers closer than this are fetched together with what lies between them. In the released layout
the columns of a table follow each other, 40 to 490 kB apart with their headers between, and most of
that is needed; the next long series is 2 MB away."""

_ROUNDS = 40
"""Rounds after which the rest is left to HDF5; good files take about ten."""

_MOST = 64 << 10
"""Most bytes that a length in the file can make us fetch: the file may be damaged."""

Tails = frozenset[tuple[str, ...]]
"""What is looked for below an object, as the names on the way; empty for the object itself."""

Wanted = Callable[[str, Iterable[str], Tails], Mapping[str, Tails]]
"""Takes the path of a group, the names in it and what is looked for below it; returns which of its
members are on the way, and what is looked for below these."""

Beside = Callable[[str, list[Range]], list[Range]]
"""Takes the path of a group and where the headers of its members start; returns what else to fetch
with them."""


class _Entry(NamedTuple):
    """What a group knows of a member: the address of its header and, of a group, of its listing."""

    header: int
    listing: tuple[int, int] | None


class _Step(NamedTuple):
    """Bytes to fetch, and what to do when they are here, which leads to more steps."""

    ranges: list[Range]
    then: Callable[[], Iterable[_Step]]


def load_tree(file: RangeFile, tails: Tails, wanted: Wanted, beside: Beside) -> None:
    """Fetches the headers of all objects that are looked for, and of all groups on the way.

    Args:
        file: the file.
        tails: what is looked for below its root.
        wanted: finds it among the members of a group.
        beside: what else to fetch with headers.
    """
    root = file.peek(0, _SUPERBLOCK)
    if root[:9] != b"\x89HDF\r\n\x1a\n\0":
        return
    walk = _Walk(file, wanted, beside)
    steps = [*walk.object("", tails, _entry(root, 56))]
    for _ in range(_ROUNDS):
        if not steps:
            return
        file.load([r for step in steps for r in step.ranges], gap=_NEAR)
        steps = [following for step in steps for following in step.then()]


@dataclass
class _Walk:
    file: RangeFile
    wanted: Wanted
    beside: Beside
    seen: set[int] = field(default_factory=set[int])

    def object(self, path: str, tails: Tails, entry: _Entry) -> Iterator[_Step]:
        """Fetches an object and, of a group, what is looked for below it."""
        span = (entry.header, entry.header + HEADER)
        if self._is_new(entry.header):
            yield _Step([span], lambda: self._follow(path, tails, span, entry.header))
        if entry.listing and any(tails):
            yield from self._group(path, tails, *entry.listing)

    def _is_new(self, address: int) -> bool:
        if address in self.seen:
            return False
        self.seen.add(address)
        return True

    def _follow(self, path: str, tails: Tails, span: Range, header: int) -> Iterator[_Step]:
        """Follows what a header, or a continuation of it, refers to."""
        content = self.file.peek(*span)
        for kind, first, second in messages(content, continued=span[0] != header):
            if kind == _CONTINUATION and self._is_new(first):
                rest = (first, first + min(second, _MOST))
                yield _Step([rest], lambda rest=rest: self._follow(path, tails, rest, header))
            elif kind == _LAYOUT:
                yield _Step([(header, header + _INDEX)], lambda: ())
            elif kind == _SYMBOL_TABLE and any(tails):
                yield from self._group(path, tails, first, second)

    def _group(self, path: str, tails: Tails, tree: int, heap: int) -> Iterator[_Step]:
        """Lists a group, and goes on with those of its members that are on the way."""
        starts = [(tree, tree + _NODE), (heap, heap + _HEAP)]

        def listing() -> Iterator[_Step]:
            leaves, names = _leaves(self.file.peek(*starts[0])), _names(self.file.peek(*starts[1]))
            yield _Step([*leaves, names], lambda: members(leaves, names))

        def members(leaves: list[Range], names: Range) -> Iterator[_Step]:
            text = self.file.peek(*names)
            found = {n: e for leaf in leaves for n, e in _entries(self.file.peek(*leaf), text)}
            below = self.wanted(path, found, tails)
            headers = [(found[name].header, found[name].header + HEADER) for name in below]
            yield _Step(self.beside(path, headers), lambda: ())
            for name, rest in below.items():
                yield from self.object(f"{path}/{name}", rest, found[name])

        if self._is_new(tree):
            yield _Step(starts, listing)


def messages(header: bytes, *, continued: bool = False) -> Iterator[tuple[int, int, int]]:
    """Yields the messages of an object's header, or of its continuation, that point elsewhere.

    Each is its kind and two numbers: address and length of a continuation, or the addresses of a
    group's tree and heap. For data in chunks they are 0.
    """
    at, end = 0, len(header)
    if not continued:
        if len(header) < 16 or header[0] != 1:
            return
        (size,) = struct.unpack_from("<I", header, 8)
        at, end = 16, min(16 + size, len(header))
    while at + 8 <= end:
        kind, length = struct.unpack_from("<HH", header, at)
        if kind in (_CONTINUATION, _SYMBOL_TABLE) and length >= 16 and at + 24 <= end:
            first, second = struct.unpack_from("<QQ", header, at + 8)
            yield kind, first, second
        elif kind == _LAYOUT and header[at + 8 : at + 10] == b"\x03\x02":
            yield kind, 0, 0
        at += 8 + length


def _leaves(node: bytes) -> list[Range]:
    """Where the entries of the members lie.

    Nothing for a tree of several levels, which takes more than 250 members.
    """
    if len(node) < _NODE or node[:6] != b"TREE\0\0":
        return []
    (count,) = struct.unpack_from("<H", node, 6)
    starts = [struct.unpack_from("<Q", node, 32 + 16 * i)[0] for i in range(min(count, 32))]
    return [(start, start + _LEAF) for start in starts]


def _names(heap: bytes) -> Range:
    """Where the names of the members lie."""
    if len(heap) < _HEAP or heap[:4] != b"HEAP":
        return 0, 0
    size, _, address = struct.unpack_from("<QQQ", heap, 8)
    return address, address + min(size, _MOST)


def _entries(leaf: bytes, names: bytes) -> Iterator[tuple[str, _Entry]]:
    """Yields the members of a group that a leaf of its tree names; not those behind soft links."""
    if leaf[:4] != b"SNOD":
        return
    (count,) = struct.unpack_from("<H", leaf, 6)
    for at in range(8, min(8 + count * _ENTRY, len(leaf) - _ENTRY + 1), _ENTRY):
        (name,) = struct.unpack_from("<Q", leaf, at)
        entry = _entry(leaf, at)
        if name < len(names) and entry.header != _UNDEFINED:
            yield names[name : names.find(b"\0", name)].decode(errors="replace"), entry


_UNDEFINED = 2**64 - 1


def _entry(table: bytes, at: int) -> _Entry:
    header, cached, tree, heap = struct.unpack_from("<QI4xQQ", table, at + 8)
    return _Entry(header, (tree, heap) if cached == 1 else None)
