"""What happened at each presentation of the task: licks, reward, running, pupil and engagement.

Names and values are those of `get_annotated_stimulus_presentations` of brain_observatory_utilities
0.5.1, mistakes excepted: docs/formulas.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipelines.nwb.behavior_series import read_rewards, read_running_speed
from pipelines.nwb.clock import MESSAGE, goes_back
from pipelines.nwb.eye_tracking import EYE_CLOCK, read_pupil
from pipelines.nwb.performance import reward_rate
from pipelines.nwb.presentations import read_presentations
from pipelines.nwb.recording import Recording, Rows
from pipelines.nwb.trials import Trials, read_trials
from schemas import TABLES
from schemas.casts import NDArray, Ragged, Values
from schemas.errors import DataError

_WINDOW_S = 0.75
_NEAR_CHANGE_S = 0.5
_GRAY_SCREEN_S = 240.0
_EPOCH_S = 600.0
_ENGAGED_RATE = 2.0
_FIRST_RATED_TRIAL = 10
_FIRST_POSSIBLE_CHANGE = 4

_OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject")

_OF_TASK = ("start_time", "image_name", "is_change", "omitted", "trials_id")
_RUNNING_MEANS = ("mean_running_speed",)
_PUPIL_MEANS = ("mean_pupil_width", "mean_pupil_area")
_OF_TRIAL = (
    "change_time",
    "go",
    "catch",
    "auto_rewarded",
    "hit",
    "miss",
    "false_alarm",
    "correct_reject",
    "response_time",
    "reward_time",
    "reward_volume",
)


def within(start: NDArray, times: NDArray) -> Ragged:
    """The times within 0.75 s after each start, limits excluded.

    Args:
        start: seconds, shape (n,).
        times: seconds, ascending.

    >>> lists = within(np.array([1.0, 1.5]), np.array([1.0, 1.2, 1.6]))
    >>> lists.values.tolist(), lists.offsets.tolist()
    ([1.2, 1.6, 1.6], [0, 2, 3])
    """
    first = np.searchsorted(times, start, side="right")
    counts = np.maximum(np.searchsorted(times, start + _WINDOW_S, side="left") - first, 0)
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
    picked = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts)
    return Ragged(times[picked], offsets)


def mean_within(start: NDArray, times: NDArray, values: NDArray) -> NDArray:
    """Mean of the samples in [start, start + 0.75 s); NaN where there is none or one is NaN.

    Args:
        start: seconds, shape (n,).
        times: of the samples, ascending, seconds, shape (m,).
        values: shape (m,).

    >>> mean_within(np.array([0.0, 9.0]), np.array([0.0, 0.5, 0.75]), np.array([1.0, 2.0, 4.0]))
    array([1.5, nan])
    """
    edges = np.searchsorted(times, np.stack((start, start + _WINDOW_S), axis=1).ravel())
    count = edges[1::2] - edges[::2]
    # reduceat needs each edge inside of the array; what it gives for empty windows is replaced.
    sums = np.add.reduceat(np.append(values, 0.0), edges)[::2] if len(start) else np.empty(0)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def since_last(start: NDArray, events: NDArray) -> NDArray:
    """Seconds since the last event at or before each start; NaN before the first.

    >>> since_last(np.array([1.0, 3.0]), np.array([2.0])).tolist()
    [nan, 1.0]
    """
    last = np.searchsorted(events, start, side="right") - 1
    if not len(events):
        return np.full(len(start), np.nan)
    return np.where(last >= 0, start - events[np.maximum(last, 0)], np.nan)


def change_trials(start: NDArray, change_time: NDArray) -> NDArray:
    """Row of the trial whose change is nearest to each start, within 0.5 s; -1 where none is.

    >>> change_trials(np.array([1.0, 2.0, 9.0]), np.array([np.nan, 2.25])).tolist()
    [-1, 1, -1]
    """
    rows = np.flatnonzero(~np.isnan(change_time))
    if not len(rows):
        return np.full(len(start), -1)
    rows = rows[np.argsort(change_time[rows], kind="stable")]
    times = change_time[rows]
    after = np.minimum(np.searchsorted(times, start), len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - start) <= np.abs(times[after] - start), before, after)
    near = np.abs(times[nearest] - start) < _NEAR_CHANGE_S
    return np.where(near, rows[nearest], -1)


def count_within_runs(trial: NDArray) -> NDArray:
    """Number of a presentation in its trial, from 0: its place in a run of equal values.

    >>> count_within_runs(np.array([7, 7, 7, 8, 8])).tolist()
    [0, 1, 2, 0, 1]
    """
    place = np.arange(len(trial))
    starts = np.ones(len(trial), dtype=bool)
    starts[1:] = trial[1:] != trial[:-1]
    return place - np.maximum.accumulate(np.where(starts, place, 0))


def earlier_in_trial(trial: NDArray, flag: NDArray) -> NDArray:
    """Whether an earlier presentation of the same trial has the flag.

    >>> earlier_in_trial(np.array([7, 7, 8]), np.array([True, False, False])).tolist()
    [False, True, False]
    """
    first: NDArray = np.full(len(trial), len(trial))
    _, group = np.unique(trial, return_inverse=True)
    flagged = np.flatnonzero(flag)[::-1]
    first[group[flagged]] = flagged  # from the last to the first, so that the first one stays
    return np.arange(len(trial)) > first[group]


def shifted(values: NDArray, by: int) -> NDArray:
    """The values of the presentation before (1) or after (-1); None at the end.

    >>> shifted(np.array([True, False]), 1).tolist()
    [None, True]
    """
    out = np.full(len(values), None, dtype=object)
    if by > 0:
        out[1:] = values[:-1]
    else:
        out[:-1] = values[1:]
    return out


def rate_of_presentations(start: NDArray, trials: Trials) -> NDArray:
    """Reward rate (per minute) of the next trial with a change; infinite before the eleventh.

    After the last change, that of the last; NaN if no trial has a change.
    """
    change = trials.numbers("change_time")
    rate = reward_rate(trials.numbers("start_time"), trials.numbers("response_latency"))
    rate[:_FIRST_RATED_TRIAL] = np.inf
    rows = np.flatnonzero((trials.numbers("aborted") == 0) & ~np.isnan(change))
    if not len(rows):
        return np.full(len(start), np.nan)
    # A change that is not later than those before has no presentations of its own.
    latest = np.maximum.accumulate(change[rows])
    place = np.searchsorted(latest, start, side="right")
    return rate[rows[np.minimum(place, len(rows) - 1)]]


def epochs(start: NDArray) -> NDArray:
    """Ten minutes of the task each, counted from 0; a rest without a start joins the last."""
    edges = np.arange(start[0], start[-1], _EPOCH_S)
    return np.maximum(np.searchsorted(edges, start, side="right") - 1, 0)


def relative_size(size: NDArray, times: NDArray, first_start: float) -> NDArray:
    """Pupil size over its mean in the four minutes of gray screen before the task.

    Blinks are interpolated from frame to frame; the first frames stay NaN if they are blinks. All
    is NaN without a gray screen.

    Args:
        size: width or area, NaN in blinks, shape (n,).
        times: of the frames, ascending, seconds, shape (n,).
        first_start: start of the first image, seconds.
    """
    seen = np.flatnonzero(~np.isnan(size))
    if not len(seen):
        return size
    whole = np.interp(np.arange(len(size)), seen, size[seen])
    whole[: seen[0]] = np.nan
    first, last = (_nearest(times, t) for t in (first_start - _GRAY_SCREEN_S, first_start))
    gray = whole[first:last]
    gray = gray[~np.isnan(gray)]
    return whole / np.mean(gray) if len(gray) else np.full(len(size), np.nan)


def _nearest(times: NDArray, moment: float) -> int:
    after = min(int(np.searchsorted(times, moment)), len(times) - 1)
    before = max(after - 1, 0)
    return before if abs(times[before] - moment) < abs(times[after] - moment) else after


def _task_rows(columns: dict[str, NDArray | None]) -> NDArray:
    """Rows of the task: its block, or all images in files that name no blocks."""
    names = columns["stimulus_block_name"]
    if names is None:
        image_name = columns["image_name"]
        assert image_name is not None
        return np.flatnonzero([name is not None for name in image_name])
    return np.flatnonzero([b"change_detection" in (name or b"") for name in names])


def task_presentations(recording: Recording) -> tuple[NDArray, dict[str, NDArray | None]]:
    """Ids of the presentations of the task, and some of their columns as in `read_presentations`.

    Raises:
        DataError: presentations cannot be read.
    """
    shown = recording.once(read_presentations)
    rows = _task_rows(shown)
    needed = ((name, shown[name]) for name in _OF_TASK)
    return rows, {name: None if values is None else values[rows] for name, values in needed}


def _means(
    recording: Recording, table: str, names: tuple[str, ...], read: Callable[[], list[NDArray]]
) -> dict[str, Values]:
    """Means of a signal. Where its table is held back, or damaged, only these columns are lost."""
    try:
        if table not in recording.held_back:
            return dict(zip(names, read(), strict=True))
        reason = f"{table} is held back"
    except DataError as error:
        reason = str(error)
    listed = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
    recording.warn(f"presentation_annotations: {listed} NULL: {reason}")
    return {}


def _usable(recording: Recording, path: str, times: NDArray) -> NDArray:
    if goes_back(times).any():
        expected = "times that are finite and do not decrease"
        raise recording.hdf.error(path, MESSAGE, expected=expected, found="others")
    return times


def _running(recording: Recording, start: NDArray) -> list[NDArray]:
    times, speed = recording.once(read_running_speed)
    _usable(recording, "/processing/running/speed/timestamps", times)
    return [mean_within(start, times, speed)]


def _pupil(recording: Recording, start: NDArray, first_start: float) -> list[NDArray]:
    pupil = recording.once(read_pupil)
    if pupil is None:
        return [np.full(len(start), np.nan) for _ in _PUPIL_MEANS]
    times = _usable(recording, EYE_CLOCK, pupil.times)
    return [
        mean_within(start, times, relative_size(size, times, first_start))
        for size in (pupil.width, pupil.area)
    ]


def presentation_annotations(recording: Recording) -> Iterator[Rows]:
    """Annotations of the presentations of the task.

    Raises:
        DataError: presentations, trials, licks or rewards cannot be read.
    """
    rows, task = recording.once(task_presentations)
    if not len(rows):
        names = [c.name for c in TABLES["presentation_annotations"].stored]
        yield Rows({name: [] for name in names if name != "behavior_session_id"}, 0)
        return
    start, image, change = (task[n] for n in ("start_time", "image_name", "is_change"))
    assert start is not None
    assert image is not None
    assert change is not None
    omitted, trial = task["omitted"], task["trials_id"]
    assert omitted is not None
    # Presentations outside of all trials count as one more, as in the package.
    trial = np.full(len(rows), np.nan) if trial is None else trial.astype(np.float64)
    trial = np.where(np.isnan(trial), -99, trial)
    # An omission that comes first has the start of the session in some files.
    first_start = float(start[min(int(image[0] == "omitted"), len(rows) - 1)])
    licks = within(start, recording.licks[0])
    licked = np.diff(licks.offsets) > 0
    values: dict[str, Values] = {
        "stimulus_presentations_id": rows,
        **_responses(recording, start, licks),
        **_means(recording, "running_speed", _RUNNING_MEANS, lambda: _running(recording, start)),
        **_means(
            recording, "eye_tracking", _PUPIL_MEANS, lambda: _pupil(recording, start, first_start)
        ),
        **_of_trials(start, recording.once(read_trials)),
        **_neighbours(image, change, omitted == 1, licked),
        **_within_trial(trial, image, change, licked),
        "time_from_last_change": since_last(start, start[change]),
        "time_from_last_omitted": since_last(start, start[omitted == 1]),
        "epoch": epochs(start),
    }
    yield Rows(values, len(rows))


def _responses(recording: Recording, start: NDArray, licks: Ragged) -> dict[str, Values]:
    lick_times, reward_times = recording.licks[0], read_rewards(recording)[1]
    licked = np.diff(licks.offsets) > 0
    first_lick = np.full(len(start), np.nan)
    first_lick[licked] = licks.values[licks.offsets[:-1][licked]]
    return {
        "licked": licked,
        "licks": licks,
        "first_lick_time": first_lick,
        "lick_latency": first_lick - start,
        "rewarded": np.diff(within(start, reward_times).offsets) > 0,
        "time_from_last_lick": since_last(start, lick_times),
        "time_from_last_reward": since_last(start, reward_times),
    }


def _neighbours(
    image: NDArray, change: NDArray, omitted: NDArray, licked: NDArray
) -> dict[str, Values]:
    return {
        "previous_image_name": shifted(image, 1),
        "pre_change": shifted(change, -1),
        "pre_omitted": shifted(omitted, -1),
        "post_omitted": shifted(omitted, 1),
        "lick_on_next_flash": shifted(licked, -1),
    }


def _within_trial(
    trial: NDArray, image: NDArray, change: NDArray, licked: NDArray
) -> dict[str, Values]:
    count = count_within_runs(trial)
    response, changed = earlier_in_trial(trial, licked), earlier_in_trial(trial, change)
    shown = (image != "omitted") & (shifted(image, 1) != "omitted")
    return {
        "stimulus_count_within_trial": count,
        "previous_response_on_trial": response,
        "previous_change_on_trial": changed,
        "could_change": (count >= _FIRST_POSSIBLE_CHANGE) & ~response & ~changed & shown,
    }


def read_engaged(recording: Recording) -> NDArray | None:
    """Whether the mouse was engaged at each presentation of the task, NaN where that is not known;
    None if the trials do not tell.

    Raises:
        DataError: presentations or trials cannot be read.
    """
    _, task = recording.once(task_presentations)
    start, trials = task["start_time"], recording.once(read_trials)
    assert start is not None
    if not {"change_time", "response_latency"} <= trials.columns.keys():
        return None
    return _engaged(rate_of_presentations(start, trials))


def read_outcomes(recording: Recording) -> list[str | None]:
    """The outcome of the trial whose change or sham change each presentation of the task is: `hit`,
    `miss`, `false alarm` or `correct reject`; None where it is none, or the trials do not tell.

    Raises:
        DataError: presentations or trials cannot be read.
    """
    _, task = recording.once(task_presentations)
    start, trials = task["start_time"], recording.once(read_trials)
    assert start is not None
    if "change_time" not in trials.columns:
        return [None] * len(start)
    row = change_trials(start, trials.numbers("change_time"))
    near = np.flatnonzero(row >= 0)
    outcomes = np.full(len(row), None, dtype=object)
    for name in _OUTCOMES:
        outcomes[near[trials.numbers(name)[row[near]] == 1]] = name.replace("_", " ")
    return outcomes.tolist()


def _of_trials(start: NDArray, trials: Trials) -> dict[str, Values]:
    """Columns that come from the trials; those computed from what the file lacks are left out."""
    values: dict[str, Values] = {}
    if "change_time" not in trials.columns:
        return values
    row = change_trials(start, trials.numbers("change_time"))
    near = np.flatnonzero(row >= 0)
    for name in ("trials_id", *_OF_TRIAL):
        column = np.full(len(row), np.nan)
        column[near] = trials.numbers(name)[row[near]]
        values["change_trials_id" if name == "trials_id" else name] = column
    if "response_latency" in trials.columns:
        rate = rate_of_presentations(start, trials)
        values |= {"reward_rate": rate, "engaged": _engaged(rate)}
    return values


def _engaged(rate: NDArray) -> NDArray:
    return np.where(np.isnan(rate), np.nan, rate > _ENGAGED_RATE)
