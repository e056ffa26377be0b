"""Means of traces around presentations: in windows for each, and over several of them at 30 Hz.

Traces are interpolated linearly between frames, so that every mean is a sum over frames with
weights that all cells share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipelines.nwb.by_cell import FRAMES
from schemas.casts import NDArray
from schemas.layout import CELLS_PER_ROW_GROUP
from schemas.tables.responses import TIME_BASE_LENGTH

_AROUND_S = 3.0
_WINDOW_S = 0.5
_TOGETHER = 64
"""Presentations whose traces are averaged at a time, so that they stay in the cache."""

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

    They are products of matrices: a stretch of frames, and the weights of all windows that begin in
    its first part. One call computes all stretches.

    Args:
        windows: their weights.
        frames: number of frames of the traces.
    """

    def __init__(self, windows: Sequence[Weights], frames: int) -> None:
        self._known = ~np.isnan([weights[0] for _, weights in windows])
        longest = max(len(rows) for rows, _ in windows)
        # The last stretch ends with the recording, and all are as long as it is.
        self._hop = min(range(2 * longest, 4 * longest), key=lambda hop: (frames - longest) % hop)
        last = max(frames - longest - self._hop, 0) // self._hop
        self._width = frames - last * self._hop
        begin = np.concatenate([rows[0] for rows, _ in windows])[self._known.ravel()]
        stretch = np.minimum(begin // self._hop, last)
        order = np.argsort(stretch, kind="stable")
        slot = np.empty_like(order)
        slot[order] = np.arange(len(order)) - np.searchsorted(stretch[order], stretch[order])
        slots = int(np.max(slot, initial=0)) + 1
        self._place = stretch * slots + slot
        # Products are a fifth faster with the frames first.
        self._weights = np.zeros((last + 1, self._width, slots))
        done = 0
        for (rows, weights), known in zip(windows, self._known, strict=True):
            own = slice(done, done := done + np.count_nonzero(known))
            for row, weight in zip(rows[:, known], weights[:, known], strict=True):
                at = row - stretch[own] * self._hop
                self._weights[stretch[own], at, slot[own]] += weight

    def of(self, traces: NDArray) -> NDArray:
        """The means, shape (n_windows, n_cells, n_presentations).

        Args:
            traces: float64, shape (n_cells, n_frames).
        """
        products = self._products(traces)
        if not np.isfinite(products).all():
            # A sample that is no number counts in its own windows only.
            wrong = ~np.isfinite(traces)
            products = self._products(np.where(wrong, 0.0, traces))
            products[self._products(wrong.astype(np.float64)) != 0] = np.nan
        means = np.full((len(traces), *self._known.shape), np.nan)
        means[:, self._known] = products.T
        return means.swapaxes(0, 1)

    def _products(self, traces: NDArray) -> NDArray:
        """The means of the known windows, shape (n_known, n_cells)."""
        stretches = sliding_window_view(traces, self._width, axis=1)[:, :: self._hop]
        products = self._weights.swapaxes(1, 2) @ np.moveaxis(stretches, 0, 2)
        return products.reshape(-1, len(traces)).take(self._place, axis=0)


def response_windows(start: NDArray, times: NDArray, cells: int) -> WindowMeans | None:
    """The windows of response and baseline; None where nothing was shown or recorded.

    Args:
        start: of the presentations, seconds.
        times: of the frames, ascending, seconds.
        cells: number of cells of the plane.
    """
    if not len(start) or not cells or not times[-1] > times[0]:
        return None
    grid = sampling_grid(times, cells)
    after = grid[(grid >= 0.0) & (grid <= _WINDOW_S)]
    before = grid[(grid >= -_WINDOW_S) & (grid <= 0.0)]
    if not len(after) or not len(before):
        return None
    weights = [window_weights(start, times, part) for part in (after, before)]
    return WindowMeans(weights, len(times))


def _frames_around(start: NDArray, times: NDArray) -> tuple[NDArray, NDArray]:
    """The first and the last frame within `TIME_BASE` around each presentation."""
    first = np.searchsorted(times, start + TIME_BASE[0])
    return first, np.searchsorted(times, start + TIME_BASE[-1], side="right") - 1


def recorded_around(start: NDArray, times: NDArray) -> NDArray:
    """Which presentations have two frames or more around them, and the recording on both sides.

    Args:
        start: of the presentations, seconds, shape (n_presentations,).
        times: of the frames, ascending, seconds, shape (n_frames,).

    >>> recorded_around(np.array([0.5, 1.5, 7.5]), np.arange(9.0)).tolist()
    [False, True, False]
    """
    first, last = _frames_around(start, times)
    whole = (start + TIME_BASE[0] >= times[0]) & (start + TIME_BASE[-1] < times[-1])
    return whole & (last > first)


class MeanTraces:
    """The sums of the traces around the presentations of some groups, on `TIME_BASE`.

    Before the first and after the last frame around a presentation, its trace stays as it is there,
    as in the package.

    Args:
        start: of the presentations, group by group, all of them `recorded_around`, seconds.
        times: of the frames, ascending, seconds.
        sizes: number of presentations of each group.
    """

    def __init__(self, start: NDArray, times: NDArray, sizes: NDArray) -> None:
        self._groups = len(sizes)
        # Kept, as fresh memory costs the kernel as much as filling it.
        self._buffer = np.empty(len(times) * CELLS_PER_ROW_GROUP)
        self._parts: list[tuple[int, NDArray, NDArray]] = []
        numbers, ends = np.arange(len(times), dtype=np.float64), np.cumsum(sizes)
        for number, (begin, end) in enumerate(zip(ends - sizes, ends, strict=True)):
            for at in range(begin, end, _TOGETHER):
                around = start[at : min(at + _TOGETHER, end), None]
                first, last = _frames_around(around, times)
                wanted = np.clip(around + TIME_BASE, times[first], times[last])
                position = np.interp(wanted, times, numbers)
                frames = np.minimum(position.astype(np.int64), last - 1)
                after = position - frames
                weights = np.concatenate((1 - after, after)).T[:, None]
                picked = np.concatenate((frames, frames + 1))
                self._parts.append((number, picked, np.ascontiguousarray(weights)))

    def of(self, traces: NDArray) -> NDArray:
        """The sums, shape (n_groups, n_times, n_cells).

        Args:
            traces: shape (n_cells, n_frames), at most 16 cells.
        """
        by_time = self._buffer[: traces.size].reshape(-1, len(traces))
        for begin in range(0, len(by_time), FRAMES):
            by_time[begin : begin + FRAMES] = traces[:, begin : begin + FRAMES].T
        sums = np.zeros((self._groups, len(TIME_BASE), len(traces)))
        for number, picked, weights in self._parts:
            # Frames of a presentation follow each other, which makes picking them twice as fast
            # as by time; the products want the times first.
            sums[number] += (weights @ by_time.take(picked, axis=0).swapaxes(0, 1))[:, 0]
        return sums
