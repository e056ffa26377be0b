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
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.footer import MAGIC, data_of, framed, moved, read_footer
from schemas.errors import LakeError

_KEPT = 8 << 20
"""Bytes kept of earlier versions. More would double a lake whose traces are replaced."""
_RECENT_S = 60.0
"""For this long all earlier versions are kept, not only the last: a query may be older than two
replacements.
"""
_AGED_S = 86_400.0
"""Space is not reused for this long: a Polars frame in a notebook may be that old."""
_COPY = 4 << 20


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
        data = data_of(map(metadata.row_group, range(metadata.num_row_groups)))
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return cls(path, *data, size, read_footer(file, size))

    @property
    def data(self) -> int:
        return self.end - self.start

    @property
    def footer_start(self) -> int:
        return self.size - len(MAGIC) - 4 - len(self.footer)


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
    footer = moved(fresh.footer, shift)
    with target.open("wb") as file:
        file.write(MAGIC)
        kept = (
            [(old.start, old.end), (old.footer_start, old.size)]
            if age > _RECENT_S
            else [(len(MAGIC), old.size)]
        )
        for first, last in kept:
            _copy(old, max(first, old.size - _KEPT), last, file)
        _copy(fresh, fresh.start, fresh.end, file, shift)
        file.seek(max(old.size, start + fresh.data))
        file.write(framed(footer))
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
        if len(MAGIC) + length <= old.start:
            return len(MAGIC)
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
    return moved(one.footer, -one.start) == moved(other.footer, -other.start)


def _copy(layout: _Layout, start: int, end: int, target: BinaryIO, shift: int = 0) -> None:
    with layout.path.open("rb") as file:
        file.seek(start)
        target.seek(start + shift)
        for done in range(start, end, _COPY):
            target.write(file.read(min(_COPY, end - done)))
