"""Licks, rewards, running and the stimulus clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.nwb.clock import goes_back
from pipelines.nwb.recording import Recording, Rows
from schemas.casts import NDArray, Ragged
from schemas.errors import DataError

_REWARDS = "/processing/rewards"
_RUNNING = "/processing/running"
_TABLES = {"speed": "running_speed", "speed_unfiltered": "raw_running_speed"}
_SAME_FRAME_S = 0.005


def licks(recording: Recording) -> Iterator[Rows]:
    """Licks; none if the session has no licking module."""
    times, frames = recording.licks
    yield Rows({"timestamps": times, "frame": frames}, len(times))


def rewards(recording: Recording) -> Iterator[Rows]:
    """Rewards; none if the session has no rewards module."""
    volume, times, free = read_rewards(recording)
    yield Rows({"volume": volume, "timestamps": times, "autorewarded": free}, len(times))


def read_rewards(recording: Recording) -> tuple[NDArray, NDArray, NDArray]:
    """Volume (mL), time (s) and whether it was free of each reward, in file order, shape (n,)."""
    hdf = recording.hdf
    if not hdf.has(_REWARDS):
        return np.empty(0), np.empty(0), np.empty(0, dtype=bool)
    times = hdf.read_numbers(f"{_REWARDS}/autorewarded/timestamps")
    volume = hdf.read_numbers(f"{_REWARDS}/volume/data", rows=len(times))
    return volume, times, hdf.read_numbers(f"{_REWARDS}/autorewarded/data", rows=len(times))


def frames_at(times: NDArray, clock: NDArray) -> NDArray:
    """Stimulus frame of each time, shape (n,); NaN where no frame is within 5 ms.

    The clocks of running and of the stimulus are the same to the last bit or two.

    Args:
        times: seconds, shape (n,).
        clock: time of each stimulus frame, ascending, seconds.

    >>> frames_at(np.array([0.0, 0.2500001, 0.4]), np.array([0.0, 0.25, 0.5])).tolist()
    [0.0, 1.0, nan]
    """
    if not len(clock):
        return np.full(len(times), np.nan)
    if len(times) <= len(clock) and np.array_equal(times, clock[: len(times)]):
        return np.arange(len(times))  # nearly all files, without a search
    after = np.clip(np.searchsorted(clock, times), 1, max(len(clock) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(clock) - 1)
    frame = np.where(times - clock[before] <= clock[after] - times, before, after)
    return np.where(np.abs(clock[frame] - times) <= _SAME_FRAME_S, frame, np.nan)


def _frames(recording: Recording, series: str, times: NDArray) -> NDArray:
    """Stimulus frames of running samples; NaN if the stimulus clock cannot be used."""
    try:
        clock = recording.stimulus_timestamps
    except DataError as error:
        problem = str(error)
    else:
        if not goes_back(clock).any():
            return frames_at(times, clock)
        problem = "the times of stimulus_timestamps go back or are missing"
    recording.warn(f"{_TABLES[series]}.frame is NULL: {problem}")
    return np.full(len(times), np.nan)


def read_running_speed(recording: Recording) -> tuple[NDArray, NDArray]:
    """Times (s) and filtered speed (cm/s) of all samples, each of shape (n_samples,)."""
    return _read_running(recording, "speed")


def _read_running(recording: Recording, series: str) -> tuple[NDArray, NDArray]:
    times = recording.hdf.read_numbers(f"{_RUNNING}/{series}/timestamps")
    speed = recording.hdf.read_numbers(f"{_RUNNING}/{series}/data", rows=len(times))
    # The encoders of some rigs were wired in reverse; the released reader flips each table
    # independently.
    present = speed[~np.isnan(speed)]
    if len(present) and np.mean(present) < -1:
        speed = -speed
    return times, speed


def _running(recording: Recording, series: str, times: NDArray, speed: NDArray) -> Iterator[Rows]:
    frames = _frames(recording, series, times)
    yield Rows({"timestamps": times, "speed": speed, "frame": frames}, len(times))


def running_speed(recording: Recording) -> Iterator[Rows]:
    """Filtered running speed, cm/s."""
    return _running(recording, "speed", *recording.once(read_running_speed))


def raw_running_speed(recording: Recording) -> Iterator[Rows]:
    """Unfiltered running speed, cm/s."""
    series = "speed_unfiltered"
    return _running(recording, series, *_read_running(recording, series))


def running_acquisition(recording: Recording) -> Iterator[Rows]:
    """Turn of the wheel and the voltages of its encoder, per stimulus frame."""
    times = recording.hdf.read_numbers(f"{_RUNNING}/dx/timestamps")
    sources = {"dx": f"{_RUNNING}/dx", "v_sig": "/acquisition/v_sig", "v_in": "/acquisition/v_in"}
    signals = {
        name: recording.hdf.read_numbers(f"{path}/data", rows=len(times))
        for name, path in sources.items()
    }
    yield Rows({"timestamps": times, **signals}, len(times))


def stimulus_timestamps(recording: Recording) -> Iterator[Rows]:
    """The stimulus clock as one list."""
    yield Rows({"timestamps": Ragged.one(recording.stimulus_timestamps)}, 1)
