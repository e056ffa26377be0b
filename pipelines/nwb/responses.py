"""Responses of cells to the presentations of the task, one by one and by condition.

Means are those of `get_stimulus_response_df` of brain_observatory_utilities 0.5.1, with its
defaults: docs/formulas.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipelines.nwb.annotations import read_engaged, read_outcomes, task_presentations
from pipelines.nwb.cells import read_cells
from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.conditions import ConditionMeans
from pipelines.nwb.recording import Recording, Rows
from pipelines.nwb.traces import OPHYS_CLOCK, dff_traces, events, frame_count, read_ophys_timestamps
from pipelines.nwb.windows import WindowMeans, sampling_grid, window_weights
from schemas.casts import NDArray, Ragged, Values
from schemas.errors import DataError
from schemas.layout import CELLS_PER_ROW_GROUP

_WINDOW_S = 0.5

Reader = Callable[[Recording], Iterator[Rows]]

TRACES: tuple[str, ...] = ("dff", "events", "filtered_events")
_TEXTS = ("condition_set", "condition", "image_name", "outcome")
_FLAGS = ("is_change", "omitted", "engaged")


def _window_means(start: NDArray, times: NDArray, cells: int) -> WindowMeans | None:
    """Of response and baseline; None where nothing was shown or recorded."""
    if not len(start) or not cells or not times[-1] > times[0]:
        return None
    grid = sampling_grid(times, cells)
    after = grid[(grid >= 0.0) & (grid <= _WINDOW_S)]
    before = grid[(grid >= -_WINDOW_S) & (grid <= 0.0)]
    if not len(after) or not len(before):
        return None
    weights = [window_weights(start, times, part) for part in (after, before)]
    return WindowMeans(weights, len(times))


class Responses:
    """Collects the responses of all cells of a plane while its traces are read.

    Args:
        recording: the file.

    Attributes:
        presentations: `stimulus_presentations_id` of those of the task, shape (n_presentations,).
        means: responses and baselines by trace, each float32 of shape (n_cells, n_presentations);
            NaN where there is none.
        conditions: their means by condition; the error instead if trials cannot be read.

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
        self.conditions: ConditionMeans | DataError
        try:
            states = recording.once(read_engaged), recording.once(read_outcomes)
            self.conditions = ConditionMeans(shown, *states, times, shape[0])
        except DataError as error:
            self.conditions = error

    def take(self, name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        """Takes the traces of some cells: a `TraceListener`."""
        if name not in self.means:
            return
        if part.start == 0:
            self._missing[name] = len(cells)
        self._missing[name] -= len(traces)
        if self._window_means is not None:
            traces = traces.astype(np.float64, copy=False)
            means = self._window_means.of(traces)
            self.means[name][:, cells[part]] = means
            if isinstance(self.conditions, ConditionMeans):
                self.conditions.take(name, cells[part], traces, means)

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
                if isinstance(self.conditions, ConditionMeans):
                    self.conditions.forget(name)
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


def mean_responses(recording: Recording) -> Iterator[Rows]:
    """Mean response and trace of each valid ROI in each condition, by condition.

    Each batch, and with it each row group, is a set of conditions: a question asks for one of them.

    Raises:
        DataError: presentations, trials, cells, clock or dF/F cannot be read.
    """
    responses = recording.once(read_responses)
    means, cells = responses.conditions, responses.cells
    if isinstance(means, DataError):
        raise means
    roi_ids, specimen_ids = cells.roi_ids[cells.valid], cells.specimen_ids
    sets = {condition.condition_set for condition in means.conditions} if len(roi_ids) else ()
    for name_of_set in sorted(sets):
        chosen = [n for n, c in enumerate(means.conditions) if c.condition_set == name_of_set]
        conditions = [means.conditions[n] for n in chosen]
        texts = {n: [getattr(c, n) for c in conditions] for n in _TEXTS}
        flags = {n: np.array([getattr(c, n) for c in conditions], np.float64) for n in _FLAGS}
        columns: dict[str, Values] = {
            "cell_roi_id": np.tile(roi_ids, len(conditions)),
            "cell_specimen_id": np.tile(specimen_ids, len(conditions)),
            **{name: [v for v in values for _ in roi_ids] for name, values in texts.items()},
            **{name: np.repeat(values, len(roi_ids)) for name, values in flags.items()},
            "n": np.repeat(means.counts[chosen], len(roi_ids)),
        }
        for name, scalars in means.scalars.items():
            for statistic, values in zip(("mean", "sem", "baseline"), scalars, strict=True):
                columns[f"{name}_{statistic}"] = values[:, chosen].T.reshape(-1)
            traces = means.traces[name][:, chosen].swapaxes(0, 1)
            columns[f"{name}_trace"] = _lists(traces.reshape(-1, traces.shape[2]))
        yield Rows(columns, len(conditions) * len(roi_ids))


def _lists(traces: NDArray) -> Values:
    """One list a row; None for cells that have no trace."""
    if not np.isnan(traces[:, 0]).any():
        return Ragged.matrix(traces)
    return [None if np.isnan(trace).all() else trace for trace in traces]
