"""Means of traces around presentations: in windows for each, and over several of them at 30 Hz.

Traces are interpolated linearly between frames, so that every mean is a sum over frames with
weights that all cells share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.casts import NDArray
from schemas.layout import CELLS_PER_ROW_GROUP
from schemas.tables.responses import TIME_BASE_LENGTH

_AROUND_S = 3.0
_BLOCK_S = 6.0
"""Presentations within this time are computed together: eight of the task."""
_TOGETHER = 64
"""Presentations whose traces are averaged at a time, so that they stay in the cache."""
_TRANSPOSED = 1024
"""Frames that are transposed at a time, as in `by_cell`."""

TIME_BASE = np.linspace(-1.0, 2.0, TIME_BASE_LENGTH)
"""Times of a mean trace relative to the start of a presentation, seconds: 30 Hz, both ends."""


def sampling_grid(times: NDArray, cells: int) -> NDArray:
    """Times around a presentation at which the package interpolates traces, in seconds.

    Its clock has the clocks of all cells one after the other, so that the interval of the samples
    is the frame interval over the number of cells.

    Args:
        times: of the frames, ascending, seconds, shape (n_frames,).
        cells: number of cells of the plane.

    >>> grid = sampling_grid(np.arange(100) / 10, 1)
    >>> len(grid), grid[0].item(), round(float(grid[1]), 3)
    (61, -3.0, -2.9)
    """
    step = (times[-1] - times[0]) / (cells * len(times) - 1)
    count = int(2 * _AROUND_S / step)
    return np.linspace(-_AROUND_S, -_AROUND_S + count * step, count + 1)


Weights = tuple[NDArray, NDArray]
"""Frame numbers, and what they count in a mean, each of shape (n_frames, n_presentations)."""


def window_weights(start: NDArray, times: NDArray, grid: NDArray) -> Weights:
    """Makes the weights of frames in the mean over a grid of times around each presentation.

    A sample between two frames counts for both, by its distance from the other. The samples of an
    interval between frames are an arithmetic series, so none of them is looked at by itself.

    Args:
        start: of the presentations, seconds, shape (n_presentations,).
        times: of the frames, ascending, seconds, shape (n_frames,).
        grid: evenly spaced times relative to the start, seconds.

    Returns:
        Weights that are NaN where the recording does not cover the window.

    >>> frames, weights = window_weights(np.array([1.25]), np.arange(5.0), np.array([0.0, 0.5]))
    >>> frames[:, 0].tolist(), weights[:, 0].tolist()
    ([1, 2], [0.5, 0.5])
    """
    first = np.searchsorted(times, start + grid[0], side="right") - 1
    last = np.searchsorted(times, start + grid[-1], side="right")
    covered = (first >= 0) & (last < len(times))
    count = int(np.max(last[covered] - first[covered], initial=1)) + 1
    frames = np.clip(np.minimum(first + np.arange(count)[:, None], last), 0, len(times) - 1)
    at = times[frames] - start
    step = (grid[-1] - grid[0]) / max(len(grid) - 1, 1) or 1.0
    edges = np.clip(np.ceil((at - grid[0]) / step), 0, len(grid))
    # Rounding must not lose the first or the last sample.
    edges[0] = 0
    edges[frames == last] = len(grid)
    samples, width = np.diff(edges, axis=0), np.diff(at, axis=0)
    middle = grid[0] + step * (edges[:-1] + edges[1:] - 1) / 2
    later = samples * (middle - at[:-1]) / np.where(width > 0, width, 1.0)
    weights = np.zeros(frames.shape)
    weights[:-1] += samples - later
    weights[1:] += later
    return frames, np.where(covered, weights / len(grid), np.nan)


class WindowMeans:
    """The means of traces in windows around each presentation.

    They are matrix products over all frames of a few presentations: a third of the time of picking
    the frames of each window.

    Args:
        start: of the presentations, ascending, seconds, shape (n_presentations,).
        windows: their weights.
    """

    def __init__(self, start: NDArray, windows: Sequence[Weights]) -> None:
        self._windows = windows
        self._known = ~np.isnan([weights[0] for _, weights in windows])
        blocks = np.floor((start - start[0]) / _BLOCK_S)
        _, firsts, block = np.unique(blocks, return_index=True, return_inverse=True)
        self._bounds = np.append(firsts, len(start))
        low, high = (
            np.min([frames[0] for frames, _ in windows], axis=0),
            np.max([frames[-1] for frames, _ in windows], axis=0),
        )
        self._low = np.minimum.reduceat(low, firsts)
        self._count = np.maximum.reduceat(high, firsts) + 1 - self._low
        most = int(np.diff(self._bounds).max())
        shape = (len(firsts), int(self._count.max()), most, len(windows))
        self._weights = np.zeros(shape)
        place = np.arange(len(start)) - firsts[block]
        for number, (frames, weights) in enumerate(windows):
            for row, weight in zip(frames - self._low[block], np.nan_to_num(weights), strict=True):
                self._weights[block, row, place, number] += weight

    def of(self, traces: NDArray) -> NDArray:
        """The means, shape (n_windows, n_cells, n_presentations).

        Args:
            traces: float64, shape (n_cells, n_frames).
        """
        cells, windows = len(traces), len(self._windows)
        flat = np.empty((cells, len(self._known[0]) * windows))
        for block, (first, count) in enumerate(zip(self._low, self._count, strict=True)):
            begin, end = self._bounds[block : block + 2] * windows
            weights = self._weights[block, :count].reshape(count, -1)[:, : end - begin]
            flat[:, begin:end] = traces[:, first : first + count] @ weights
        means = np.moveaxis(flat.reshape(cells, -1, windows), 2, 0)
        for cell in np.flatnonzero(~np.isfinite(means).all(axis=(0, 2))):
            for mean, (frames, weights) in zip(means, self._windows, strict=True):
                # A sample that is no number counts in its own windows only.
                picked = np.where(weights == 0, 0.0, traces[cell].take(frames))
                mean[cell] = np.sum(weights * picked, axis=0)
        return np.where(self._known[:, None], means, np.nan)


@dataclass(frozen=True)
class Positions:
    """Where `TIME_BASE` lies between the frames, for some presentations.

    Attributes:
        frames: the frame before each time, shape (n_presentations, n_times).
        part: how far each time is on the way to the next frame, from 0 to 1, of the same shape.
        known: the presentations with two frames or more around them and the recording on both
            sides, shape (n_presentations,). What the others have is of no use.
    """

    frames: NDArray
    part: NDArray
    known: NDArray

    @classmethod
    def of(cls, start: NDArray, times: NDArray) -> Positions:
        """Finds them. Before the first and after the last frame around a presentation, its trace
        stays as it is there, as in the package.

        Args:
            start: of the presentations, seconds, shape (n_presentations,).
            times: of the frames, ascending, seconds, shape (n_frames,).
        """
        first = np.searchsorted(times, start + TIME_BASE[0])
        last = np.searchsorted(times, start + TIME_BASE[-1], side="right") - 1
        known = (start + TIME_BASE[0] >= times[0]) & (start + TIME_BASE[-1] < times[-1])
        known &= last > first
        first, last = np.where(known, first, 0), np.where(known, last, min(1, len(times) - 1))
        frames = np.empty((len(TIME_BASE), len(start)), dtype=np.int64)
        part = np.empty(frames.shape)
        at = first.copy()
        for moment, before, beyond in zip(TIME_BASE, frames, part, strict=True):
            wanted = np.clip(start + moment, times[first], times[last])
            # Times ascend, so that the frames are one or two further each time.
            while (behind := (at < last - 1) & (times[at + 1] <= wanted)).any():
                at += behind
            width = times[np.minimum(at + 1, last)] - times[at]
            before[:], beyond[:] = at, (wanted - times[at]) / np.where(width > 0, width, 1.0)
        return cls(frames.T, part.T, known)


class MeanTraces:
    """The sums of the traces around the presentations of some groups, on `TIME_BASE`.

    Args:
        positions: of all presentations.
        groups: the presentations of each group, all of them known.
        frames: number of frames of the traces.
    """

    def __init__(self, positions: Positions, groups: Sequence[NDArray], frames: int) -> None:
        self._groups = len(groups)
        # Kept, as fresh memory costs the kernel as much as filling it.
        self._buffer = np.empty(frames * CELLS_PER_ROW_GROUP)
        self._parts: list[tuple[int, NDArray, NDArray, NDArray]] = []
        for number, group in enumerate(groups):
            for begin in range(0, len(group), _TOGETHER):
                chosen = group[begin : begin + _TOGETHER]
                after = np.ascontiguousarray(positions.part[chosen].T[:, None])
                self._parts.append((number, positions.frames[chosen], 1 - after, after))

    def of(self, traces: NDArray) -> NDArray:
        """The sums, shape (n_groups, n_times, n_cells).

        Args:
            traces: shape (n_cells, n_frames), at most 16 cells.
        """
        by_time = self._buffer[: traces.size].reshape(-1, len(traces))
        for begin in range(0, len(by_time), _TRANSPOSED):
            by_time[begin : begin + _TRANSPOSED] = traces[:, begin : begin + _TRANSPOSED].T
        sums = np.zeros((self._groups, len(TIME_BASE), len(traces)))
        for number, frames, before, after in self._parts:
            # Frames of a presentation follow each other, which makes picking them twice as fast
            # as by time; the products want the times first.
            for weights, picked in ((before, frames), (after, frames + 1)):
                sums[number] += (weights @ by_time.take(picked, axis=0).swapaxes(0, 1))[:, 0]
        return sums
