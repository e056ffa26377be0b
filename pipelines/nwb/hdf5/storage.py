"""Reads the data of a dataset, and refuses what HDF5 would invent.

HDF5 silently returns fill values for data that is not in the file and for chunks that decompress to
another size. Chunks are therefore read raw and decompressed here, by libdeflate, which takes a
quarter of the time of HDF5's own filter. Of the released datasets only event detection is chunked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import deflate
import numpy as np

from pipelines.nwb.hdf5.errors import HdfError, h5py, hdf5_errors
from schemas.casts import NDArray

_GZIP = [h5py.h5z.FILTER_DEFLATE]
_SHUFFLED_GZIP = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]

LARGEST = 256 << 20
"""Bytes that are read at once. A worker has 512 MB; what can be larger is read in pieces."""

_EXPANSION = 1032
"""Times that gzip can make data smaller, at most: two bits for a repetition of 258 bytes."""

Piece = tuple[tuple[slice, ...], NDArray]
"""A part of a dataset: where it is, and its values."""

STRING_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
"""How HDF5 stores a string of variable length: its length, and the address of a collection of the
global heap with the string's number in it."""


on_read: ContextVar[Callable[[int], None] | None] = ContextVar("on_read", default=None)
"""Is told the bytes of what was read of datasets, as they are stored or in memory."""


def _tell(size: int) -> None:
    if (told := on_read.get()) is not None:
        told(size)


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
        HdfError: the data is not all in the file, cannot be read, or is more than `LARGEST`.
    """
    if dataset.chunks is not None:
        if not is_variable_string(dataset):
            return _read_chunks(dataset, dataset.dtype, index)
        _read_chunks(dataset, STRING_REFERENCE, index)  # raises if references are missing
    else:
        _check_extent(dataset)
    _check_size(dataset.shape[len(index) :], dataset.dtype)
    with hdf5_errors():
        values = np.asarray(dataset[index])
    _tell(values.nbytes)
    return values


def pieces(dataset: Any, rows: int) -> Iterator[Piece]:
    """Yields a dataset of numbers in pieces, which cover it exactly once.

    Args:
        dataset: the dataset, of at least one dimension.
        rows: length of a piece along the first axis. Where the data is stored in chunks, the pieces
            are the chunks.

    Raises:
        HdfError: as for `read`.
    """
    if dataset.chunks is not None:
        yield from _read_each(dataset, dataset.dtype, _chunks_of(dataset, dataset.dtype))
        return
    _check_extent(dataset)
    length, *rest = dataset.shape
    _check_size((min(rows, length), *rest), dataset.dtype)
    for start in range(0, length, rows):
        part = slice(start, min(start + rows, length))
        with hdf5_errors():
            values = np.asarray(dataset[part])
        _tell(values.nbytes)
        yield (part, *(slice(0, n) for n in rest)), values


def _check_extent(dataset: Any) -> None:
    """Raises an `HdfError` if a dataset that is not chunked claims more than the file can hold."""
    with hdf5_errors():
        stored: int = dataset.id.get_storage_size()
        room: int = dataset.file.id.get_filesize()
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if claimed and not stored:
        raise HdfError(f"no data in the file for shape {dataset.shape}")
    if claimed > min(stored, room):
        raise HdfError(
            f"shape {dataset.shape} takes {claimed} bytes, but the file has room for "
            f"{min(stored, room)}"
        )


def _check_size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST:
        raise HdfError(f"shape {shape} takes {size} bytes; at most {LARGEST} are read at once")


def _read_chunks(dataset: Any, dtype: np.dtype[Any], index: tuple[int, ...]) -> NDArray:
    shape: tuple[int, ...] = dataset.shape[len(index) :]
    chunks = _chunks_of(dataset, dtype)  # before `out`, since a damaged shape may have any size
    _check_size(shape, dtype)
    out = np.empty(shape, dtype=dtype)
    for where, values in _read_each(dataset, dtype, chunks, index):
        out[where] = values
    return out


def _read_each(
    dataset: Any,
    dtype: np.dtype[Any],
    chunks: dict[tuple[int, ...], int],
    index: tuple[int, ...] = (),
) -> Iterator[Piece]:
    """Yields the chunks of a dataset; with leading indices, what they select of those they hit."""
    filters = _filters(dataset)
    depth = len(index)
    shape: tuple[int, ...] = dataset.shape
    chunk_shape: tuple[int, ...] = dataset.chunks  # once: h5py asks HDF5 each time
    for offset, mask in chunks.items():
        extent = [
            slice(o, min(o + c, n)) for o, c, n in zip(offset, chunk_shape, shape, strict=True)
        ]
        if all(s.start <= i < s.stop for i, s in zip(index, extent, strict=False)):
            values = _values(dataset, chunk_shape, offset, mask, filters, dtype)
            inside = tuple(i - s.start for i, s in zip(index, extent, strict=False))
            rest = tuple(extent[depth:])
            yield rest, values[(*inside, *(slice(0, s.stop - s.start) for s in rest))]


def _filters(dataset: Any) -> list[int]:
    with hdf5_errors():
        plist: Any = dataset.id.get_create_plist()
        filters: list[int] = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if filters not in ([], _GZIP, _SHUFFLED_GZIP):
        raise HdfError(f"filters {filters}, which are not none, gzip, or shuffle and gzip")
    return filters


def _chunks_of(dataset: Any, dtype: np.dtype[Any]) -> dict[tuple[int, ...], int]:
    """All chunks of a dataset: masks of the filters that were skipped, by index of first element.

    Raises:
        HdfError: they do not cover the dataset exactly once, or claim more than what is stored of
            them can expand to.
    """
    shape: tuple[int, ...] = dataset.shape
    chunk_shape: tuple[int, ...] = dataset.chunks
    expected = math.prod(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    found: dict[tuple[int, ...], int] = {}
    count = stored = 0

    def add(chunk: Any) -> bool | None:
        nonlocal count, stored
        count += 1
        stored += chunk.size
        found[chunk.chunk_offset] = chunk.filter_mask
        return True if count > expected else None

    with hdf5_errors():
        # Not get_chunk_info(number), which walks the index from its start for every chunk.
        dataset.id.chunk_iter(add)
        room: int = dataset.file.id.get_filesize()
    inside = all(
        o % c == 0 and o < n
        for offset in found
        for o, c, n in zip(offset, chunk_shape, shape, strict=True)
    )
    if count != expected or len(found) != expected or not inside:
        raise HdfError(f"{count} chunks, not the {expected} that make shape {shape}")
    _check_size(chunk_shape, dtype)
    claimed = count * math.prod(chunk_shape) * dtype.itemsize
    most = min(stored, room) * (_EXPANSION if _filters(dataset) else 1)
    if claimed > most:
        raise HdfError(
            f"the chunks claim {claimed} bytes, but the {min(stored, room)} bytes that are stored "
            f"can expand to {most} at most"
        )
    return found


def _values(
    dataset: Any,
    shape: tuple[int, ...],
    offset: tuple[int, ...],
    mask: int,
    filters: list[int],
    dtype: np.dtype[Any],
) -> NDArray:
    """The values of one chunk, which has the given shape."""
    size = math.prod(shape) * dtype.itemsize
    with hdf5_errors():
        data: Any = dataset.id.read_direct_chunk(offset)[1]
    _tell(len(data))
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
    return np.frombuffer(data, dtype=dtype).reshape(shape)
