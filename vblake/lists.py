"""Columns of lists in a Parquet file as NumPy arrays."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vblake.files import Files

Array = np.ndarray[Any, Any]


def read_matrix(files: Files, path: str, column: str) -> Array:
    """A column of lists of one length, as a new array of shape (n_rows, length).

    Each list is decoded by itself and copied to its place, so the memory that PyArrow decodes into
    is small and used again: new memory costs as much time as decoding.

    Args:
        files: the lake's files.
        path: one of them.
        column: name of the column. It has no NULL lists; NULLs in lists become NaN.

    Raises:
        ValueError: the lists differ in length.
    """
    metadata = pq.read_metadata(files.open(path))
    if not metadata.num_rows:
        return np.empty((0, 0))
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *(group.num_rows for group in groups)])
    element = metadata.schema.to_arrow_schema().field(column).type.value_type
    chunks = [groups[0].column(i) for i in range(metadata.num_columns)]
    (chunk,) = (c for c in chunks if c.path_in_schema.split(".")[0] == column)
    length = chunk.num_values // groups[0].num_rows
    values = np.empty((metadata.num_rows, length), element.to_pandas_dtype())

    def read(share: list[int]) -> None:
        # A ParquetFile is not made for several threads. Buckets are asked for all groups at once.
        ahead = files.remote is not None
        file = pq.ParquetFile(files.open(path), metadata=metadata, pre_buffer=ahead)
        rows = file.iter_batches(1, share, [column], use_threads=False)
        for place, row in enumerate(rows, start=int(starts[share[0]])):
            found = row.column(0).flatten()
            if len(found) != length:
                raise ValueError(
                    f"{path}: the lists of {column} differ in length: row {place} has {len(found)} "
                    f"items, where {length} are expected."
                )
            values[place] = found.to_numpy(zero_copy_only=False)

    # PyArrow decodes the row groups of one column one after the other. Where each has one row, as
    # the images have, the memory of several threads costs more than they gain.
    threads = min(4, os.cpu_count() or 1, metadata.num_rows // len(groups), len(groups))
    if threads < 2:
        read([*range(len(groups))])
    else:
        shares = [part.tolist() for part in np.array_split(range(len(groups)), threads)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, shares))
    return values


def items(column: pa.ChunkedArray[Any]) -> Array:
    """The items of all lists of a column, one after the other.

    Example:
        >>> items(pa.chunked_array([[[1.5], [2.5, 3.5]]])).tolist()
        [1.5, 2.5, 3.5]
    """
    chunks = [chunk.flatten() for chunk in column.chunks]
    return pa.chunked_array(chunks, type=column.type.value_type).to_numpy()
