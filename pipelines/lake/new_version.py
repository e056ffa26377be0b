"""Replaces a Parquet file without misleading readers of the old version.

Readers open a file by name more than once: for the footer, then for the data. DuckDB 1.5 and Polars
2.1 do so, and a Polars frame keeps the first footer for as long as it lives. If the name refers to
other bytes in between, they decode the data of one version with the footer of another. Mostly that
is an error, but it can be a wrong answer for the first column and, in Polars, a query that never
ends. A new name is no solution: DuckDB skips a name that has disappeared when it lists a folder, so
that rows are missing silently.

A Parquet footer says where each column's data begin, so bytes that it does not mention belong to
nothing. The new file keeps the name. It has its own data where the old file had none, and keeps the
old file's bytes in place if they are few: a reader with the old footer reads the old version.
Otherwise there are zeros in their place (a hole, which takes no room), which every reader refuses
as a page.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

from schemas.errors import LakeError

_MAGIC = b"PAR1"
_KEPT = 8 << 20
"""Bytes kept of earlier versions. More would double a lake whose traces are replaced."""
_RECENT_S = 60.0
"""For this long all earlier versions are kept, not only the last: a query may be older than two
replacements.
"""
_AGED_S = 86_400.0
"""Space is not reused for this long: a Polars frame in a notebook may be that old."""
_COPY = 4 << 20

_OFFSETS = frozenset(
    {
        (4, 5),  # RowGroup.file_offset
        (4, 1, 2),  # ColumnChunk.file_offset
        (4, 1, 3, 9),  # ColumnMetaData.data_page_offset
        (4, 1, 3, 11),  # ColumnMetaData.dictionary_page_offset
    }
)
"""Offsets that a footer contains, as field numbers of parquet.thrift in
https://github.com/apache/parquet-format.
"""
_INDEXES = frozenset(
    {
        (4, 1, 4),  # ColumnChunk.offset_index_offset
        (4, 1, 6),  # ColumnChunk.column_index_offset
        (4, 1, 3, 10),  # ColumnMetaData.index_page_offset
        (4, 1, 3, 14),  # ColumnMetaData.bloom_filter_offset
    }
)
"""Offsets of structures that contain offsets themselves. The lake's writer makes none of these."""


@dataclass(frozen=True)
class _Layout:
    """The positions of a Parquet file's parts.

    Attributes:
        path: the file.
        start: first byte of the columns' data.
        end: first byte after them.
        size: size of the file.
        footer: its thrift bytes.
    """

    path: Path
    start: int
    end: int
    size: int
    footer: bytes

    @classmethod
    def of(cls, path: Path) -> _Layout:
        metadata = pq.read_metadata(path)
        chunks = [
            metadata.row_group(g).column(c)
            for g in range(metadata.num_row_groups)
            for c in range(metadata.num_columns)
        ]
        chunks = [c for c in chunks if c.total_compressed_size]  # chunks without rows have no data
        starts = [
            c.data_page_offset if c.dictionary_page_offset is None else c.dictionary_page_offset
            for c in chunks
        ]
        ends = [start + c.total_compressed_size for start, c in zip(starts, chunks, strict=True)]
        with path.open("rb") as file:
            size = file.seek(-len(_MAGIC) - 4, os.SEEK_END) + len(_MAGIC) + 4
            length = int.from_bytes(file.read(4), "little")
            file.seek(size - len(_MAGIC) - 4 - length)
            footer = file.read(length)
        return cls(
            path, min(starts, default=len(_MAGIC)), max(ends, default=len(_MAGIC)), size, footer
        )

    @property
    def data(self) -> int:
        return self.end - self.start

    @property
    def footer_start(self) -> int:
        return self.size - len(_MAGIC) - 4 - len(self.footer)


def supersede(new: Path, standing: Path, target: Path) -> bool:
    """Writes the file that will replace another one.

    Args:
        new: a Parquet file with the new rows.
        standing: the file that has the name now.
        target: file to write: the rows, schema and metadata of `new`, placed so that readers of
            `standing` are not misled.

    Returns:
        False, and nothing is written, if the content of both is the same, byte for byte.

    Raises:
        LakeError: `new` has indexes, which contain offsets themselves.
    """
    fresh = _Layout.of(new)
    try:
        old = _Layout.of(standing)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError):  # it is damaged, so nobody is reading it
        shutil.copyfile(new, target)
        return True
    if _same(old, fresh):
        return False
    age = time.time() - standing.stat().st_mtime
    start = _place(fresh.data, old, reuse=age > _AGED_S)
    shift = start - fresh.start
    footer = _moved(fresh.footer, shift)
    with target.open("wb") as file:
        file.write(_MAGIC)
        kept = (
            [(old.start, old.end), (old.footer_start, old.size)]
            if age > _RECENT_S
            else [(len(_MAGIC), old.size)]
        )
        for first, last in kept:
            _copy(old, max(first, old.size - _KEPT), last, file)
        _copy(fresh, fresh.start, fresh.end, file, shift)
        file.seek(max(old.size, start + fresh.data))
        file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
    made = _Layout.of(target)
    if (made.start, made.end) != (start, start + fresh.data) and fresh.data:
        raise LakeError(
            f"{standing} was to be replaced, but the file made for it is damaged. "
            "Please report this."
        )
    return True


def may_replace(earlier: Path, standing: Path) -> bool:
    """Whether an earlier version of a file may take its place as it is.

    It may if all data of the standing file are beyond the end of the earlier one, so that readers
    with the footer of the standing file fail instead of reading other data.
    """
    try:
        return _Layout.of(standing).start >= earlier.stat().st_size
    except (pa.ArrowException, OSError):  # it is damaged, so nobody is reading it
        return True


def _place(length: int, old: _Layout, *, reuse: bool) -> int:
    """Returns where data of this length go.

    That is where no version has had any, or only versions of more than a day ago.
    """
    if reuse:
        if len(_MAGIC) + length <= old.start:
            return len(_MAGIC)
        if old.end + length <= old.footer_start:
            return old.end
    return old.size


def _same(one: _Layout, other: _Layout) -> bool:
    """Whether two files have the same bytes, apart from their offsets."""
    if one.data != other.data:
        return False
    with one.path.open("rb") as first, other.path.open("rb") as second:
        first.seek(one.start)
        second.seek(other.start)
        for done in range(0, one.data, _COPY):
            length = min(_COPY, one.data - done)
            if first.read(length) != second.read(length):
                return False
    return _moved(one.footer, -one.start) == _moved(other.footer, -other.start)


def _copy(layout: _Layout, start: int, end: int, target: BinaryIO, shift: int = 0) -> None:
    with layout.path.open("rb") as file:
        file.seek(start)
        target.seek(start + shift)
        for done in range(start, end, _COPY):
            target.write(file.read(min(_COPY, end - done)))


def _moved(footer: bytes, by: int) -> bytes:
    """Returns a footer with all offsets increased; fields that this module does not know are
    unchanged.
    """
    target = TMemoryBuffer()
    _rewrite(
        TCompactProtocol(TMemoryBuffer(footer)), TCompactProtocol(target), TType.STRUCT, (), by
    )
    return target.getvalue()


_PLAIN = {
    TType.BOOL: "Bool",
    TType.BYTE: "Byte",
    TType.I16: "I16",
    TType.I32: "I32",
    TType.DOUBLE: "Double",
    TType.STRING: "Binary",
}


def _rewrite(source: Any, target: Any, type_: int, field: tuple[int, ...], by: int) -> None:
    """Copies a value of the thrift protocol; `field` holds the numbers of its enclosing fields."""
    if type_ == TType.STRUCT:
        source.readStructBegin()
        target.writeStructBegin(None)
        while (header := source.readFieldBegin())[1] != TType.STOP:
            _, inner, number = header
            target.writeFieldBegin(None, inner, number)
            _rewrite(source, target, inner, (*field, number), by)
            target.writeFieldEnd()
            source.readFieldEnd()
        target.writeFieldStop()
        target.writeStructEnd()
        source.readStructEnd()
    elif type_ == TType.LIST:
        inner, length = source.readListBegin()
        target.writeListBegin(inner, length)
        for _ in range(length):
            _rewrite(source, target, inner, field, by)
        target.writeListEnd()
        source.readListEnd()
    elif type_ == TType.I64:
        value = source.readI64()
        if field in _INDEXES:
            raise LakeError(
                "a Parquet file with page indexes or Bloom filters cannot replace another; "
                "write it without them"
            )
        # Writers store 0 for an unknown offset.
        target.writeI64(value + by if value and field in _OFFSETS else value)
    else:
        name = _PLAIN[type_]
        getattr(target, f"write{name}")(getattr(source, f"read{name}")())
