"""Responses of cells to the presentations of the task, one by one and by condition.

Means are those of `get_stimulus_response_df` of brain_observatory_utilities 0.5.1, with its
defaults: docs/formulas.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.nwb.annotations import read_engaged, read_outcomes, task_presentations
from pipelines.nwb.cells import Cells, read_cells
from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.conditions import TRACES, ConditionMeans
from pipelines.nwb.recording import Recording, Rows, TraceListener
from pipelines.nwb.traces import OPHYS_CLOCK, dff_traces, events, frame_count, read_ophys_timestamps
from pipelines.nwb.windows import response_windows
from schemas.casts import NDArray, Ragged, Values
from schemas.errors import DataError
from schemas.layout import CELLS_PER_ROW_GROUP

Reader = Callable[[Recording], Iterator[Rows]]

_TEXTS = ("condition_set", "condition", "image_name", "outcome")
_FLAGS = ("is_change", "omitted", "engaged")


@dataclass(frozen=True)
class _Plane:
    """What the responses of a plane need beside its traces.

    Attributes:
        ids: `stimulus_presentations_id` of the presentations of the task.
        shown: columns of these presentations.
        times: of the frames, ascending, seconds.
        cells: the ROI table.
    """

    ids: NDArray
    shown: Mapping[str, NDArray | None]
    times: NDArray
    cells: Cells


def _read_plane(recording: Recording) -> _Plane:
    """Reads presentations, clock and cells.

    Raises:
        DataError: one of them cannot be read, or the clock goes back.
    """
    ids, shown = recording.once(task_presentations)
    times = recording.once(read_ophys_timestamps)[: recording.once(frame_count)]
    if goes_back(times).any():
        path, expected = OPHYS_CLOCK, "times that do not decrease"
        raise recording.hdf.error(path, MESSAGE, expected=expected, found="others")
    return _Plane(ids, shown, times, recording.once(read_cells))


class Collector(ABC):
    """Computes a table from the traces of all cells of a plane while these are read.

    Args:
        table: its name.
        traces: those that it needs.

    Attributes:
        plane: what it needs beside them.
    """

    def __init__(self, recording: Recording, table: str, traces: tuple[str, ...]) -> None:
        self.plane = recording.once(_read_plane)
        self._table = table
        self._missing = dict.fromkeys(traces, -1)

    @abstractmethod
    def take(self, name: str, cells: NDArray, traces: NDArray) -> None:
        """Takes traces, float64 of shape (n_cells, n_frames), and the places of their cells."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Takes back what was taken of a trace."""

    def listen(self, name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        """Takes the traces that the table needs: a `TraceListener`."""
        if name not in self._missing:
            return
        if part.start == 0:
            self._missing[name] = len(cells)
        self._missing[name] -= len(traces)
        self.take(name, cells[part], traces.astype(np.float64, copy=False))

    def complete(self, recording: Recording) -> None:
        """Reads the traces that were not listened to.

        Raises:
            DataError: dF/F cannot be read. What the table has of events is NULL if they cannot.
        """
        self._read(recording, ["dff"], dff_traces)
        of_events = [name for name in self._missing if name != "dff"]
        try:
            self._read(recording, of_events, events)
        except DataError as error:
            listed = " and ".join(of_events)
            recording.warn(f"{self._table}: responses in {listed} are NULL: {error}")

    def _read(self, recording: Recording, names: list[str], table: Reader) -> None:
        """Reads the traces of a table, unless all were taken. None count if they cannot be read."""
        if all(self._missing[name] == 0 for name in names):
            return
        recording.listeners[self._table] = self.listen
        try:
            for _ in table(recording):
                pass
        except DataError:
            for name in names:
                self.forget(name)
            raise
        finally:
            del recording.listeners[self._table]


class StimulusResponses(Collector):
    """Collects the responses to each presentation.

    Attributes:
        means: responses and baselines by trace, each float32 of shape (n_cells, n_presentations);
            NaN where there is none.
    """

    def __init__(self, recording: Recording) -> None:
        traces = ("dff", "events", "filtered_events")
        super().__init__(recording, "stimulus_responses", traces)
        start = self.plane.shown["start_time"]
        assert start is not None
        shape = (len(self.plane.cells.valid), len(start))
        self.means = {name: np.full((2, *shape), np.nan, np.float32) for name in traces}
        self._windows = response_windows(start, self.plane.times, shape[0])

    def take(self, name: str, cells: NDArray, traces: NDArray) -> None:
        """Takes the traces of some cells."""
        if self._windows is not None:
            self.means[name][:, cells] = self._windows.of(traces)

    def forget(self, name: str) -> None:
        """Takes back what was taken of a trace."""
        self.means[name][:] = np.nan


class MeanResponses(Collector):
    """Collects the means over the presentations of each condition.

    Attributes:
        means: these means.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording, "mean_responses", TRACES)
        states = recording.once(read_engaged), recording.once(read_outcomes)
        cells = len(self.plane.cells.valid)
        self.means = ConditionMeans(self.plane.shown, *states, self.plane.times, cells)

    def take(self, name: str, cells: NDArray, traces: NDArray) -> None:
        """Takes the traces of some cells."""
        self.means.take(name, cells, traces)

    def forget(self, name: str) -> None:
        """Takes back what was taken of a trace."""
        self.means.forget(name)


def listen(recording: Recording, tables: Collection[str]) -> None:
    """Computes responses while the tables of traces are read, so that they are read once.

    What goes wrong here must not cost these tables: the reader of the responses meets it again.

    Args:
        recording: the file.
        tables: the tables that will be read.
    """
    collectors = {"stimulus_responses": StimulusResponses, "mean_responses": MeanResponses}
    for table in collectors.keys() & set(tables):
        recording.listeners[table] = _listener(recording, table, collectors[table])


def _listener(
    recording: Recording, table: str, collector: Callable[[Recording], Collector]
) -> TraceListener:
    def take(name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        try:
            recording.once(collector).listen(name, cells, part, traces)
        except Exception:  # noqa: BLE001 - see `listen`
            del recording.listeners[table]

    return take


def stimulus_responses(recording: Recording) -> Iterator[Rows]:
    """Responses of each valid ROI to each presentation of the task, by cell.

    Raises:
        DataError: presentations, cells, clock or dF/F cannot be read.
    """
    responses = recording.once(StimulusResponses)
    responses.complete(recording)
    ids, cells = responses.plane.ids, responses.plane.cells
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
    responses = recording.once(MeanResponses)
    responses.complete(recording)
    means, cells = responses.means, responses.plane.cells
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
