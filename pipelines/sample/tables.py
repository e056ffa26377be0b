"""Trials and presentations as columns, in stored order and in the layout of either release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.sample.behavior import AUTO_REWARD_VOLUME, IMAGE_FRAMES, TaskRun
from pipelines.sample.design import Scale, Session
from pipelines.sample.stimulus import (
    MOVIE_FRAME_FRAMES,
    Clock,
    FloatArray,
    ImageSet,
    is_static_grating,
    static_epochs,
)

Column = NDArray[Any] | list[str]
Columns = dict[str, Column]
NO_INT = -99
OMISSION_SECONDS = 0.25


@dataclass(frozen=True)
class Ragged:
    """The trials' lick times: `flat` (s), and the exclusive end of each trial's slice in `ends`."""

    flat: FloatArray
    ends: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Start of each trial's slice, (n_trials,)."""
        return np.concatenate([[0], self.ends[:-1]])


@dataclass(frozen=True)
class Presentations:
    """One `/intervals/<name>_presentations` group: its columns without `tags` and `timeseries`."""

    name: str
    description: str
    columns: Columns


def lick_times(run: TaskRun, clock: Clock) -> Ragged:
    """Assigns each lick to a trial.

    A trial's licks lie in (its start frame, the next trial's start frame]; the last trial's extend
    to the end of the session.
    """
    bounds = np.append(run.trials.start, np.iinfo(np.int64).max)
    edges = np.searchsorted(run.licks, bounds, side="right")
    times = clock.times[run.licks]
    flat = times[edges[0] : edges[-1]]
    return Ragged(flat, edges[1:] - edges[0])


def trial_columns(run: TaskRun, clock: Clock, names: list[str], *, legacy: bool) -> Columns:
    """Returns `/intervals/trials` in stored order; the ragged `lick_times` is an empty placeholder.

    Outcomes and latencies follow the release's formulas. A latency counts from the delayed change
    to the first lick of the trial, wherever that lies; it is +inf without a lick and NaN in aborted
    trials.
    """
    trials = run.trials
    licks = lick_times(run, clock)
    has_lick = licks.ends > licks.starts
    first = np.full(len(trials.start), np.nan)
    first[has_lick] = licks.flat[licks.starts[has_lick]]
    changed = trials.change >= 0
    change_time = np.full(len(trials.start), np.nan)
    change_time[changed] = clock.shown(trials.change[changed])
    latency = np.where(trials.aborted, np.nan, np.where(has_lick, first - change_time, np.inf))

    # A reward belongs to the trial in which it falls; no trial has two.
    owner = np.searchsorted(trials.start, run.reward_frames, side="right") - 1
    reward_time = np.full(len(trials.start), np.nan)
    reward_time[owner] = clock.times[run.reward_frames]
    reward_volume = np.zeros(len(trials.start))
    np.add.at(reward_volume, owner, run.reward_volumes)

    start, stop = clock.times[trials.start], clock.times[trials.stop]
    change_frame: Column = trials.change
    if legacy:
        change_frame = np.where(changed, trials.change, np.nan)
    return {
        "start_time": start,
        "stop_time": stop,
        "initial_image_name": [names[i] for i in trials.initial_image],
        "change_image_name": [names[i] for i in trials.change_image],
        ("stimulus_change" if legacy else "is_change"): trials.is_change,
        "change_time": change_time,
        "go": trials.go,
        "catch": trials.catch & ~trials.aborted,
        "lick_times": [],
        "response_time": np.where(trials.aborted, np.nan, first),
        "response_latency": latency,
        "reward_time": reward_time,
        # Without any reward the sums are empty, and the release stores integers.
        "reward_volume": reward_volume
        if run.reward_frames.size
        else np.zeros(len(trials.start), dtype=np.int64),
        "hit": trials.go & trials.responded,
        "false_alarm": trials.catch & trials.responded,
        "miss": trials.go & ~trials.responded,
        "correct_reject": trials.catch & ~trials.responded,
        "aborted": trials.aborted,
        "auto_rewarded": trials.auto_rewarded,
        "change_frame": change_frame,
        "trial_length": stop - start,
    }


def flashes_since_change(
    changed: NDArray[np.bool_], omitted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Flashes since the last change, (n,): 0 at changes and at the first flash; omissions do not
    count.
    """
    shown = np.cumsum(~omitted)
    reset = changed.copy()
    reset[0] = True
    return shown - np.maximum.accumulate(np.where(reset, shown, 0))


def image_changes(image: NDArray[np.int64], omitted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where a shown image differs from the previous shown one, (n,)."""
    result = np.zeros(len(image), dtype=bool)
    shown = np.flatnonzero(~omitted)
    result[shown[1:]] = image[shown[1:]] != image[shown[:-1]]
    return result


def _task_arrays(session: Session, run: TaskRun, clock: Clock) -> dict[str, NDArray[Any]]:
    """Frames, times, image numbers and omissions of the task's presentations, each (n,)."""
    flashes = run.flashes
    start, image, omitted = flashes.start, flashes.image, flashes.omitted
    end = flashes.end
    if is_static_grating(session):
        kept = static_epochs(run)
        start, image, omitted = start[kept], image[kept], omitted[kept]
        end = np.append(start[1:], clock.task_end)
    start_time = clock.shown(start)
    stop_time = np.where(omitted, start_time + OMISSION_SECONDS, clock.shown(end))
    duration = np.where(omitted, OMISSION_SECONDS, stop_time - start_time)
    return {
        "start": start,
        "end": end,
        "image": image,
        "omitted": omitted,
        "t0": start_time,
        "t1": stop_time,
        "duration": duration,
    }


def task_presentations(
    session: Session, run: TaskRun, clock: Clock, image_set: ImageSet
) -> Presentations:
    """Returns the task's presentations in the current layout: one group for the image set."""
    task = _task_arrays(session, run, clock)
    n, omitted, image = len(task["start"]), task["omitted"], task["image"]
    movie = session.has_movie
    names = [*image_set.images, "omitted"]
    shown_index = np.where(omitted, len(image_set.images), image)
    changes = image_changes(image, omitted)
    novel = np.full(n, session.experience_level == "Novel 1")
    trials = run.trials
    trial_starts, last_stop = clock.times[trials.start], clock.times[trials.stop].max()
    trials_id = np.searchsorted(trial_starts, task["t0"], side="left") - 1
    trials_id[(trials_id < 0) | (task["t0"] >= last_stop)] = NO_INT
    # A sham change is the flash on which a catch trial would have changed.
    sham = np.isin(task["start"], trials.change[trials.catch]) & (trials_id != NO_INT)
    passive = "passive" if session.passive else "behavior"
    # In sessions with gray and movie rows the boolean columns had nulls, and the release's writer
    # made them 0.0/1.0/NaN.
    flag = np.float64 if movie else np.bool_
    columns: Columns = {
        "start_time": task["t0"],
        "stop_time": task["t1"],
        "stimulus_block": np.full(n, int(movie)),
        "stimulus_block_name": [f"change_detection_{passive}"] * n,
        "image_index": shown_index,
        "image_name": [names[i] for i in shown_index],
        "movie_frame_index": np.full(n, NO_INT),
        "duration": task["duration"],
        "start_frame": task["start"],
        "end_frame": task["end"],
        "is_change": changes.astype(flag),
        "is_image_novel": np.where(omitted, np.nan, novel).astype(flag),
        "omitted": omitted.astype(flag),
        "movie_repeat": np.full(n, NO_INT),
        "flashes_since_change": flashes_since_change(changes, omitted),
        "trials_id": trials_id,
        "image_set": [image_set.name] * n,
        "active": np.ones(n, dtype=bool),
        "is_sham_change": sham,
        "stimulus_name": [image_set.stimulus_name] * n,
    }
    if not movie:
        del columns["movie_frame_index"], columns["movie_repeat"]
    if image_set.name == "grating":
        degrees = np.array([float(name.removeprefix("gratings_")) for name in image_set.images])
        columns |= {
            "phase": np.full(n, 0.25),
            "spatial_frequency": np.full(n, 0.04),
            "orientation": degrees[image],
        }
    return Presentations(
        f"{image_set.stimulus_name}_presentations", _description(image_set.stimulus_name), columns
    )


def gray_and_movie(scale: Scale, clock: Clock) -> list[Presentations]:
    """Returns the movie and the two gray screens around it (current layout only)."""
    return [_movie(scale, clock), _gray_screens(clock)]


def _movie(scale: Scale, clock: Clock) -> Presentations:
    repeats, frames = scale.movie_repeats, scale.movie_frames
    n = repeats * frames
    edges = clock.movie_start + MOVIE_FRAME_FRAMES * np.arange(n + 1, dtype=np.int64)
    shown = clock.shown(edges)
    own: Columns = {
        "stimulus_block": np.full(n, 3),
        "stimulus_block_name": ["natural_movie_one"] * n,
        "movie_frame_index": np.tile(np.arange(frames, dtype=np.int64), repeats),
        "movie_repeat": np.repeat(np.arange(repeats, dtype=np.int64), frames),
        "start_frame": edges[:-1],
        "end_frame": edges[:-1] + 1,
    }
    return _without_task("natural_movie_one", shown[:-1], shown[1:], own)


def _gray_screens(clock: Clock) -> Presentations:
    frames = np.array(
        [[0, clock.first_flash], [clock.task_end - 30, clock.movie_start]], dtype=np.int64
    )
    shown = clock.shown(frames)
    shown[0, 0] = 0.0
    own: Columns = {
        "stimulus_block": np.array([0, 2]),
        "stimulus_block_name": ["initial_gray_screen_5min", "post_behavior_gray_screen_5min"],
        "movie_frame_index": np.full(2, NO_INT),
        "movie_repeat": np.full(2, NO_INT),
        "start_frame": frames[:, 0],
        "end_frame": frames[:, 1],
    }
    return _without_task("spontaneous", shown[:, 0], shown[:, 1], own)


def _without_task(name: str, start: FloatArray, stop: FloatArray, own: Columns) -> Presentations:
    """Makes a group outside the task from its `own` columns and those that such groups share."""
    n = len(start)
    columns: Columns = {
        "start_time": start,
        "stop_time": stop,
        "stimulus_block": own["stimulus_block"],
        "stimulus_block_name": own["stimulus_block_name"],
        "image_index": np.full(n, NO_INT),
        "movie_frame_index": own["movie_frame_index"],
        "duration": stop - start,
        "start_frame": own["start_frame"],
        "end_frame": own["end_frame"],
        "movie_repeat": own["movie_repeat"],
        "flashes_since_change": np.full(n, NO_INT),
        "trials_id": np.full(n, NO_INT),
        "active": np.zeros(n, dtype=bool),
        "is_sham_change": np.zeros(n, dtype=bool),
        "stimulus_name": [name] * n,
    }
    return Presentations(f"{name}_presentations", _description(name), columns)


def legacy_presentations(
    session: Session, run: TaskRun, clock: Clock, image_set: ImageSet
) -> list[Presentations]:
    """Returns the task's presentations before 1.1.0: a group per image name, no gray and no movie.

    `end_frame` is float64 and null for omissions. A column that is null throughout a group was not
    written, so the group of omissions has none.
    """
    task = _task_arrays(session, run, clock)
    names = np.array([*image_set.images, "omitted"], dtype=object)
    image_index = np.where(task["omitted"], len(image_set.images), task["image"])
    groups: list[Presentations] = []
    for number in np.unique(image_index):
        name = str(names[number])
        rows = np.flatnonzero(image_index == number)
        columns: Columns = {
            "start_time": task["t0"][rows],
            "stop_time": task["t1"][rows],
            "duration": task["duration"][rows],
            "end_frame": task["end"][rows].astype(np.float64),
            "image_index": image_index[rows],
            "image_name": [name] * len(rows),
            "image_set": [image_set.name] * len(rows),
            "index": rows,
            "omitted": task["omitted"][rows],
            "start_frame": task["start"][rows],
        }
        if name == "omitted":
            del columns["end_frame"]
        if name.startswith("gratings_"):
            columns["orientation"] = np.full(len(rows), float(name.removeprefix("gratings_")))
        groups.append(Presentations(f"{name}_presentations", _description(name), columns))
    return groups


def shown_images(
    session: Session, run: TaskRun, clock: Clock
) -> tuple[NDArray[np.uint64], FloatArray]:
    """Returns number and start time (s) of every shown image, for `/stimulus/presentation`."""
    task = _task_arrays(session, run, clock)
    shown = ~task["omitted"]
    return task["image"][shown].astype(np.uint64), task["t0"][shown]


def task_parameters(
    session: Session, run: TaskRun, image_set: ImageSet, volume: float
) -> dict[str, Any]:
    """Attributes of `/general/task_parameters`: volumes in mL, durations as text in s."""
    static = is_static_grating(session)
    frames = (
        int(run.flashes.end[-1] - run.flashes.start[0])
        if static
        else IMAGE_FRAMES * int((~run.flashes.omitted).sum())
    )
    gratings = image_set.name == "grating"
    return {
        "auto_reward_volume": AUTO_REWARD_VOLUME,
        "blank_duration_sec": ["0.5", "0.5"],
        "n_stimulus_frames": frames,
        "omitted_flash_fraction": 0.05 if session.has_omissions else float("nan"),
        "response_window_sec": ["0.15", "0.75"],
        "reward_volume": volume,
        "session_type": session.session_type,
        "stimulus": "grating" if gratings else "images",
        "stimulus_distribution": "exponential" if gratings else "geometric",
        "stimulus_duration_sec": float("nan") if static else 0.25,
        "stimulus_name": image_set.stimulus_name,
        "task": "change detection",
    }


def _description(name: str) -> str:
    return (
        f"Presentation times and stimuli details for '{name}' stimuli. \n"
        "Note: image_name references control_description in stimulus/templates"
    )
