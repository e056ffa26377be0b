"""Licks, rewards, running and the stimulus clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.nwb.recording import Recording, Rows
from schemas.casts import NDArray, Ragged

_REWARDS = "/processing/rewards"
_RUNNING = "/processing/running"


def licks(recording: Recording) -> Iterator[Rows]:
    """Licks; none if the session has no licking module."""
    times, frames = recording.licks
    yield Rows({"timestamps": times, "frame": frames}, len(times))


def rewards(recording: Recording) -> Iterator[Rows]:
    """Rewards; none if the session has no rewards module."""
    volume, times, free = read_rewards(recording)
    yield Rows({"volume": volume, "timestamps": times, "autorewarded": free}, len(times))


def read_rewards(recording: Recording) -> tuple[NDArray, NDArray, NDArray]:
    """Volume (mL), time (s) and whether free of each reward, in file order."""
    hdf = recording.hdf
    if not hdf.has(_REWARDS):
        return np.empty(0), np.empty(0), np.empty(0, dtype=bool)
    times = hdf.read_numbers(f"{_REWARDS}/autorewarded/timestamps")
    volume = hdf.read_numbers(f"{_REWARDS}/volume/data", rows=len(times))
    return volume, times, hdf.read_numbers(f"{_REWARDS}/autorewarded/data", rows=len(times))


def _running(recording: Recording, series: str) -> Iterator[Rows]:
    times = recording.hdf.read_numbers(f"{_RUNNING}/{series}/timestamps")
    speed = recording.hdf.read_numbers(f"{_RUNNING}/{series}/data", rows=len(times))
    # The encoders of some rigs were wired in reverse; the released reader flips each table
    # independently.
    present = speed[~np.isnan(speed)]
    if len(present) and np.mean(present) < -1:
        speed = -speed
    yield Rows({"timestamps": times, "speed": speed}, len(times))


def running_speed(recording: Recording) -> Iterator[Rows]:
    """Filtered running speed, cm/s."""
    return _running(recording, "speed")


def raw_running_speed(recording: Recording) -> Iterator[Rows]:
    """Unfiltered running speed, cm/s."""
    return _running(recording, "speed_unfiltered")


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
