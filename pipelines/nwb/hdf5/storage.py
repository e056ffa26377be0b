"""Reads the data of a dataset, and refuses what HDF5 would invent.

HDF5 silently returns fill values for data that is not in the file and for chunks that decompress to
another size. Chunks are therefore read raw and decompressed here, by libdeflate, which takes a
quarter of the time of HDF5's own filter. Of the released datasets only event detection is chunked.
"""

from __future__ import annotations

import math
from typing import Any

import deflate
import numpy as np

from pipelines.nwb.hdf5.errors import HdfError, h5py, hdf5_errors
from schemas.casts import NDArray

_GZIP = [h5py.h5z.FILTER_DEFLATE]
_SHUFFLED_GZIP = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]

STRING_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
"""How HDF5 stores a string of variable length: its length, and the address of a collection of the
global heap with the string's number in it."""


def is_string(dataset: Any) -> bool:
    """Whether a dataset holds strings, of fixed or of variable length."""
    return h5py.check_string_dtype(dataset.dtype) is not None


def is_variable_string(dataset: Any) -> bool:
    """Whether a dataset holds references to strings of variable length."""
    info = h5py.check_string_dtype(dataset.dtype)
    return info is not None and info.length is None


def read(dataset: Any, index: tuple[int, ...] = ()) -> NDArray:
    """Reads a dataset of numbers, truth values or strings.

    Args:
        dataset: the dataset; `shape` must not be None.
        index: leading indices of the part to read; all of it by default.

    Returns:
        The values, strings as bytes. The memory order is unspecified.

    Raises:
        HdfError: the data is not all in the file, or cannot be read.
    """
    if dataset.chunks is not None:
        if not is_variable_string(dataset):
            return _read_chunks(dataset, dataset.dtype, index)
        _read_chunks(dataset, STRING_REFERENCE, index)  # raises if references are missing
    with hdf5_errors():
        if dataset.size and not dataset.id.get_storage_size():
            raise HdfError(f"no data in the file for shape {dataset.shape}")
        return np.asarray(dataset[index])


def _read_chunks(dataset: Any, dtype: np.dtype[Any], index: tuple[int, ...]) -> NDArray:
    chunk_shape: tuple[int, ...] = dataset.chunks
    with hdf5_errors():
        plist: Any = dataset.id.get_create_plist()
        filters: list[int] = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if filters not in ([], _GZIP, _SHUFFLED_GZIP):
        raise HdfError(f"filters {filters}, which are not none, gzip, or shuffle and gzip")
    leading, rest = chunk_shape[: len(index)], chunk_shape[len(index) :]
    shape: tuple[int, ...] = dataset.shape[len(index) :]
    chunks = _chunks_of(dataset)  # before `out`, since a damaged shape may have any size
    # Column-major: events are taken out by column, and chunks are narrow (2,181 frames of 3 ROIs).
    out = np.empty(shape, dtype=dtype, order="F")
    for offset, mask in chunks.items():
        if any(not o <= i < o + c for i, o, c in zip(index, offset, leading, strict=False)):
            continue
        values = _values(dataset, offset, mask, filters, dtype)
        values = values[tuple(i - o for i, o in zip(index, offset, strict=False))]
        start = offset[len(index) :]
        target = tuple(slice(o, min(o + c, n)) for o, c, n in zip(start, rest, shape, strict=True))
        out[target] = values[tuple(slice(0, t.stop - t.start) for t in target)]
    return out


def _chunks_of(dataset: Any) -> dict[tuple[int, ...], int]:
    """All chunks of a dataset: masks of the filters that were skipped, by index of first element.

    Raises:
        HdfError: they do not cover the dataset exactly once.
    """
    shape: tuple[int, ...] = dataset.shape
    chunk_shape: tuple[int, ...] = dataset.chunks
    expected = math.prod(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    found: dict[tuple[int, ...], int] = {}
    count = 0

    def add(chunk: Any) -> bool | None:
        nonlocal count
        count += 1
        found[chunk.chunk_offset] = chunk.filter_mask
        return True if count > expected else None

    with hdf5_errors():
        # Not get_chunk_info(number), which walks the index from its start for every chunk.
        dataset.id.chunk_iter(add)
    inside = all(
        o % c == 0 and o < n
        for offset in found
        for o, c, n in zip(offset, chunk_shape, shape, strict=True)
    )
    if count != expected or len(found) != expected or not inside:
        raise HdfError(f"{count} chunks, not the {expected} that make shape {shape}")
    return found


def _values(
    dataset: Any, offset: tuple[int, ...], mask: int, filters: list[int], dtype: np.dtype[Any]
) -> NDArray:
    """The values of one chunk, shape as the dataset's chunks."""
    size = math.prod(dataset.chunks) * dtype.itemsize
    with hdf5_errors():
        data: Any = dataset.id.read_direct_chunk(offset)[1]
    # Bit i of the mask is set if filter i was skipped when the chunk was written.
    if filters and not mask >> (len(filters) - 1) & 1:
        try:
            # libdeflate stops at the given size, so a chunk cannot expand without end.
            data = deflate.zlib_decompress(data, size)
        except deflate.DeflateError as error:
            raise HdfError(
                f"the chunk at {offset} does not decompress to {size} bytes: {error}"
            ) from error
    if len(data) != size:
        raise HdfError(f"the chunk at {offset} has {len(data)} bytes, not {size}")
    if filters == _SHUFFLED_GZIP and not mask & 1:
        data = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
    return np.frombuffer(data, dtype=dtype).reshape(dataset.chunks)
