"""Opens Parquet files with PyArrow; columns of lists in them as NumPy arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vblake.files import Files

Array = np.ndarray[Any, Any]

_POOL_LOCK = Lock()


def new_array(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array without values yet, as `np.empty` makes it, in memory pages of the usual size.

    For large arrays NumPy asks Linux for huge pages. A virtual machine may have to clear these
    first, which takes two to three times as long as clearing the usual ones.

    Example:
        >>> new_array((2, 3), np.float64).shape
        (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, pa.allocate_buffer(size, pa.system_memory_pool()))


def stack(rows: list[Array], length: int) -> Array:
    """Rows of one length as a new matrix, copied by two threads: most of it is new memory's cost.

    Example:
        >>> stack([np.array([1.0, 2.0]), np.array([3.0, 4.0])], 2).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    matrix = new_array((len(rows), length), np.float64)
    halves = slice(None, len(rows) // 2), slice(len(rows) // 2, None)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda half: _copy_rows(rows[half], matrix[half]), halves))
    return matrix


def _copy_rows(rows: list[Array], matrix: Array) -> None:
    for row, place in zip(rows, matrix, strict=True):
        place[:] = row


def read_matrix(files: Files, path: str, column: str) -> Array:
    """A column of lists of one length, as a new array of shape (n_rows, length).

    Each list is copied to its row once it is decoded: what `read_lists` returns would be in memory
    twice while it is stacked.

    Args:
        files: the lake's files.
        path: one of them.
        column: its name. It has no NULL lists; NULLs in lists become NaN.

    Raises:
        ValueError: the lists differ in length.
    """
    metadata = pq.read_metadata(files.open(path))
    if not metadata.num_rows:
        return np.empty((0, 0))
    element = metadata.schema.to_arrow_schema().field(column).type.value_type
    shape = (metadata.num_rows, _list_length(metadata, column))
    matrix = new_array(shape, element.to_pandas_dtype())

    def copy(_: str, row: int, values: Array) -> None:
        matrix[row] = values

    _decode(files, path, metadata, (column,), copy)
    return matrix


def read_lists(files: Files, path: str, *columns: str) -> list[list[Array]]:
    """Columns of lists of one length, as a new array for each list, without a copy.

    Args and errors are those of `read_matrix`. The arrays can be written to.
    """
    metadata = pq.read_metadata(files.open(path))
    found = {name: [np.empty(0)] * metadata.num_rows for name in columns}

    def keep(name: str, row: int, values: Array) -> None:
        found[name][row] = values

    if metadata.num_rows:
        _decode(files, path, metadata, columns, keep)
    return list(found.values())


def _decode(
    files: Files,
    path: str,
    metadata: pq.FileMetaData,
    columns: tuple[str, ...],
    take: Callable[[str, int, Array], None],
) -> None:
    """Decodes a file and calls `take` with each list's column, row and values.

    Each list is decoded by itself, so what PyArrow needs meanwhile is small and used again: new
    memory costs as much time as decoding.
    """
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *counts])
    lengths = {name: _list_length(metadata, name) for name in columns}

    def read(share: list[int]) -> None:
        # A ParquetFile is not made for several threads.
        file = open_parquet(files, path, metadata)
        rows = file.iter_batches(1, share, list(columns), use_threads=False)
        for place, row in enumerate(rows, start=int(starts[share[0]])):
            for name, length in lengths.items():
                found = row.column(name).flatten()
                if len(found) != length:
                    raise ValueError(
                        f"{path}: the lists of {name} differ in length: row {place} has "
                        f"{len(found)} items, where {length} are expected."
                    )
                take(name, place, _as_array(found))

    # PyArrow decodes the row groups of one column one after the other.
    threads = min(4, os.cpu_count() or 1, len(counts))
    shares = [part.tolist() for part in np.array_split(range(len(counts)), threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, shares))


def open_parquet(
    files: Files, path: str, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    """A file of the lake that PyArrow decodes into memory of the usual pages, see `new_array`.

    Args:
        files: the lake's files.
        path: one of them.
        metadata: its footer, if it was read before.
    """
    if files.remote is not None:
        # Buckets are asked for all groups at once. In a folder, that is a copy in new memory.
        return pq.ParquetFile(files.open(path), metadata=metadata, pre_buffer=True)
    # A file keeps the pool that it was opened with. PyArrow's usual one takes huge pages.
    with _POOL_LOCK:
        usual = pa.default_memory_pool()
        pa.set_memory_pool(_pool())
        try:
            return pq.ParquetFile(path, metadata=metadata, buffer_size=1 << 20, pre_buffer=False)
        finally:
            pa.set_memory_pool(usual)


@cache
def _pool() -> pa.MemoryPool:
    if "jemalloc" in pa.supported_memory_backends():
        return pa.jemalloc_memory_pool()
    return pa.system_memory_pool()


def _as_array(found: pa.Array[Any]) -> Array:
    """Decoded values in the memory that they were decoded into, with NaN for NULL."""
    kind = np.dtype(found.type.to_pandas_dtype())
    values = np.ndarray(len(found), kind, found.buffers()[1], found.offset * kind.itemsize)
    if found.null_count:
        values[found.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def _list_length(metadata: pq.FileMetaData, column: str) -> int:
    """The length of a column's lists by those in the first row group."""
    group = metadata.row_group(0)
    chunks = [group.column(i) for i in range(metadata.num_columns)]
    (chunk,) = (c for c in chunks if c.path_in_schema.split(".")[0] == column)
    return chunk.num_values // group.num_rows


def items(column: pa.ChunkedArray[Any]) -> Array:
    """The items of all lists of a column, one after the other.

    Example:
        >>> items(pa.chunked_array([[[1.5], [2.5, 3.5]]])).tolist()
        [1.5, 2.5, 3.5]
    """
    chunks = [chunk.flatten() for chunk in column.chunks]
    return pa.chunked_array(chunks, type=column.type.value_type).to_numpy()
