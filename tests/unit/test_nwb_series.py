"""Licks, rewards, running and the stimulus clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    NAME,
    NAN,
    column,
    columns,
    licks,
    metadata,
    problem,
    recording,
    series,
    without,
)

RUNNING = "/processing/running"


def test_a_passive_session_has_no_licks_and_no_rewards() -> None:
    passive = without(metadata() | series(), "/processing/rewards")
    assert columns("licks", passive) == {"timestamps": [], "frame": []}
    assert columns("rewards", passive) == {"volume": [], "timestamps": [], "autorewarded": []}


def test_frames_of_licks_go_with_their_times() -> None:
    path = "/processing/licking/licks/data"
    assert problem("licks", metadata() | licks() | {path: np.array([11, 22, 12])}) == (
        f"file {NAME}, column {path}: frames go backwards; expected frames that ascend with the times; found 12 after 22, row 2"
    )


def test_times_of_rewards_are_those_of_autorewarded() -> None:
    content = (
        metadata()
        | series()
        | {
            "/processing/rewards/volume/data": np.array([0.005, 0.007]),
            "/processing/rewards/volume/timestamps": np.array([8.0, 9.0]),
            "/processing/rewards/autorewarded/data": np.array([True, False]),
            "/processing/rewards/autorewarded/timestamps": np.array([1.0, 2.0]),
        }
    )
    assert columns("rewards", content) == {
        "volume": [0.005, 0.007],
        "timestamps": [1.0, 2.0],
        "autorewarded": [True, False],
    }


def test_raw_signals_of_the_wheel_share_its_clock() -> None:
    assert columns("running_acquisition", metadata() | series()) == {
        "timestamps": [0.0, 0.25, 0.5],
        "dx": [0.5, -0.25, 0.0],
        "v_sig": [1.25, 1.5, 1.0],
        "v_in": [5.0, 5.0, 4.5],
    }


@pytest.mark.parametrize(
    ("stored", "delivered"),
    [
        ([-4.0, NAN, 1.0], [4.0, None, -1.0]),  # mean -1.5
        ([-4.0, 2.0], [-4.0, 2.0]),  # mean -1: not below
        ([NAN, NAN], [None, None]),
        ([], []),
    ],
)
def test_running_backwards_is_flipped(stored: list[float], delivered: list[float | None]) -> None:
    content = metadata() | {
        f"{RUNNING}/speed/data": np.array(stored),
        f"{RUNNING}/speed/timestamps": np.arange(len(stored)) / 60,
    }
    assert column("running_speed", content, "speed") == delivered


def test_samples_of_running_have_stimulus_frames() -> None:
    content = metadata() | series()
    last_bit = np.array([0.25, np.nextafter(0.5, 1), 0.6])
    content[f"{RUNNING}/speed_unfiltered/timestamps"] = last_bit
    assert column("running_speed", content, "frame") == [0, 1, 2]
    assert column("raw_running_speed", content, "frame") == [1, 2, None]


@pytest.mark.parametrize("damaged", [None, np.array([0.0, 0.5, 0.25])])
def test_without_a_stimulus_clock_samples_have_no_frame(damaged: Any) -> None:
    path = "/processing/stimulus/timestamps/timestamps"
    content = without(metadata() | series(), path) | ({} if damaged is None else {path: damaged})
    opened = recording(content)
    assert column("running_speed", opened, "frame") == [None] * 3
    assert opened.warnings[0].startswith("running_speed.frame is NULL: ")


def test_each_running_table_is_flipped_on_its_own() -> None:
    content = metadata() | series() | {f"{RUNNING}/speed/data": np.array([-5.0, -5.0, -5.0])}
    assert column("running_speed", content, "speed") == [5.0, 5.0, 5.0]
    assert column("raw_running_speed", content, "speed") == [2.0, 3.0, -1.0]


def test_the_stimulus_clock_is_one_list() -> None:
    clock = np.array([0.1, 0.2, 0.30000000000000004])
    content = metadata() | {"/processing/stimulus/timestamps/timestamps": clock}
    assert column("stimulus_timestamps", content, "timestamps") == [clock.tolist()]
    assert recording(content).stimulus_timestamps.tolist() == clock.tolist()
