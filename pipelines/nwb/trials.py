"""Trials, with the licks of each trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.recording import Recording, Rows
from schemas import TABLES, Type
from schemas.casts import NDArray, Ragged, Values
from schemas.checks import ascending

TRIALS = "/intervals/trials"

_RENAMED = {"is_change": "stimulus_change"}
_IGNORED = frozenset(("tags", "timeseries", "lick_events"))


@dataclass(frozen=True)
class Trials:
    """Trials of a session in file order.

    Attributes:
        columns: values by column of the lake.
        lick_times: licks of each trial, seconds.
        count: number of trials.
    """

    columns: dict[str, Values]
    lick_times: Ragged
    count: int

    def numbers(self, name: str) -> NDArray:
        """A numeric column, shape (n_trials,); `read_trials` made sure that it exists."""
        values = self.columns[name]
        assert isinstance(values, np.ndarray)
        return values


def ragged(hdf: HdfFile, path: str, rows: int) -> Ragged:
    """Reads a ragged column: `path` holds the items, `path_index` the exclusive ends.

    Raises:
        DataError: the items are not numbers, or the ends do not ascend to the number of items.
    """
    ends = hdf.read_numbers(f"{path}_index", rows=rows)
    items = _items(hdf, path)
    # Narrow unsigned integers would wrap in differences.
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), ends.astype(np.int64)))
    if ends.dtype.kind not in "iu" or np.any(np.diff(offsets) < 0) or offsets[-1] != len(items):
        raise hdf.error(
            f"{path}_index",
            "a ragged index is damaged",
            expected=f"integers that ascend to the number of items, {len(items)}",
            found=f"{ends.dtype} from {ends.min()} to {ends.max()}, last {ends[-1]}"
            if rows
            else "no rows",
        )
    return Ragged(items, offsets)


def _items(hdf: HdfFile, path: str) -> NDArray:
    """Reads the items of a ragged column; a column without items is written as one empty string."""
    if not hdf.is_string(path):
        return hdf.read_numbers(path)
    if any(hdf.read_strings(path).tolist()):
        raise hdf.error(
            path,
            "list items are not numbers",
            expected="numbers, or empty text where there are none",
            found="text",
        )
    return np.empty(0)


def _licks_by_time(recording: Recording, start_times: NDArray, stored: NDArray) -> Ragged:
    """Assigns licks to trials by time, for files that lost the index.

    If a session has as many licks in its trials as trials, the release's writer stores them as a
    plain column: row i holds the i-th lick, not the lick of trial i. A trial's licks are those with
    frame in (its start frame, the next trial's start frame]; the last trial has the remaining ones.
    Trials store no frames, but their times, like those of licks, are the clock's at these frames.
    """
    offsets = np.append(np.searchsorted(stored, start_times, side="right"), len(stored)).astype(
        np.int64
    )
    times = np.sort(recording.licks[0])
    first = int(np.searchsorted(times, float(start_times[0]), side="right"))
    if (
        np.any(np.diff(stored) < 0)
        or offsets[0] != 0
        or not np.array_equal(times[first : first + len(stored)], stored)
    ):
        raise recording.hdf.error(
            f"{TRIALS}/lick_times_index",
            "the index of the trials' licks is missing and cannot be reconstructed",
            expected=f"the {len(stored)} stored licks to be the session's after the first trial's "
            "start",
            found=f"{len(times)} licks, {len(times) - first} of them after the first trial's "
            "start, which differ",
        )
    recording.known_defect(
        "lick-index-lost", "no lick_times_index; licks were assigned to trials by time"
    )
    return Ragged(stored, offsets)


def _lick_times(recording: Recording, start_times: NDArray) -> Ragged:
    hdf = recording.hdf
    rows = len(start_times)
    if hdf.has(f"{TRIALS}/lick_times_index"):
        return ragged(hdf, f"{TRIALS}/lick_times", rows)
    stored = _items(hdf, f"{TRIALS}/lick_times")
    if not len(stored):
        return Ragged(stored, np.zeros(rows + 1, dtype=np.int64))
    if len(stored) != rows:
        raise hdf.error(
            f"{TRIALS}/lick_times_index",
            "a dataset is missing",
            expected=f"ends of the licks of {rows} trials",
            found="nothing",
        )
    return _licks_by_time(recording, start_times, stored)


def _start_times(recording: Recording, rows: int) -> NDArray:
    """The start of each trial. Licks, presentations and reward rates are computed from them."""
    path = f"{TRIALS}/start_time"
    times = recording.hdf.read_numbers(path, rows=rows)
    wrong = goes_back(times)
    if wrong.any():
        row = int(wrong.argmax())
        found = f"{times[row]} after {times[row - 1]}" if row else f"{times[row]}"
        raise recording.hdf.error(
            path,
            MESSAGE,
            expected=ascending("start_time").expected,
            found=f"{found} in row {row}",
        )
    return times


def read_trials(recording: Recording) -> Trials:
    """Reads all trials of the session, in file order.

    Raises:
        DataError: a declared column is missing, has another length or type, or the starts of the
            trials go back.
    """
    hdf = recording.hdf
    ids = hdf.read_numbers(f"{TRIALS}/id")
    columns: dict[str, Values] = {"trials_id": ids}
    known = {
        c.name: c
        for c in TABLES["trials"].stored
        if c.name not in ("behavior_session_id", "trials_id")
    }
    for name in hdf.column_names(TRIALS):
        target = _RENAMED.get(name, name)
        if target in ("lick_times", *_IGNORED):
            continue
        if target not in known:
            recording.warn(
                f"trials.{name}: the file has a column that this version of vblake does not know; "
                "it is not in the lake"
            )
            continue
        read = hdf.read_strings if known[target].type is Type.STRING else hdf.read_numbers
        columns[target] = read(f"{TRIALS}/{name}", rows=len(ids))
    for name, column in known.items():
        if name in columns or name == "lick_times":
            continue
        if column.optional:
            recording.known_defect(
                f"no-{name.replace('_', '-')}",
                "the file has no such column; it is NULL, and so is what is computed from it",
            )
        else:
            raise hdf.error(
                f"{TRIALS}/{name}",
                "a column is missing",
                expected=column.source,
                found="no such name in colnames",
            )
    licks = _lick_times(recording, _start_times(recording, len(ids)))
    columns["lick_times"] = licks
    return Trials(columns, licks, len(ids))


def trials(recording: Recording) -> Iterator[Rows]:
    """The trials of the session."""
    table = recording.once(read_trials)
    yield Rows(table.columns, table.count)
