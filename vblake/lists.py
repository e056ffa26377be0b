"""Columns of lists in a Parquet file as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vblake.files import Files

Array = np.ndarray[Any, Any]
_T = TypeVar("_T")


def read_lists(files: Files, path: str, column: str) -> list[Array]:
    """A column of lists of numbers: an array per row, which can be written to.

    The arrays are the memory that PyArrow decoded the lists into: a copy of an experiment's traces
    would take as long as decoding them.

    Args:
        files: the lake's files.
        path: one of them.
        column: name of the column. It has no NULL lists; NULLs in lists become NaN.
    """
    groups = range(pq.read_metadata(files.open(path)).num_row_groups)
    parts = read_groups(files, path, column, groups, _rows)
    return [row for part in parts for row in part]


def read_groups(
    files: Files,
    path: str,
    column: str,
    groups: Sequence[int],
    use: Callable[[int, pa.ChunkedArray[Any]], _T],
) -> list[_T]:
    """What a function makes of a column in each row group, called with its number and values.

    PyArrow decodes the row groups of one column one after the other, hence the threads.
    """
    metadata = pq.read_metadata(files.open(path))

    def read(group: int) -> _T:
        # A ParquetFile is not made for several threads.
        file = pq.ParquetFile(files.open(path), metadata=metadata)
        return use(group, file.read_row_group(group, [column]).column(column))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        return list(threads.map(read, groups))


def items(column: pa.ChunkedArray[Any]) -> Array:
    """The items of all lists of a column, one after the other.

    Example:
        >>> items(pa.chunked_array([[[1.5], [2.5, 3.5]]])).tolist()
        [1.5, 2.5, 3.5]
    """
    chunks = [chunk.flatten() for chunk in column.chunks]
    return pa.chunked_array(chunks, type=column.type.value_type).to_numpy()


def _rows(_: int, column: pa.ChunkedArray[Any]) -> list[Array]:
    """
    Example:
        >>> [row.tolist() for row in _rows(0, pa.chunked_array([[[1.5], [2.5, 3.5]]]))]
        [[1.5], [2.5, 3.5]]
    """
    rows: list[Array] = []
    for chunk in column.chunks:
        values = _writable(chunk.flatten())
        ends = np.cumsum(chunk.value_lengths().to_numpy())
        rows += np.split(values, ends[:-1])
    return rows


def _writable(values: pa.Array[Any]) -> Array:
    buffer = values.buffers()[1]
    if values.null_count or buffer is None or not buffer.is_mutable:
        return np.array(values.to_numpy(zero_copy_only=False))
    dtype = np.dtype(values.type.to_pandas_dtype())
    return np.frombuffer(buffer, dtype, len(values), values.offset * dtype.itemsize)
