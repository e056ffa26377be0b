"""Columns of lists in a Parquet file as NumPy arrays."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vblake.files import Files

Array = np.ndarray[Any, Any]


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


def read_matrices(files: Files, path: str, *columns: str) -> list[Array]:
    """Columns of lists of one length, as new arrays of shape (n_rows, length).

    Each list is decoded by itself and copied to its place, so the memory that PyArrow decodes into
    is small and used again: new memory costs as much time as decoding.

    Args:
        files: the lake's files.
        path: one of them.
        columns: names of columns. They have no NULL lists; NULLs in lists become NaN.

    Raises:
        ValueError: the lists of a column differ in length.
    """
    metadata = pq.read_metadata(files.open(path))
    if not metadata.num_rows:
        return [np.empty((0, 0)) for _ in columns]
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *counts])
    matrices = {name: _matrix_for(metadata, name) for name in columns}

    def read(share: list[int]) -> None:
        # A ParquetFile is not made for several threads. Buckets are asked for all groups at once.
        ahead = files.remote is not None
        file = pq.ParquetFile(files.open(path), metadata=metadata, pre_buffer=ahead)
        rows = file.iter_batches(1, share, list(columns), use_threads=False)
        for place, row in enumerate(rows, start=int(starts[share[0]])):
            for name, matrix in matrices.items():
                found = row.column(name).flatten()
                if len(found) != matrix.shape[1]:
                    raise ValueError(
                        f"{path}: the lists of {name} differ in length: row {place} has "
                        f"{len(found)} items, where {matrix.shape[1]} are expected."
                    )
                matrix[place] = found.to_numpy(zero_copy_only=False)

    # PyArrow decodes the row groups of one column one after the other.
    threads = min(4, os.cpu_count() or 1, len(counts))
    shares = [part.tolist() for part in np.array_split(range(len(counts)), threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, shares))
    return list(matrices.values())


def _matrix_for(metadata: pq.FileMetaData, column: str) -> Array:
    """An array for a column, by the length of the lists in the first row group."""
    group = metadata.row_group(0)
    chunks = [group.column(i) for i in range(metadata.num_columns)]
    (chunk,) = (c for c in chunks if c.path_in_schema.split(".")[0] == column)
    element = metadata.schema.to_arrow_schema().field(column).type.value_type
    shape = (metadata.num_rows, chunk.num_values // group.num_rows)
    return new_array(shape, element.to_pandas_dtype())


def items(column: pa.ChunkedArray[Any]) -> Array:
    """The items of all lists of a column, one after the other.

    Example:
        >>> items(pa.chunked_array([[[1.5], [2.5, 3.5]]])).tolist()
        [1.5, 2.5, 3.5]
    """
    chunks = [chunk.flatten() for chunk in column.chunks]
    return pa.chunked_array(chunks, type=column.type.value_type).to_numpy()
