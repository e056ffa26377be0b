"""Traces and events: stored as (time, ROI) arrays, returned as one list per cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.nwb.by_cell import by_cell
from pipelines.nwb.cells import CELL_TABLE, read_cells
from pipelines.nwb.metadata import FRAME_RATE, frame_rate
from pipelines.nwb.recording import OPHYS, Recording, Rows
from schemas.casts import NDArray, Ragged, Values
from schemas.layout import CELLS_PER_ROW_GROUP

OPHYS_CLOCK = f"{OPHYS}/dff/traces/timestamps"

_FILTER_FRAMES = 20
_EVENTS = f"{OPHYS}/event_detection"


def read_ophys_timestamps(recording: Recording) -> NDArray:
    """Imaging clock, seconds, shape (n_frames,)."""
    return recording.hdf.read_numbers(OPHYS_CLOCK)


def frame_count(recording: Recording) -> int:
    """Number of frames of the plane, which is that of dF/F. The clock may continue after them.

    Raises:
        DataError: there are no frames, or more frames than times.
    """
    path = f"{OPHYS}/dff/traces/data"
    frames, times = (
        recording.hdf.numeric_dataset(path, ndim=2).shape[0],
        len(recording.once(read_ophys_timestamps)),
    )
    if not 0 < frames <= times:
        raise recording.hdf.error(
            path,
            "traces and clock do not match",
            expected=f"at most {times} frames, and some",
            found=f"{frames} frames",
        )
    return int(frames)


def ophys_timestamps(recording: Recording) -> Iterator[Rows]:
    """The imaging clock as one list. It may continue after the last frame, but not end before
    it.
    """
    recording.once(frame_count)
    yield Rows({"timestamps": Ragged.one(recording.once(read_ophys_timestamps))}, 1)


def _checked_traces(recording: Recording, interface: str) -> str:
    """Returns the path of a (time, ROI) dataset whose columns are the rows of the ROI table.

    Raises:
        DataError: its frames are not those of dF/F, or its columns are not those of the ROI table,
            or dF/F has more frames than the clock.
    """
    hdf = recording.hdf
    path = f"{OPHYS}/{interface}/traces/data"
    cells = recording.once(read_cells)
    frames = recording.once(frame_count)
    shape: tuple[int, int] = hdf.numeric_dataset(path, ndim=2).shape
    if shape[1] != len(cells.roi_ids):
        raise hdf.error(
            path,
            "traces and ROIs do not match",
            expected=f"{len(cells.roi_ids)} columns, one per ROI",
            found=f"shape {shape}",
        )
    if shape[0] != frames:
        raise hdf.error(
            path,
            "traces differ in length",
            expected=f"{frames} frames, as dF/F has",
            found=f"shape {shape}",
        )
    rois = f"{OPHYS}/{interface}/traces/rois"
    if hdf.has(rois):
        hdf.check_reference(rois, "table", CELL_TABLE)
    if hdf.has(rois) and not np.array_equal(hdf.read_numbers(rois), np.arange(shape[1])):
        raise hdf.error(
            rois,
            "traces are not in the order of the ROI table",
            expected=f"0 to {shape[1] - 1}",
            found="another order",
        )
    return path


def _batches(
    recording: Recording, path: str, columns: NDArray, cells: NDArray
) -> Iterator[tuple[dict[str, Values], NDArray, slice]]:
    """Yields key columns, traces and positions of `CELLS_PER_ROW_GROUP` cells at a time.

    Args:
        recording: the file.
        path: of a (time, ROI) dataset.
        columns: its column for each cell.
        cells: position of each cell in `Cells.valid`.
    """
    table = recording.once(read_cells)
    with by_cell(recording, path, columns) as traces:
        for start in range(0, len(columns), CELLS_PER_ROW_GROUP):
            part = slice(start, min(start + CELLS_PER_ROW_GROUP, len(columns)))
            keys: dict[str, Values] = {
                "cell_roi_id": table.roi_ids[table.valid[cells[part]]],
                "cell_specimen_id": table.specimen_ids[cells[part]],
            }
            yield keys, traces(part), part


def _traces(
    recording: Recording, interface: str, column: str, extra: dict[str, NDArray]
) -> Iterator[Rows]:
    path = _checked_traces(recording, interface)
    cells = recording.once(read_cells)
    positions = np.arange(len(cells.valid))
    for keys, traces, part in _batches(recording, path, cells.valid, positions):
        recording.tell(column, positions, part, traces)
        columns: dict[str, Values] = {
            **keys,
            column: Ragged.matrix(traces),
            **{name: values[part] for name, values in extra.items()},
        }
        yield Rows(columns, len(traces))


def dff_traces(recording: Recording) -> Iterator[Rows]:
    """dF/F of each valid ROI."""
    return _traces(recording, "dff", "dff", {})


def corrected_fluorescence_traces(recording: Recording) -> Iterator[Rows]:
    """Corrected fluorescence of each valid ROI, with r and RMSE if the release has both."""
    cells = recording.once(read_cells)
    at = f"{OPHYS}/corrected_fluorescence"
    extra: dict[str, NDArray] = {}
    if recording.hdf.has(f"{at}/r") and recording.hdf.has(f"{at}/RMSE"):
        extra = {
            name: recording.hdf.read_numbers(f"{at}/{name}/data", rows=len(cells.roi_ids))[
                cells.valid
            ]
            for name in ("r", "RMSE")
        }
    return _traces(recording, "corrected_fluorescence", "corrected_fluorescence", extra)


def demixed_traces(recording: Recording) -> Iterator[Rows]:
    """Demixed fluorescence of each valid ROI; none before release 1.1.0."""
    return _traces_since_1_1(recording, "demixed_trace")


def neuropil_traces(recording: Recording) -> Iterator[Rows]:
    """Neuropil fluorescence around each valid ROI; none before release 1.1.0."""
    return _traces_since_1_1(recording, "neuropil_trace")


def _traces_since_1_1(recording: Recording, name: str) -> Iterator[Rows]:
    if not recording.hdf.has(f"{OPHYS}/{name}"):
        return iter(())
    return _traces(recording, name, name, {})


def filter_weights(rate: float) -> NDArray:
    """Half-normal weights over 20 frames, which sum to 1. The scale is 2/31 s at any frame rate.

    Args:
        rate: frame rate, Hz.

    >>> weights = filter_weights(31.0)
    >>> len(weights), round(float(weights.sum()), 12), round(float(weights[0]), 4)
    (20, 1.0, 0.3326)
    """
    scale = (2.0 / 31.0) * rate
    k = np.arange(_FILTER_FRAMES) / scale
    weights = np.sqrt(2 / np.pi) * np.exp(-k * k / 2) / scale
    return weights / np.sum(weights)


def _event_rois(recording: Recording) -> NDArray:
    """The row of the ROI table of each column of the events."""
    hdf = recording.hdf
    count = len(recording.once(read_cells).roi_ids)
    rois = hdf.read_numbers(f"{_EVENTS}/rois")
    hdf.check_reference(f"{_EVENTS}/rois", "table", CELL_TABLE)
    if rois.dtype.kind not in "iu" or (len(rois) and (rois.min() < 0 or rois.max() >= count)):
        found = f"{rois.dtype} from {rois.min()} to {rois.max()}" if len(rois) else str(rois.dtype)
        raise hdf.error(
            f"{_EVENTS}/rois",
            "events refer to ROIs that do not exist",
            expected=f"integers from 0 to {count - 1}",
            found=found,
        )
    if len(np.unique(rois)) != len(rois):
        raise hdf.error(
            f"{_EVENTS}/rois",
            "an ROI has events twice",
            expected="each ROI once",
            found=f"{len(rois)} columns, {len(np.unique(rois))} ROIs",
        )
    return rois


def _positive_rate(recording: Recording) -> float:
    """The frame rate, without which filtered events would be NaN or of another meaning."""
    rate = frame_rate(recording)
    if not 0 < rate < np.inf:
        raise recording.hdf.error(
            FRAME_RATE,
            "events cannot be filtered",
            expected="a positive number as frame rate, Hz",
            found=str(rate),
        )
    return rate


def events(recording: Recording) -> Iterator[Rows]:
    """Events and filtered events of the valid ROIs that have them.

    Cells without a lambda or noise_std are left out, as in the released reader.
    """
    hdf = recording.hdf
    cells = recording.once(read_cells)
    rois = _event_rois(recording)
    shape = hdf.numeric_dataset(f"{_EVENTS}/data", ndim=2).shape
    frames = recording.once(frame_count)
    if shape != (frames, len(rois)):
        raise hdf.error(
            f"{_EVENTS}/data",
            "events do not match",
            expected=f"{frames} frames of {len(rois)} ROIs",
            found=f"shape {shape}",
        )
    lambdas = hdf.read_numbers(f"{_EVENTS}/lambdas", rows=len(rois))
    noise = hdf.read_numbers(f"{_EVENTS}/noise_stds", rows=len(rois))
    column_of = np.full(len(cells.roi_ids), -1)
    column_of[rois] = np.arange(len(rois))
    columns = column_of[cells.valid]
    present = columns >= 0
    present[present] = ~(np.isnan(lambdas) | np.isnan(noise))[columns[present]]
    columns = columns[present]
    weights = filter_weights(_positive_rate(recording))
    positions = np.flatnonzero(present)
    for keys, traces, part in _batches(recording, f"{_EVENTS}/data", columns, positions):
        traces = traces.astype(np.float64, copy=False)
        filtered = np.empty_like(traces)
        for row, trace in zip(filtered, traces, strict=True):
            row[:] = np.convolve(trace, weights)[: len(trace)]
        recording.tell("events", positions, part, traces)
        recording.tell("filtered_events", positions, part, filtered)
        own = {"lambda": lambdas[columns[part]], "noise_std": noise[columns[part]]}
        yield Rows(
            {
                **keys,
                "events": Ragged.matrix(traces),
                "filtered_events": Ragged.matrix(filtered),
                **own,
            },
            len(traces),
        )
