"""Traces as one row per cell. The files hold them by time: the values of a frame are neighbours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np

from pipelines.nwb.recording import Recording
from schemas.casts import NDArray

IN_MEMORY = 160 << 20
"""Bytes of a transposed dataset that are held in memory; a larger one goes to a temporary file."""

FRAMES = 1024
"""Frames transposed at a time: they fit in the cache, which halves the time of a transpose."""

Traces = Callable[[slice], NDArray]
"""Returns some of the rows, shape (cells, time), C-contiguous."""

_Piece = tuple[NDArray, slice, list[NDArray]]
"""Rows, ascending; times; the values of each row at these times."""


@contextmanager
def by_cell(recording: Recording, path: str, columns: NDArray) -> Generator[Traces]:
    """Transposes a (time, ROI) dataset, within a bound of memory whatever its size.

    Args:
        recording: the file.
        path: of the dataset.
        columns: the columns that become rows 0, 1, ..., each at most once.

    Raises:
        DataError: the dataset cannot be read.
        OSError: the temporary file cannot be written.
    """
    dataset = recording.hdf.numeric_dataset(path, ndim=2)
    frames, rois = dataset.shape
    dtype: np.dtype[Any] = dataset.dtype
    row_of = np.full(rois, -1)
    row_of[columns] = np.arange(len(columns))
    pieces = _pieces(recording, path, row_of)
    if len(columns) * frames * dtype.itemsize <= IN_MEMORY:
        yield _in_memory(pieces, np.empty((len(columns), frames), dtype))
    else:
        with TemporaryFile(dir=recording.scratch) as file:
            yield _in_file(pieces, cast(BinaryIO, file), frames, dtype)


def _pieces(recording: Recording, path: str, row_of: NDArray) -> Iterator[_Piece]:
    for (times, rois), values in recording.hdf.read_pieces(path, FRAMES):
        rows = row_of[rois]
        order = np.argsort(rows)[np.count_nonzero(rows < 0) :]
        yield rows[order], times, [values[:, column] for column in order]


def _in_memory(pieces: Iterator[_Piece], traces: NDArray) -> Traces:
    for rows, times, values in pieces:
        for row, trace in zip(rows, values, strict=True):
            traces[row, times] = trace
    return lambda part: traces[part]


def _in_file(pieces: Iterator[_Piece], file: BinaryIO, frames: int, dtype: np.dtype[Any]) -> Traces:
    """Writes one piece after the other. Some rows are then read from every piece that has them."""
    written: list[tuple[NDArray, slice, int]] = []
    for rows, times, values in pieces:
        written.append((rows, times, file.tell()))
        for trace in values:
            file.write(trace.tobytes())

    def traces(part: slice) -> NDArray:
        out = np.empty((part.stop - part.start, frames), dtype)
        for rows, times, start in written:
            first, last = np.searchsorted(rows, (part.start, part.stop)).tolist()
            length = times.stop - times.start
            file.seek(start + first * length * dtype.itemsize)
            values = np.frombuffer(file.read((last - first) * length * dtype.itemsize), dtype)
            out[rows[first:last] - part.start, times] = values.reshape(last - first, length)
        return out

    return traces
