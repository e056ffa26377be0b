"""How a dataset is stored: whether all of it is in the file, and no more than that; and chunks with plain gzip through libdeflate.

HDF5 fills up in silence what is not in the file, reads past what is stored, and decompresses a chunk to wherever it ends. So what a file
says of its storage is checked before HDF5 reads it. Of the released datasets only event detection is in chunks; libdeflate takes a quarter
of the time of HDF5's own filter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import deflate
import h5py
import numpy as np

from schemas.casts import NDArray

_LZF = 32000
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    _LZF: "lzf",
}
"""Filters that are known not to make more of a chunk than its size, once gzip was looked at."""

_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: index of its first element, place and bytes in the file, and which filters were left out."""

    offset: tuple[int, ...]
    start: int
    size: int
    mask: int


def filters(dataset: Any) -> list[int]:
    """Numbers of the filters of a dataset's chunks, in the order in which they were applied."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]


def _bytes(shape: tuple[int, ...], itemsize: int) -> int:
    return math.prod(shape) * itemsize


def chunks_of(dataset: Any) -> list[Chunk]:
    """All chunks of a dataset.

    Raises:
        ValueError: they do not cover it, each place once.
    """
    shape: tuple[int, ...] = dataset.shape
    chunk_shape: tuple[int, ...] = dataset.chunks
    expected = math.prod(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    found: list[Chunk] = []

    def add(chunk: Any) -> bool | None:
        found.append(Chunk(chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
        return True if len(found) > expected else None

    # Not get_chunk_info(number), which walks the index from its start for every chunk.
    dataset.id.chunk_iter(add)
    inside = all(
        o % c == 0 and o < n
        for chunk in found
        for o, c, n in zip(chunk.offset, chunk_shape, shape, strict=True)
    )
    if len({chunk.offset for chunk in found}) != expected or len(found) != expected or not inside:
        raise ValueError(f"{len(found)} chunks, not the {expected} that make shape {shape}")
    return found


def check_storage(dataset: Any, itemsize: int, file_bytes: int, room: int) -> None:
    """Sees to it that all of a dataset is in the file.

    Args:
        dataset: with a shape.
        itemsize: bytes of an item in the file.
        file_bytes: size of the file.
        room: bytes that a chunk may have.

    Raises:
        ValueError: something of it is missing or cannot be, or a filter is unknown.
    """
    size = _bytes(dataset.shape, itemsize)
    plist = dataset.id.get_create_plist()
    if not size or plist.get_layout() == h5py.h5d.COMPACT:
        return
    if dataset.chunks is None:
        start, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
        if start is None:
            raise ValueError(f"no data in the file for shape {dataset.shape}")
        if stored != size or start + stored > file_bytes:
            raise ValueError(
                f"shape {dataset.shape}, which takes {size} bytes, stored in {stored} bytes at {start} of {file_bytes}"
            )
        return
    used = filters(dataset)
    unknown = [n for n in used if n not in _FILTERS]
    if unknown:
        raise ValueError(f"filter {unknown[0]}; known are {', '.join(_FILTERS.values())}")
    own = _bytes(dataset.chunks, itemsize)
    if own > room:
        raise ValueError(f"chunks of {own} bytes, more than {room}")
    for chunk in chunks_of(dataset):
        if chunk.start + chunk.size > file_bytes or (chunk.size != own and not used):
            raise ValueError(
                f"the chunk at {chunk.offset} has {chunk.size} bytes at {chunk.start} of {file_bytes}"
            )


def _decompressed(dataset: Any, chunk: Chunk, size: int, *, checksum: bool = False) -> bytearray:
    _, raw = dataset.id.read_direct_chunk(chunk.offset)
    try:
        # libdeflate stops at the size that is given, so a chunk cannot expand without end.
        data = deflate.zlib_decompress(raw[:-_CHECKSUM] if checksum else raw, size)
    except deflate.DeflateError as error:
        raise OSError(
            f"the chunk at {chunk.offset} does not decompress to {size} bytes: {error}"
        ) from error
    if len(data) != size:
        raise OSError(f"the chunk at {chunk.offset} has {len(data)} bytes, not {size}")
    return data


def check_gzip(dataset: Any) -> None:
    """Sees to it that chunks which HDF5 will decompress end where they should.

    Raises:
        OSError: one does not.
        ValueError: gzip is not where it can be looked at: last, but for a checksum.
    """
    used = filters(dataset)
    if h5py.h5z.FILTER_DEFLATE not in used:
        return
    checksum = used[-1] == h5py.h5z.FILTER_FLETCHER32
    if used.index(h5py.h5z.FILTER_DEFLATE) != len(used) - 1 - checksum:
        raise ValueError("gzip before other filters")
    # A checksum that was applied before gzip is compressed with the data.
    size = _bytes(dataset.chunks, dataset.dtype.itemsize) + _CHECKSUM * (
        h5py.h5z.FILTER_FLETCHER32 in used[:-1]
    )
    for chunk in chunks_of(dataset):
        if not chunk.mask & 1 << used.index(h5py.h5z.FILTER_DEFLATE):
            _decompressed(dataset, chunk, size, checksum=checksum)


def read_chunks(dataset: Any, dtype: np.dtype[Any]) -> NDArray | None:
    """A whole dataset, column-major, or None if it is not stored as chunks without a filter or with plain gzip.

    Args:
        dataset: `check_storage` found nothing wrong with it.
        dtype: of an item in the file.

    Raises:
        OSError: a chunk does not decompress to its size.
    """
    if dataset.chunks is None or filters(dataset) not in ([], [h5py.h5z.FILTER_DEFLATE]):
        return None
    chunk_shape: tuple[int, ...] = dataset.chunks
    # Column-major: events are taken out a column at a time, and chunks are narrow (2,181 frames of 3 ROIs in the release).
    out = np.empty(dataset.shape, dtype=dtype, order="F")
    size = _bytes(chunk_shape, dtype.itemsize)
    plain = not filters(dataset)
    for chunk in chunks_of(dataset):
        data = (
            dataset.id.read_direct_chunk(chunk.offset)[1]
            if plain or chunk.mask
            else _decompressed(dataset, chunk, size)
        )
        values = np.frombuffer(data, dtype=dtype).reshape(chunk_shape)
        target = tuple(
            slice(o, min(o + c, n))
            for o, c, n in zip(chunk.offset, chunk_shape, dataset.shape, strict=True)
        )
        out[target] = values[tuple(slice(0, t.stop - t.start) for t in target)]
    return out
