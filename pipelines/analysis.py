"""For people who analyse the lake in Python: traces of an experiment as arrays, and event-triggered averages.

Slicing a list per event in SQL runs out of memory (4,800 events of 100 cells are 60 million samples); here it takes half a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.store import Store, open_store
from schemas import TABLES, Storage, Subject, Table, Type
from schemas.arrow import to_numpy
from schemas.errors import LakeError, UsageError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """The traces of an experiment's cells.

    Attributes:
        cell_roi_id: shape (n_cells,), ascending.
        timestamps: imaging clock in seconds, shape (n_frames,).
        values: shape (n_cells, n_frames), in the unit of the table's column.
    """

    cell_roi_id: Array
    timestamps: Array
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class TriggeredAverage:
    """Mean trace around events.

    Attributes:
        cell_roi_id: shape (n_cells,).
        seconds: time after the event, shape (n_samples,), at the imaging rate; sample 0 s is the first frame at or after the event.
        mean: shape (n_cells, n_samples), in the unit of the traces.
        n_events: events that were averaged: those whose window lies within the recording.
    """

    cell_roi_id: Array
    seconds: Array
    mean: Array
    n_events: int


def read_traces(
    lake: str, ophys_experiment_id: int, table: str = "dff_traces", column: str | None = None
) -> Traces:
    """Traces of one experiment.

    Args:
        lake: folder or `s3://` prefix.
        ophys_experiment_id: the experiment.
        table: a table with a list per cell, e.g. `dff_traces`, `events`.
        column: which list, needed for none but `events` to get `filtered_events`; the first otherwise.

    Raises:
        UsageError: there is no such table of traces, or it has no such column.
        LakeError: the lake does not hold the experiment's traces and clock.
    """
    declared = _trace_table(table)
    lists = [c.name for c in declared.columns if c.type is Type.LIST_FLOAT64]
    name = lists[0] if column is None else column
    if name not in lists:
        raise UsageError(f"{table} has no column {name!r} of traces. Choose {' or '.join(lists)}.")
    store = open_store(lake)
    clock = _open(store, TABLES["ophys_timestamps"], ophys_experiment_id).read(["timestamps"])
    timestamps = _items(clock.column("timestamps"))
    file = _open(store, declared, ophys_experiment_id)
    ids = to_numpy(file.read(["cell_roi_id"]).column("cell_roi_id"))
    values: Array | None = None
    done = 0
    # A row group at a time, into its place: the whole column and its copy would be twice the memory.
    for group in range(file.num_row_groups):
        part = file.read_row_group(group, [name]).column(name)
        cells = _items(part).reshape(len(part), -1)
        if values is None:
            values = np.empty((len(ids), cells.shape[1]))
        values[done : done + len(cells)] = cells
        done += len(cells)
    if values is None:
        values = np.empty((0, len(timestamps)))
    # The clock may go on after the last frame.
    return Traces(ids, timestamps[: values.shape[1]], values)


def event_triggered_average(
    traces: Traces, times: Array, before_s: float, after_s: float
) -> TriggeredAverage:
    """Mean trace of each cell around events.

    The sample at 0 s is the first frame at or after the event, so a window starts up to one frame late. Events whose window is not
    wholly within the recording are left out. A NaN in a window makes that sample's mean NaN.

    Args:
        traces: from `read_traces`.
        times: of the events, seconds on the lake's clock (e.g. start_time of presentations), shape (n_events,).
        before_s: start of the window, seconds before the event, not negative.
        after_s: end of the window, seconds after the event, not negative.

    Raises:
        UsageError: the window is negative, or no event has its whole window in the recording.
    """
    if not (before_s >= 0 and after_s >= 0):
        raise UsageError(
            f"The window is {before_s} s before to {after_s} s after each event; both must be at least 0."
        )
    clock, values = traces.timestamps, traces.values
    period = float(np.median(np.diff(clock))) if len(clock) > 1 else np.inf
    # A window of 0.1 s at 30 Hz is 3 samples, although 0.1 / (1 / 30) may come out below 3.
    lags = np.arange(-int(before_s / period + 1e-6), int(after_s / period + 1e-6) + 1)
    frames = np.searchsorted(clock, np.asarray(times, dtype=np.float64), side="left")
    frames = frames[(frames + lags[0] >= 0) & (frames + lags[-1] < len(clock))]
    if not len(frames):
        raise UsageError(
            f"None of {len(times)} events has its window of {before_s} s before to {after_s} s after it within the recording. "
            "Check that the times are seconds on the lake's clock."
        )
    at = frames + lags[:, np.newaxis]
    mean = np.empty((len(values), len(lags)))
    # Cell by cell: its trace stays in the cache, and one cell's samples are 5 MB where all cells' are 450.
    for row, trace in zip(mean, values, strict=True):
        np.mean(trace[at], axis=1, out=row)
    return TriggeredAverage(traces.cell_roi_id, lags * period, mean, len(frames))


def _trace_table(name: str) -> Table:
    tables = {
        n: t
        for n, t in TABLES.items()
        if t.subject is Subject.OPHYS
        and t.storage is Storage.EXPERIMENT
        and "cell_roi_id" in t.primary_key
    }
    if name not in tables:
        raise UsageError(f"{name!r} is no table of traces. Choose one of {', '.join(tables)}.")
    return tables[name]


def _open(store: Store, table: Table, experiment: int) -> pq.ParquetFile:
    """The experiment's file; its mouse need not be known."""
    ending = f"/ophys_experiment_{experiment}.parquet"
    for path in store.files(table.name):
        if path.endswith(ending) and (file := store.parquet(path)) is not None:
            return file
    raise LakeError(
        f"{store.root} has no {table.name} of experiment {experiment}. Ingest it, or check the id."
    )


def _items(column: pa.ChunkedArray[Any]) -> Array:
    """The items of all lists of a column, one after the other."""
    return to_numpy(
        pa.chunked_array([chunk.flatten() for chunk in column.chunks], type=pa.float64())
    )
