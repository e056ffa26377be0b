"""Traces of an experiment as arrays, and averages of them around events.

Slicing a list per event in SQL runs out of memory: 4,800 events of 100 cells are 60 million
samples. In NumPy it takes half a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vblake.files import Files, find_files, nearest
from vblake.lists import Array, items, open_parquet, read_matrix

TRACES = {
    "dff": ("dff_traces", "dff"),
    "corrected_fluorescence": ("corrected_fluorescence_traces", "corrected_fluorescence"),
    "events": ("events", "events"),
    "filtered_events": ("events", "filtered_events"),
    "demixed": ("demixed_traces", "demixed_trace"),
    "neuropil": ("neuropil_traces", "neuropil_trace"),
}
"""Kinds of traces, with the table and the column that hold them."""

SIGNALS = {
    "running_speed": ("running_speed", "speed"),
    "pupil_area": ("eye_tracking", "pupil_area"),
    "pupil_width": ("eye_tracking", "pupil_width"),
}
"""Signals of a session, with the table and the column that hold them."""


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """The traces of an experiment's cells.

    Attributes:
        cell_roi_id: shape (n_cells,), ascending.
        timestamps: imaging clock in seconds, shape (n_frames,).
        values: shape (n_cells, n_frames), in the unit of the table's column.
        cell_specimen_id: shape (n_cells,), int64, or float64 with NaN where cells are unmatched;
            None if nobody has looked them up.
        units: unit of the values, None if it is not known.
    """

    cell_roi_id: Array
    timestamps: Array
    values: Array
    cell_specimen_id: Array | None = None
    units: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TriggeredAverage:
    """Mean trace around events.

    Attributes:
        cell_roi_id: shape (n_cells,).
        seconds: time after the event, shape (n_samples,), at the imaging rate. The sample at 0 s is
            the first frame at or after the event.
        mean: shape (n_cells, n_samples), in the unit of the traces.
        n_events: number of events averaged: those whose whole window is in the recording.
    """

    cell_roi_id: Array
    seconds: Array
    mean: Array
    n_events: int


def read_traces(
    lake: str | Path,
    ophys_experiment_id: int,
    table: str = "dff_traces",
    column: str | None = None,
) -> Traces:
    """Reads the traces of one experiment.

    Args:
        lake: folder or `s3://` prefix.
        ophys_experiment_id: the experiment.
        table: a table with a list per cell, e.g. `dff_traces` or `events`.
        column: which list of the table; by default the first. `events` also has `filtered_events`.

    Raises:
        LookupError: the lake has no such table or experiment, or the table has no such column.

    Example:
        >>> traces = read_traces(folder, 51)
        >>> traces.cell_roi_id.tolist(), traces.timestamps.tolist(), traces.values.shape
        ([901, 902], [10.0, 10.1, 10.2], (2, 3))
    """
    return read_experiment_traces(find_files(lake), ophys_experiment_id, table, column)


def read_experiment_traces(
    files: Files,
    experiment: int,
    table: str,
    column: str | None = None,
    mouse_id: int | None = None,
) -> Traces:
    """Reads traces as `read_traces` does; with a mouse, its folder alone is listed.

    Raises:
        LookupError: as `read_traces` does.
    """
    path = experiment_file(files, table, experiment, mouse_id)
    file = open_parquet(files, path)
    lists = [field.name for field in file.schema_arrow if pa.types.is_list(field.type)]
    if not lists or "cell_roi_id" not in file.schema_arrow.names:
        raise LookupError(
            f"{table} is not a table of traces (a list per cell). "
            "Use dff_traces, events or corrected_fluorescence_traces."
        )
    name = lists[0] if column is None else column
    if name not in lists:
        raise LookupError(f"{table} has no column {name!r} of traces. Use {' or '.join(lists)}.")
    clock = open_parquet(files, experiment_file(files, "ophys_timestamps", experiment, mouse_id))
    timestamps = items(clock.read(["timestamps"]).column("timestamps"))
    ids = file.read(["cell_roi_id", "cell_specimen_id"])
    values = read_matrix(files, path, name)
    units = (file.schema_arrow.field(name).metadata or {}).get(b"unit")
    return Traces(
        ids.column("cell_roi_id").to_numpy(),
        # The clock may go on after the last frame.
        timestamps[: values.shape[1]] if len(ids) else timestamps,
        values,
        ids.column("cell_specimen_id").to_numpy(),
        units.decode() if units else None,
    )


def event_triggered_average(
    traces: Traces, times: Array, before_s: float, after_s: float
) -> TriggeredAverage:
    """Averages each cell's trace around events.

    The sample at 0 s is the first frame at or after the event, so a window starts up to one frame
    late. Events whose window is not wholly within the recording are left out. A NaN in a window
    makes the mean of that sample NaN.

    Args:
        traces: from `read_traces`.
        times: times of the events in seconds on the lake's clock (e.g. `start_time` of
            presentations), shape (n_events,).
        before_s: start of the window in seconds before the event, at least 0.
        after_s: end of the window in seconds after the event, at least 0.

    Raises:
        ValueError: the window is negative, or no event has its whole window in the recording.

    Example:
        >>> clock = np.arange(100) / 10
        >>> traces = Traces(np.array([7]), clock, clock[np.newaxis] ** 2)
        >>> average = event_triggered_average(traces, np.array([2.0, 4.0]), 0.1, 0.1)
        >>> average.n_events, average.seconds.round(1).tolist(), average.mean.round(2).tolist()
        (2, [-0.1, 0.0, 0.1], [[9.41, 10.0, 10.61]])
    """
    frames, lags, seconds = window_of_events(traces, np.asarray(times), before_s, after_s)
    frames = frames[(frames + lags[0] >= 0) & (frames + lags[-1] < len(traces.timestamps))]
    if not len(frames):
        raise ValueError(
            f"None of {len(times)} events has its window of {before_s} s before to {after_s} s "
            "after it within the recording. Check that the times are seconds on the lake's clock."
        )
    mean = mean_of_windows(traces, frames, lags)
    return TriggeredAverage(traces.cell_roi_id, seconds, mean, len(frames))


def window_of_events(
    traces: Traces, times: Array, before_s: float, after_s: float
) -> tuple[Array, Array, Array]:
    """The frames of events and of the windows around them.

    Returns:
        The first frame at or after each event, shape (n_events,); the frames of the window, counted
        from there, shape (n_samples,), and the same in seconds.

    Raises:
        ValueError: the window is negative.
    """
    period = median_period(traces.timestamps)
    lags = window(period, before_s, after_s)
    frames = np.searchsorted(traces.timestamps, np.asarray(times, dtype=np.float64), side="left")
    return frames, lags, lags * period


def median_period(clock: Array) -> float:
    """The median time between samples in seconds; infinite for fewer than two samples."""
    return float(np.median(np.diff(clock))) if len(clock) > 1 else np.inf


def window(period: float, before_s: float, after_s: float) -> Array:
    """The samples of a window, counted from the event, shape (n_samples,).

    Raises:
        ValueError: the window is negative.
    """
    if not (before_s >= 0 and after_s >= 0):
        raise ValueError(
            f"The window is {before_s} s before to {after_s} s after each event. "
            "Both must be at least 0."
        )
    # A window of 0.1 s at 30 Hz is 3 samples, although 0.1 / (1 / 30) may come out below 3.
    return np.arange(-int(before_s / period + 1e-6), int(after_s / period + 1e-6) + 1)


def mean_of_windows(traces: Traces, frames: Array, lags: Array) -> Array:
    """Means over events, shape (n_cells, n_samples), with the memory of one cell's windows.

    Cell by cell, its trace stays in the processor's cache, and the samples of one cell are 5 MB
    where those of all cells are 450 MB.
    """
    at = frames + lags[:, np.newaxis]
    mean = np.empty((len(traces.values), len(lags)))
    for row, trace in zip(mean, traces.values, strict=True):
        np.mean(trace[at], axis=1, out=row)
    return mean


def experiment_file(files: Files, table: str, experiment: int, mouse_id: int | None = None) -> str:
    """The path of an experiment's file of a table. Its mouse need not be known.

    Raises:
        LookupError: the lake has no such table or experiment.
    """
    start = "ophys_experiment_id="
    if mouse_id is not None:
        folder = files.paths(f"{table}/mouse_id={mouse_id}")
        for path in folder:
            if f"/{start}{experiment}/" in path:
                return path
    paths = files.paths(table)
    if not paths and table in {name for name, _ in TRACES.values()}:
        raise LookupError(
            f"{files.root} has no {table}. Ingest them with "
            f"`vblake ingest --experiment {experiment} --tables {table}`."
        )
    if not paths:
        tables = files.folders()
        raise LookupError(f"{files.root} has no table {table!r}. {nearest(table, tables)}")
    known = {path.split("/")[-2]: path for path in paths}
    path = known.get(f"{start}{experiment}")
    if path is None:
        ids = [name.removeprefix(start) for name in known if name.startswith(start)]
        if not ids:
            raise LookupError(
                f"{table} has no folder per experiment. Use dff_traces or events; a lake of an "
                "earlier schema version has other folders: upgrade it with `vblake ingest`."
            )
        raise LookupError(
            f"{files.root} has no {table} of experiment {experiment}. "
            f"{nearest(str(experiment), ids)} Otherwise ingest it with "
            f"`vblake ingest --experiment {experiment}`."
        )
    return path
