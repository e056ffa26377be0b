"""Trials, with the licks of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.nwb.hdf5 import HdfFile
from pipelines.nwb.recording import Recording, Rows
from schemas import TABLES
from schemas.casts import NDArray, Ragged, Values

TRIALS = "/intervals/trials"

_RENAMED = {"is_change": "stimulus_change"}
_IGNORED = frozenset(("tags", "timeseries", "lick_events"))


@dataclass(frozen=True)
class Trials:
    """Trials of a session in file order: values by column of the lake, and the licks of each trial."""

    columns: dict[str, Values]
    lick_times: Ragged
    count: int

    def numbers(self, name: str) -> NDArray:
        """A numeric column, shape (n_trials,)."""
        values = self.columns[name]
        assert isinstance(values, np.ndarray)
        return values


def ragged(hdf: HdfFile, path: str, rows: int) -> Ragged:
    """A ragged column: `path` holds the items, `path_index` the exclusive ends.

    Raises:
        DataError: the ends decrease, or go past the items.
    """
    ends = hdf.numbers(f"{path}_index", rows=rows).astype(np.int64)
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), ends))
    items = hdf.array(path)
    if np.any(np.diff(offsets) < 0) or (rows and ends[-1] > len(items)):
        raise hdf.error(
            f"{path}_index",
            "a ragged index is damaged",
            expected=f"ascending ends up to {len(items)} items",
            found=f"ends from {ends.min() if rows else 0} to {ends.max() if rows else 0}",
        )
    if items.dtype.kind not in "biuf":
        # A column without any item is written as one empty text with an all-zero index.
        if rows and ends[-1] != 0:
            raise hdf.error(path, "list items are not numbers", expected="numbers", found=f"dtype {items.dtype}")
        items = np.empty(0)
    return Ragged(items[: offsets[-1]], offsets)


def _licks_by_frame(recording: Recording, start_times: NDArray, stored: NDArray) -> Ragged:
    """Licks per trial where the file lost the index.

    If a session has as many licks in its trials as trials, the release's writer stores them as a plain column: row i holds the i-th
    lick, not that of trial i. The licks of a trial are those with frame in (its start frame, the next trial's start frame].
    """
    times, frames = recording.licks
    clock = recording.stimulus_timestamps
    order = np.argsort(frames, kind="stable")
    times, frames = times[order], frames[order]
    starts = np.searchsorted(clock, start_times, side="left")
    offsets = np.searchsorted(frames, starts, side="right").astype(np.int64)
    # The last trial takes what is left; where its licks end follows from how many were stored.
    end = offsets[0] + len(stored)
    rebuilt = Ragged(times[offsets[0] : end], np.append(offsets, end) - offsets[0])
    if end < offsets[-1] or not np.array_equal(rebuilt.values, stored):
        raise recording.hdf.error(
            f"{TRIALS}/lick_times_index",
            "the index of the trials' licks is missing and the licks do not give it back",
            expected=f"the {len(stored)} stored lick times",
            found=f"{len(rebuilt.values)} licks in the trials by frame, or other times",
        )
    recording.warn("trials.lick_times: the file has no lick_times_index; licks were assigned to trials by frame")
    return rebuilt


def _lick_times(recording: Recording, start_times: NDArray) -> Ragged:
    hdf = recording.hdf
    rows = len(start_times)
    if hdf.has(f"{TRIALS}/lick_times_index"):
        return ragged(hdf, f"{TRIALS}/lick_times", rows)
    stored = hdf.array(f"{TRIALS}/lick_times")
    if stored.dtype.kind not in "biuf":
        if any(v not in (b"", "") for v in stored.tolist()):
            raise hdf.error(f"{TRIALS}/lick_times", "lick times are not numbers", expected="numbers", found=f"dtype {stored.dtype}")
        return Ragged(np.empty(0), np.zeros(rows + 1, dtype=np.int64))
    return _licks_by_frame(recording, start_times, stored)


def read_trials(recording: Recording) -> Trials:
    """All trials of the session, in file order."""
    hdf = recording.hdf
    ids = hdf.numbers(f"{TRIALS}/id")
    columns: dict[str, Values] = {"trials_id": ids}
    known = {c.name for c in TABLES["trials"].columns}
    for name in hdf.column_names(TRIALS):
        target = _RENAMED.get(name, name)
        if target in ("lick_times", *_IGNORED):
            continue
        if target not in known:
            recording.warn(f"trials.{name}: the file has a column that this version of vblake does not know; it is not in the lake")
            continue
        columns[target] = hdf.array(f"{TRIALS}/{name}", rows=len(ids))
    licks = _lick_times(recording, hdf.numbers(f"{TRIALS}/start_time", rows=len(ids)))
    columns["lick_times"] = licks
    return Trials(columns, licks, len(ids))


def trials(recording: Recording) -> Iterator[Rows]:
    """Trials."""
    table = recording.once(read_trials)
    yield Rows(table.columns, table.count)
