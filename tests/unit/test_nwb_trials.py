"""Trials: what older releases and odd files hold. Every value of a released file is compared in
test_mini_reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    NAME,
    NAN,
    TRIALS,
    Content,
    behavior_file,
    column,
    columns,
    licks,
    metadata,
    old_behavior_file,
    problem,
    ragged,
    recording,
    series,
    trials,
    trials_of,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.nwb.trials import read_trials
from schemas.known_defects import Occurrence

TRIAL_FILE = metadata() | series() | licks() | trials()

EXPECTED = columns("trials", TRIAL_FILE)


def test_older_releases_give_the_same() -> None:
    # stimulus_change instead of is_change, change_frame as float with NaN.
    assert columns("trials", old_behavior_file()) == EXPECTED
    assert EXPECTED["stimulus_change"] == [True, False, False, True]
    assert EXPECTED["change_frame"] == [8, None, 32, 48]


def test_rows_keep_the_order_of_the_file_and_ids_may_be_narrow() -> None:
    content = TRIAL_FILE | {f"{TRIALS}/id": np.array([7, 3, 5, 250], dtype=np.uint8)}
    assert recording(content).once(read_trials).numbers("trials_id").tolist() == [7, 3, 5, 250]
    assert column("trials", content, "trials_id") == [7, 3, 5, 250]


def test_lick_events_are_dropped_and_new_columns_warned_of() -> None:
    content = TRIAL_FILE | {
        f"{TRIALS}/lick_events": np.zeros(9),
        f"{TRIALS}/lick_events_index": np.arange(4),
    }
    content |= {f"{TRIALS}/tags": ["a"] * 4, f"{TRIALS}/odd": np.zeros(4)}
    content[f"{TRIALS}@colnames"] = [*content[f"{TRIALS}@colnames"], "lick_events", "tags", "odd"]
    opened = recording(content)
    assert columns("trials", opened) == EXPECTED
    assert opened.warnings == [
        "trials.odd: the file has a column that this version of vblake does not know; it is not in the lake"
    ]


def test_a_passive_session_has_no_lick_in_any_trial() -> None:
    content = TRIAL_FILE | ragged(f"{TRIALS}/lick_times", [[], [], [], []])
    assert content[f"{TRIALS}/lick_times"] == [""]
    assert column("trials", content, "lick_times") == [[], [], [], []]
    empty = content | {f"{TRIALS}/lick_times": np.empty(0)}
    assert column("trials", empty, "lick_times") == [[], [], [], []]


def no_index(stored: list[float], session: list[float], starts: list[float]) -> Content:
    n = len(starts)
    content = metadata() | series() | trials_of(["miss"] * n, starts, [NAN] * n, [[]] * n)
    del content[f"{TRIALS}/lick_times_index"]
    times = {
        "/processing/licking/licks/timestamps": np.array(session),
        "/processing/licking/licks/data": np.array(session) * 4,
    }
    return content | {f"{TRIALS}/lick_times": np.array(stored)} | times


def test_licks_without_index_are_given_back_to_their_trials() -> None:
    # As many licks as trials: the writer drops the index. 0.5 is before the first trial, 1.0 on its start; 4.0, on the start of the
    # second, belongs to the first; 60.0, in the movie after the task, was in no trial.
    content = no_index([2.0, 2.5, 4.0], [0.5, 1.0, 2.0, 2.5, 4.0, 60.0], [1.0, 4.0, 9.0])
    opened = recording(content)
    assert column("trials", opened, "lick_times") == [[2.0, 2.5, 4.0], [], []]
    assert [found.defect for found in opened.known_defects] == ["lick-index-lost"]


@pytest.mark.parametrize(
    ("stored", "session", "starts"),
    [
        ([2.0, 5.0], [2.0, 5.5], [1.0, 4.0]),  # other licks than the session's
        ([0.5, 5.0], [0.5, 5.0], [1.0, 4.0]),  # one before the first trial
    ],
)
def test_licks_that_cannot_be_given_back_are_an_error(
    stored: list[float], session: list[float], starts: list[float]
) -> None:
    text = problem("trials", no_index(stored, session, starts))
    after = sum(s > starts[0] for s in session)
    assert text == (
        f"file {NAME}, column {TRIALS}/lick_times_index: the index of the trials' licks is missing and cannot be reconstructed; "
        "expected the 2 stored licks to be the session's after the first trial's start; "
        f"found {len(session)} licks, {after} of them after the first trial's start, which differ"
    )


def rebuilt_by_loop(session: list[float], starts: list[float]) -> list[list[float]]:
    """A trial has the licks in (start, next start]; the last trial takes what is left."""
    ends = [*starts[1:], float("inf")]
    return [
        [t for t in session if start < t <= end] for start, end in zip(starts, ends, strict=True)
    ]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True), st.data())
def test_rebuilt_licks_are_those_of_a_loop(start_frames: list[int], data: st.DataObject) -> None:
    starts = [f / 4 for f in sorted(start_frames)]
    n, first = len(starts), min(start_frames)
    inside = data.draw(st.lists(st.integers(first + 1, 60), min_size=n, max_size=n, unique=True))
    before = data.draw(st.lists(st.integers(0, first), max_size=3, unique=True))
    stored = [f / 4 for f in sorted(inside)]
    session = [f / 4 for f in sorted(before)] + stored
    assert column("trials", no_index(stored, session, starts), "lick_times") == rebuilt_by_loop(
        session, starts
    )


DAMAGED = f"file {NAME}, column {TRIALS}/lick_times_index: a ragged index is damaged; expected integers that ascend to the number of items, 3; "


@pytest.mark.parametrize(
    ("index", "found"),
    [
        (np.array([2, 1, 3, 3], dtype=np.uint8), "uint8 from 1 to 3, last 3"),
        (np.array([2.5, 3, 3, 3]), "float64 from 2.5 to 3.0, last 3.0"),
    ],
)
def test_a_damaged_index_is_an_error(index: Any, found: str) -> None:
    assert (
        problem("trials", TRIAL_FILE | {f"{TRIALS}/lick_times_index": index})
        == f"{DAMAGED}found {found}"
    )


def test_change_times_that_an_old_file_lacks_are_null_and_said_to_be() -> None:
    # NWB files before release 1.1.0 may lack both; the release notes call them new.
    content = behavior_file()
    names = [
        n for n in content[f"{TRIALS}@colnames"] if n not in ("change_time", "response_latency")
    ]
    old = recording(
        without(content, f"{TRIALS}/change_time", f"{TRIALS}/response_latency")
        | {f"{TRIALS}@colnames": names}
    )
    assert columns("trials", old, "change_time", "response_latency", "hit") == {
        "change_time": [None] * 4,
        "response_latency": [None] * 4,
        "hit": [True, False, False, False],
    }
    assert column("rolling_performance", old, "reward_rate") == [None] * 4
    assert old.known_defects == [
        Occurrence(
            name,
            "trials",
            "the file has no such column; it is NULL, and so is what is computed from it",
        )
        for name in ("no-change-time", "no-response-latency")
    ]
