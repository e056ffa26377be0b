"""Responses of cells to the presentations of the task.

Means are those of `get_stimulus_response_df` of brain_observatory_utilities 0.5.1 with its
defaults: docs/formulas.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.nwb.annotations import task_presentations
from pipelines.nwb.cells import read_cells
from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.recording import Recording, Rows
from pipelines.nwb.traces import OPHYS_CLOCK, dff_traces, events, frame_count, read_ophys_timestamps
from schemas.casts import NDArray, Values
from schemas.errors import DataError
from schemas.layout import CELLS_PER_ROW_GROUP

_AROUND_S = 3.0
_WINDOW_S = 0.5
_BLOCK_S = 6.0
"""Presentations within this time are computed together: eight of the task."""

Reader = Callable[[Recording], Iterator[Rows]]

TRACES: tuple[str, ...] = ("dff", "events", "filtered_events")


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


def _window_means(start: NDArray, times: NDArray, cells: int) -> WindowMeans | None:
    """Of response and baseline; None where nothing was shown or recorded."""
    if not len(start) or not cells or not times[-1] > times[0]:
        return None
    grid = sampling_grid(times, cells)
    after = grid[(grid >= 0.0) & (grid <= _WINDOW_S)]
    before = grid[(grid >= -_WINDOW_S) & (grid <= 0.0)]
    if not len(after) or not len(before):
        return None
    return WindowMeans(start, [window_weights(start, times, part) for part in (after, before)])


class Responses:
    """Collects the responses of all cells of a plane while its traces are read.

    Args:
        recording: the file.

    Attributes:
        presentations: `stimulus_presentations_id` of those of the task, shape (n_presentations,).
        means: responses and baselines by trace, each float32 of shape (n_cells, n_presentations);
            NaN where there is none.

    Raises:
        DataError: presentations, cells or clock cannot be read.
    """

    def __init__(self, recording: Recording) -> None:
        self.presentations, shown = recording.once(task_presentations)
        start = shown["start_time"]
        assert start is not None
        frames = recording.once(frame_count)
        times = recording.once(read_ophys_timestamps)[:frames]
        if goes_back(times).any():
            path, expected = OPHYS_CLOCK, "times that do not decrease"
            raise recording.hdf.error(path, MESSAGE, expected=expected, found="others")
        self.cells = recording.once(read_cells)
        shape = (len(self.cells.valid), len(start))
        self.means = {name: np.full((2, *shape), np.nan, np.float32) for name in TRACES}
        self._missing = dict.fromkeys(TRACES, -1)
        self._window_means = _window_means(start, times, shape[0])

    def take(self, name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        """Takes the traces of some cells: a `TraceListener`."""
        if name not in self.means:
            return
        if part.start == 0:
            self._missing[name] = len(cells)
        self._missing[name] -= len(traces)
        if self._window_means is not None:
            traces = traces.astype(np.float64, copy=False)
            self.means[name][:, cells[part]] = self._window_means.of(traces)

    def read(self, recording: Recording, names: tuple[str, ...], table: Reader) -> None:
        """Takes the traces of a table from the file, unless it has taken all of them.

        Raises:
            DataError: they cannot be read. None of them count then.
        """
        if all(self._missing[name] == 0 for name in names):
            return
        recording.listener = self.take
        try:
            for _ in table(recording):
                pass
        except DataError:
            for name in names:
                self.means[name][:] = np.nan
            raise
        finally:
            recording.listener = None


def listen(recording: Recording) -> None:
    """Computes the responses while the tables of traces are read, so that they are read once.

    What goes wrong here must not cost these tables: `read_responses` meets it again.
    """

    def take(name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        try:
            recording.once(Responses).take(name, cells, part, traces)
        except Exception:  # noqa: BLE001 - see above
            recording.listener = None

    recording.listener = take


def read_responses(recording: Recording) -> Responses:
    """The responses, from traces that were listened to or are read now.

    Raises:
        DataError: presentations, cells, clock or dF/F cannot be read.
    """
    responses = recording.once(Responses)
    responses.read(recording, ("dff",), dff_traces)
    try:
        responses.read(recording, ("events", "filtered_events"), events)
    except DataError as error:
        recording.warn(f"responses in events and filtered_events are NULL: {error}")
    return responses


def stimulus_responses(recording: Recording) -> Iterator[Rows]:
    """Responses of each valid ROI to each presentation of the task, by cell."""
    responses = recording.once(read_responses)
    ids, cells = responses.presentations, responses.cells
    roi_ids = cells.roi_ids[cells.valid]
    for begin in range(0, len(roi_ids) if len(ids) else 0, CELLS_PER_ROW_GROUP):
        part = slice(begin, begin + CELLS_PER_ROW_GROUP)
        columns: dict[str, Values] = {
            "cell_roi_id": np.repeat(roi_ids[part], len(ids)),
            "cell_specimen_id": np.repeat(cells.specimen_ids[part], len(ids)),
            "stimulus_presentations_id": np.tile(ids, len(roi_ids[part])),
        }
        for name, means in responses.means.items():
            columns[f"{name}_response"] = means[0, part].reshape(-1)
            columns[f"{name}_baseline"] = means[1, part].reshape(-1)
        yield Rows(columns, len(roi_ids[part]) * len(ids))
