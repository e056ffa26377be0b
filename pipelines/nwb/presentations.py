"""Stimulus presentations: all groups of the file in time order, with the recomputed columns.

The formulas follow the released reader step by step: docs/formulas.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.recording import Recording, Rows
from pipelines.nwb.traces import OPHYS_CLOCK, frame_count, read_ophys_timestamps
from pipelines.nwb.trials import TRIALS, Trials, read_trials
from schemas import TABLES, Column, Type
from schemas.casts import NDArray, Values

_IGNORED = frozenset(("tags", "tags_index", "timeseries", "timeseries_index", "id"))
_RECOMPUTED = frozenset(("is_change", "flashes_since_change"))
_NO_TRIAL = -99

_MAY_BE_MISSING = _RECOMPUTED | {"index", "image_set", "trials_id", "active", "end_frame"}
"""Columns of every lake that a file may lack. They are computed here, except for the end_frame of
sessions of one image, which is NULL."""


def _declared() -> dict[str, Column]:
    keys = ("behavior_session_id", "stimulus_presentations_id")
    return {c.name: c for c in TABLES["stimulus_presentations"].stored if c.name not in keys}


def _groups(recording: Recording) -> list[str]:
    names = [n for n in recording.hdf.members("/intervals") if n.endswith("_presentations")]
    if not names:
        raise recording.hdf.error(
            "/intervals/*_presentations",
            "no stimulus presentations",
            expected="at least one group",
            found="none",
        )
    return [f"/intervals/{n}" for n in names]


def _read_group(
    recording: Recording, group: str, declared: dict[str, Column]
) -> tuple[dict[str, NDArray], int]:
    """Reads the declared columns of a group, text as bytes, and its number of rows."""
    hdf = recording.hdf
    start = hdf.read_numbers(f"{group}/start_time")
    columns: dict[str, NDArray] = {"start_time": start}
    for name in hdf.column_names(group):
        if name in _IGNORED or name in _RECOMPUTED or name == "start_time":
            continue
        if name not in declared:
            recording.warn(
                f"stimulus_presentations.{name}: the file has a column that this version of "
                "vblake does not know; it is not in the lake"
            )
            continue
        read = hdf.read_strings if declared[name].type is Type.STRING else hdf.read_numbers
        columns[name] = read(f"{group}/{name}", rows=len(start))
    return columns, len(start)


def _stack(parts: list[NDArray | None], counts: list[int], column: Column) -> NDArray:
    """Joins one column of all groups.

    A group lacks a column that was all null when the file was written.
    """
    present = [p for p in parts if p is not None]
    if len(present) == len(parts) and len({p.dtype.kind for p in present}) == 1:
        return np.concatenate(present)
    fill, dtype = (None, object) if column.type is Type.STRING else (np.nan, np.float64)
    return np.concatenate(
        [
            np.full(n, fill, dtype) if p is None else p.astype(dtype)
            for p, n in zip(parts, counts, strict=True)
        ]
    )


def _text(recording: Recording, name: str, values: NDArray) -> NDArray:
    """Decodes text; None where there is no value.

    The word N/A becomes empty text, which still counts as a name.
    """
    path = f"/intervals/*_presentations/{name}"
    items = values.tolist()
    texts: dict[Any, str | None] = {None: None}
    for value in set(items) - {None}:
        text = recording.hdf.decode(path, value)
        texts[value] = "" if text == "N/A" else text
    out = np.empty(len(values), dtype=object)
    out[:] = [texts[value] for value in items]
    return out


def is_change(image_name: NDArray, omitted: NDArray) -> NDArray:
    """Rows whose image differs from that of the last image shown before them.

    Args:
        image_name: shape (n,), text or None, in time order.
        omitted: shape (n,), float, NaN where it does not apply (gray screen, movie). Only rows with
            0 are considered; the first of them is no change.

    >>> names = np.array(["a", "a", None, "b"], dtype=object)
    >>> is_change(names, np.array([0.0, 0.0, np.nan, 0.0])).tolist()
    [False, False, False, True]
    """
    shown = np.flatnonzero(omitted == 0)
    change = np.zeros(len(image_name), dtype=bool)
    names = image_name[shown]
    # A missing name differs from every other, even a missing one, as in pandas.
    change[shown[1:]] = (names[1:] != names[:-1]) | np.array(
        [n is None for n in names[1:]], dtype=bool
    )
    return change


def flashes_since_change(image_name: NDArray, omitted: NDArray, change: NDArray) -> NDArray:
    """Number of presentations since the last change; omissions keep the value before them.

    Args:
        image_name: shape (n,), text or None, in time order.
        omitted: shape (n,), float, NaN where it does not apply.
        change: shape (n,), from `is_change`.

    >>> names, shown = np.array(["a", "a", "b", "b"], dtype=object), np.zeros(4)
    >>> flashes_since_change(names, shown, is_change(names, shown)).tolist()
    [0, 1, 0, 1]
    """
    if not len(change):
        return np.zeros(0, dtype=np.int64)
    kept = (omitted == 1) | (image_name == "omitted")
    reset = change & ~kept
    reset[0] = True
    counted = np.cumsum(~kept & ~reset)
    last_reset = np.maximum.accumulate(np.where(reset, np.arange(len(reset)), 0))
    return counted - counted[last_reset]


def trials_of(start_time: NDArray, named: NDArray, trials: Trials) -> NDArray:
    """Id of the last trial, in table order, that started before each presentation.

    -99 where there is none.

    Args:
        start_time: shape (n,), seconds.
        named: shape (n,), whether the presentation has an image name.
        trials: of the same session.
    """
    starts = trials.numbers("start_time")
    order = np.argsort(starts, kind="stable")
    latest = np.maximum.accumulate(order)
    before = np.searchsorted(starts[order], start_time, side="left") - 1
    inside = named & (before >= 0) & (start_time < np.max(trials.numbers("stop_time")))
    ids = trials.numbers("trials_id").astype(np.int64)
    return np.where(inside, ids[latest[np.maximum(before, 0)]], _NO_TRIAL)


def active_rows(
    start_time: NDArray, named: NDArray, block: NDArray | None, trials: Trials
) -> NDArray:
    """Presentations within the task. A block with one such row counts as a whole.

    Args:
        start_time: shape (n,), seconds.
        named: shape (n,), whether the presentation has an image name.
        block: shape (n,), stimulus_block, or None where the file has no blocks.
        trials: of the same session.
    """
    first, last = np.min(trials.numbers("start_time")), np.max(trials.numbers("stop_time"))
    active = (start_time > first) & (start_time < last) & named
    return active if block is None else active | np.isin(block, block[active])


def sham_changes(start_frame: NDArray, trials_id: NDArray, trials: Trials) -> NDArray:
    """Presentations that start at the change frame of a catch trial that has presentations."""
    ids = trials.numbers("trials_id")
    catch = (trials.numbers("catch") == 1) & np.isin(ids, trials_id)
    return np.isin(start_frame, trials.numbers("change_frame")[catch])


def _image_sets(
    recording: Recording, image_name: NDArray, stimulus: NDArray | None
) -> NDArray | None:
    """Image set of each presentation, for files that do not store it.

    It is the template whose name starts with the presentation's stimulus_name, and `omitted` for
    omissions, as in files that store it.

    Args:
        recording: the file.
        image_name: shape (n,), text or None.
        stimulus: stimulus_name, shape (n,), as stored; None where the file has none.
    """
    template = recording.image_set
    if template is None:
        return None
    if stimulus is None:
        is_image = np.array([name is not None for name in image_name], dtype=bool)
    else:
        # The writer spells TRAINING in lower case in names of stimuli.
        start = template.split(".", maxsplit=1)[0].lower()
        is_image = np.array(
            [
                n is not None and n.lower() == start
                for n in _text(recording, "stimulus_name", stimulus)
            ],
            dtype=bool,
        )
    values = np.full(len(image_name), None, dtype=object)
    values[is_image] = template
    values[is_image & (image_name == "omitted")] = "omitted"
    return values


def stimulus_presentations(recording: Recording) -> Iterator[Rows]:
    """All presentations of the session, in time order."""
    columns = recording.once(read_presentations)
    start_time = columns["start_time"]
    assert start_time is not None
    count = len(start_time)
    yield Rows({"stimulus_presentations_id": np.arange(count), **columns}, count)


def presentation_frames(recording: Recording) -> Iterator[Rows]:
    """The imaging frames of the plane at which each presentation starts and the next one does.

    Raises:
        DataError: the presentations or the clock cannot be read, or the clock goes back.
    """
    start_time = recording.once(read_presentations)["start_time"]
    assert start_time is not None
    recorded = recording.once(read_ophys_timestamps)[: recording.once(frame_count)]
    if goes_back(recorded).any():
        expected = "times that are finite and do not decrease"
        raise recording.hdf.error(OPHYS_CLOCK, MESSAGE, expected=expected, found="others")
    onset = onset_frames(start_time, recorded)
    values: dict[str, Values] = {
        "stimulus_presentations_id": np.arange(len(onset)),
        "onset_frame": onset,
        "next_onset_frame": np.append(onset, np.nan)[1:],
    }
    yield Rows(values, len(onset))


def onset_frames(start_time: NDArray, times: NDArray) -> NDArray:
    """First frame at or after each start, from 0; NaN for those before the first frame or after
    the last.

    Args:
        start_time: seconds, shape (n,).
        times: of the frames, ascending, seconds, shape (m,).

    >>> onset_frames(np.array([0.0, 1.0, 1.5, 3.0]), np.array([1.0, 2.0]))
    array([nan,  0.,  1., nan])
    """
    frame = np.searchsorted(times, start_time, side="left")
    inside = (start_time >= times[0]) & (frame < len(times))
    return np.where(inside, frame, np.nan)


def read_presentations(recording: Recording) -> dict[str, NDArray | None]:
    """Reads the columns of all presentations, in time order; None for those that are NULL.

    Raises:
        DataError: a column is in no group, of another length, or text instead of numbers.
    """
    declared = _declared()
    parts = [_read_group(recording, group, declared) for group in _groups(recording)]
    counts = [n for _, n in parts]
    count = sum(counts)
    stored = {name for columns, _ in parts for name in columns}
    for name, column in declared.items():
        if name not in stored and not column.optional and name not in _MAY_BE_MISSING:
            raise recording.hdf.error(
                column.source,
                "a column is missing",
                expected="it in at least one group",
                found="it in none",
            )
    order = np.argsort(np.concatenate([c["start_time"] for c, _ in parts]), kind="stable")
    columns: dict[str, NDArray | None] = {
        name: _stack([c.get(name) for c, _ in parts], counts, column)[order]
        if name in stored
        else None
        for name, column in declared.items()
    }
    start_time = columns["start_time"]
    assert start_time is not None
    assert columns["image_name"] is not None
    assert columns["omitted"] is not None
    image_name = _text(recording, "image_name", columns["image_name"])
    named = np.array([v is not None for v in image_name], dtype=bool)
    omitted = columns["omitted"].astype(np.float64)
    change = is_change(image_name, omitted)
    columns |= {
        "image_name": image_name,
        "is_change": change,
        "flashes_since_change": flashes_since_change(image_name, omitted, change),
    }
    if columns["index"] is None:
        columns["index"] = np.arange(count)
    if columns["image_set"] is None:
        columns["image_set"] = _image_sets(recording, image_name, columns["stimulus_name"])
    _add_trials(recording, columns, start_time, named)
    return columns


def _add_trials(
    recording: Recording, columns: dict[str, NDArray | None], start_time: NDArray, named: NDArray
) -> None:
    """Computes active, trials_id and is_sham_change if the file, of an older release, lacks
    them.
    """
    if all(columns[name] is not None for name in ("active", "trials_id", "is_sham_change")):
        return
    trials = recording.once(read_trials) if recording.hdf.has(TRIALS) else None
    if trials is None or not trials.count:
        return
    block = columns["stimulus_block"]
    if columns["active"] is None:
        columns["active"] = active_rows(start_time, named, block, trials)
    if columns["trials_id"] is None:
        columns["trials_id"] = trials_of(start_time, named, trials)
    if (
        columns["is_sham_change"] is None
        and block is not None
        and columns["start_frame"] is not None
    ):
        columns["is_sham_change"] = sham_changes(
            columns["start_frame"], columns["trials_id"], trials
        )
