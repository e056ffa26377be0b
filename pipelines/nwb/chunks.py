"""Chunked, gzip-compressed datasets through libdeflate: a quarter of the time of HDF5's own filter.

Only event detection is stored so. Anything but plain gzip is left to HDF5.
"""

from __future__ import annotations

import math
from typing import Any

import deflate
import h5py
import numpy as np

from schemas.casts import NDArray


def _is_plain_gzip(dataset: Any) -> bool:
    plist = dataset.id.get_create_plist()
    return plist.get_nfilters() == 1 and plist.get_filter(0)[0] == h5py.h5z.FILTER_DEFLATE


def read_gzip(dataset: Any) -> NDArray | None:
    """A whole dataset, column-major, or None if it is not stored as chunks with plain gzip, every one of them there.

    Raises:
        OSError: a chunk does not decompress to its size.
    """
    if dataset.chunks is None or not _is_plain_gzip(dataset):
        return None
    chunk_shape: tuple[int, ...] = dataset.chunks
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk_shape, strict=True))
    offsets: list[tuple[int, ...]] = []
    # Not get_chunk_info(number), which walks the index from its start for every chunk.
    dataset.id.chunk_iter(lambda chunk: offsets.append(chunk.chunk_offset))
    if len(offsets) != expected:
        return None
    # Column-major: events are taken out a column at a time, and chunks are narrow (2,181 frames of 3 ROIs in the release).
    out = np.empty(dataset.shape, dtype=dataset.dtype, order="F")
    size = math.prod(chunk_shape) * dataset.dtype.itemsize
    for offset in offsets:
        mask, raw = dataset.id.read_direct_chunk(offset)
        if mask:
            return None
        try:
            # libdeflate stops at the size that is given, so a chunk cannot expand without end.
            data = deflate.zlib_decompress(raw, size)
        except deflate.DeflateError as error:
            raise OSError(f"the chunk at {offset} does not decompress: {error}") from error
        if len(data) != size:
            raise OSError(f"the chunk at {offset} has {len(data)} bytes, not {size}")
        chunk = np.frombuffer(data, dtype=dataset.dtype).reshape(chunk_shape)
        target = tuple(slice(o, min(o + c, n)) for o, c, n in zip(offset, chunk_shape, dataset.shape, strict=True))
        out[target] = chunk[tuple(slice(0, t.stop - t.start) for t in target)]
    return out
