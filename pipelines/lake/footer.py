"""The footer of a Parquet file: where it says that data are, moved or put together from others'.

PyArrow writes footers, but neither moves nor selects what is in them. A footer is a struct of
Thrift's compact protocol, with the fields of parquet.thrift in
https://github.com/apache/parquet-format. Only the bytes to change are interpreted, and all others
copied, unknown fields too: 3 ms for nine row groups of 36 columns, where Thrift's own library,
which decodes and encodes everything, takes 30.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from schemas.errors import LakeError

MAGIC = b"PAR1"
"""The first bytes of a Parquet file, and the last."""

_ROWS, _GROUPS, _OFFSET, _ORDINAL, _INDEX = range(5)
"""What is looked for: number of rows, row groups, offsets, numbers of row groups, and offsets of
indexes and Bloom filters, which contain offsets themselves. The lake's writer makes none of these.
"""
_Wanted: TypeAlias = Mapping[int, "int | _Wanted"]
"""What to look for in a struct, or in each struct of a list, by the number of the field."""
_METADATA: _Wanted = {9: _OFFSET, 11: _OFFSET, 10: _INDEX, 14: _INDEX}
_CHUNK: _Wanted = {2: _OFFSET, 3: _METADATA, 4: _INDEX, 6: _INDEX}
_ROW_GROUP: _Wanted = {1: _CHUNK, 5: _OFFSET, 7: _ORDINAL}
_FOOTER: _Wanted = {3: _ROWS, 4: _GROUPS}


def data_of(row_groups: Iterable[Any]) -> tuple[int, int]:
    """First byte of the data of some row groups, and the byte after the last.

    Args:
        row_groups: their `pyarrow.parquet.RowGroupMetaData`.
    """
    columns = [group.column(n) for group in row_groups for n in range(group.num_columns)]
    columns = [c for c in columns if c.total_compressed_size]  # those without rows have no data
    starts = [
        c.data_page_offset if c.dictionary_page_offset is None else c.dictionary_page_offset
        for c in columns
    ]
    ends = [start + c.total_compressed_size for start, c in zip(starts, columns, strict=True)]
    return min(starts, default=len(MAGIC)), max(ends, default=len(MAGIC))


def read_footer(file: Any, size: int) -> bytes:
    """Returns the footer of a Parquet file of that size, which is open."""
    file.seek(size - len(MAGIC) - 4)
    length = int.from_bytes(file.read(4), "little")
    file.seek(size - len(MAGIC) - 4 - length)
    return file.read(length)


def framed(footer: bytes) -> bytes:
    """Returns the end of a Parquet file with that footer."""
    return footer + len(footer).to_bytes(4, "little") + MAGIC


def moved(footer: bytes, by: int) -> bytes:
    """Returns a footer with all offsets increased.

    Raises:
        LakeError: the file has indexes, which contain offsets themselves.
    """
    return _moved(footer, {4: _ROW_GROUP}, by, None)


def row_groups(footer: bytes) -> list[bytes]:
    """Returns what a footer says of each row group."""
    (at,) = (start for what, start, _ in _found(footer, _FOOTER) if what == _GROUPS)
    groups: list[bytes] = []
    count, type_, at = _list_head(footer, at)
    for _ in range(count):
        end = _after(footer, at, type_)
        groups.append(footer[at:end])
        at = end
    return groups


def moved_row_group(group: bytes, by: int, ordinal: int) -> bytes:
    """Returns what a footer says of a row group, with another number and all offsets increased.

    Raises:
        LakeError: the file has indexes, which contain offsets themselves.
    """
    return _moved(group, _ROW_GROUP, by, ordinal)


def with_row_groups(footer: bytes, groups: Sequence[bytes], rows: int) -> bytes:
    """Returns a footer with other row groups, which have that many rows in all."""
    count = len(groups)
    head = [count << 4 | _STRUCT] if count < 15 else [15 << 4 | _STRUCT, *_varint(count)]
    new = {_ROWS: _integer(rows), _GROUPS: b"".join((bytes(head), *groups))}
    return _changed(footer, ((start, end, new[w]) for w, start, end in _found(footer, _FOOTER)))


def _moved(data: bytes, wanted: _Wanted, by: int, ordinal: int | None) -> bytes:
    changes: list[tuple[int, int, bytes]] = []
    for what, start, end in _found(data, wanted):
        if what == _INDEX:
            raise LakeError(
                "a Parquet file with page indexes or Bloom filters cannot replace another; "
                "write it without them"
            )
        if what == _OFFSET:
            if value := _read_integer(data, start):  # writers store 0 for an unknown offset
                changes.append((start, end, _integer(value + by)))
        elif ordinal is not None:
            changes.append((start, end, _integer(ordinal)))
    return _changed(data, changes)


def _changed(data: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Returns bytes in which some are replaced: from, to, by what; ascending."""
    parts: list[bytes] = []
    done = 0
    for start, end, new in changes:
        parts += (data[done:start], new)
        done = end
    return b"".join((*parts, data[done:]))


# --- the compact protocol -------------------------------------------------------------------------

_BYTE, _INTEGERS, _DOUBLE, _BINARY, _LIST, _STRUCT = 3, (4, 5, 6), 7, 8, 9, 12
"""Types of values. A field of type 1 or 2 is a boolean and has no further bytes."""


def _found(data: bytes, wanted: _Wanted) -> list[tuple[int, int, int]]:
    """Returns what a struct has of what is wanted: what it is, its first byte, the byte after."""
    found: list[tuple[int, int, int]] = []
    _walk(data, 0, wanted, found)
    return found


def _walk(data: bytes, at: int, wanted: _Wanted, found: list[tuple[int, int, int]]) -> int:
    """Notes what a struct has of what is wanted; returns the byte after the struct."""
    number = 0
    while head := data[at]:
        at += 1
        type_ = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _read_integer(data, at), _after_integer(data, at)
        what = wanted.get(number)
        if what is None or isinstance(what, int):
            end = at if type_ < _BYTE else _after(data, at, type_)
            if what is not None:
                found.append((what, at, end))
            at = end
        elif type_ == _STRUCT:
            at = _walk(data, at, what, found)
        else:
            count, _, at = _list_head(data, at)
            for _ in range(count):
                at = _walk(data, at, what, found)
    return at + 1


def _after(data: bytes, at: int, type_: int) -> int:
    """Returns the byte after a value."""
    if type_ in _INTEGERS:
        return _after_integer(data, at)
    if type_ == _STRUCT:
        while head := data[at]:
            at = at + 1 if head >> 4 else _after_integer(data, at + 1)
            if head & 15 >= _BYTE:
                at = _after(data, at, head & 15)
        return at + 1
    if type_ == _BINARY:
        return _after_integer(data, at) + _read_varint(data, at)
    if type_ == _LIST:
        count, items, at = _list_head(data, at)
        for _ in range(count):
            at = _after(data, at, items)
        return at
    if type_ <= _BYTE:
        return at + 1
    if type_ == _DOUBLE:
        return at + 8
    raise LakeError(f"the footer of a Parquet file has a value of the unknown type {type_}")


def _list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Returns the number of items of a list, their type, and where the first starts."""
    count, type_ = data[at] >> 4, data[at] & 15
    if count < 15:
        return count, type_, at + 1
    return _read_varint(data, at + 1), type_, _after_integer(data, at + 1)


def _after_integer(data: bytes, at: int) -> int:
    while data[at] > 127:
        at += 1
    return at + 1


def _read_varint(data: bytes, at: int) -> int:
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
    return value | data[at] << shift


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes((*made, value))


def _read_integer(data: bytes, at: int) -> int:
    """Returns a signed integer: its last bit is its sign."""
    value = _read_varint(data, at)
    return value >> 1 ^ -(value & 1)


def _integer(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~value << 1 | 1)
