"""Stimulus presentations: both layouts, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    IMAGES,
    NAME,
    NAN,
    OPHYS,
    TEMPLATE,
    TRIALS,
    Content,
    behavior_file,
    column,
    columns,
    dynamic_table,
    metadata,
    old_behavior_file,
    problem,
    recording,
    series,
    templates,
    trials,
    trials_of,
    whole_file,
    without,
)

TABLE = "stimulus_presentations"
GROUP = f"/intervals/{IMAGES}_presentations"
MOVIE = "/intervals/natural_movie_one_presentations"
GROUPS = (GROUP, MOVIE, "/intervals/spontaneous_presentations")
RECEPTIVE_FIELD = (
    "temporal_frequency",
    "contrast",
    "position_x",
    "position_y",
    "color",
    "stimulus_index",
    "repeat",
    "rewarded",
)


def test_changes_are_computed_again_whatever_the_file_stores() -> None:
    opened = recording(behavior_file())  # stores is_change true and flashes_since_change 55
    got = columns(TABLE, opened)
    assert got["is_change"] == [False, False, True, False, False, False, True, False, False]
    # The gray screen is row 0, so the first image has 1; the omission keeps the 0 of the change
    # before it; the movie goes on counting.
    assert got["flashes_since_change"] == [0, 1, 0, 0, 1, 2, 0, 1, 2]
    assert opened.warnings == []


def test_releases_before_1_1_0() -> None:
    none = [None] * 6
    assert columns(TABLE, old_behavior_file()) == {
        "stimulus_presentations_id": list(range(6)),
        "stimulus_block": none,
        "stimulus_block_name": none,
        "image_index": [0, 1, 2, 1, 1, 0],
        "image_name": ["im065", "im077", "omitted", "im077", "im077", "im065"],
        "image_set": [TEMPLATE, TEMPLATE, "omitted", TEMPLATE, TEMPLATE, TEMPLATE],
        "index": [100, 101, 102, 103, 104, 105],
        "movie_frame_index": none,
        "movie_repeat": none,
        "duration": [0.25] * 6,
        "start_time": [1.25, 2.25, 3.25, 4.25, 8.25, 12.25],
        "stop_time": [1.5, 2.5, 3.5, 4.5, 8.5, 12.5],
        "start_frame": [4, 8, 12, 16, 32, 48],
        "end_frame": [5, 9, None, 17, 33, 49],
        "is_change": [False, True, False, False, False, True],
        "is_image_novel": none,
        "omitted": [False, False, True, False, False, False],
        "flashes_since_change": [0, 0, 0, 1, 2, 0],
        "trials_id": [0, 0, 0, 0, 2, 3],
        "active": [True] * 6,
        "is_sham_change": none,
        "stimulus_name": none,
        "orientation": none,
        "phase": none,
        "spatial_frequency": none,
        **dict.fromkeys(RECEPTIVE_FIELD, none),
    }


def test_gratings() -> None:
    shown = {
        "start_time": np.array([1.0, 3.0, 6.0]),
        "stop_time": np.array([3.0, 6.0, 7.0]),
        "stimulus_name": ["grating"] * 3,
        "stimulus_block": np.zeros(3, dtype=np.int64),
        "image_index": np.array([0, 1, 0]),
        "image_name": ["gratings_0.0", "gratings_90.0", "gratings_0.0"],
        "duration": np.array([2.0, 3.0, 1.0]),
        "start_frame": np.array([4, 12, 24]),
        "end_frame": np.array([12, 24, 28]),
        "omitted": np.zeros(3, dtype=bool),
        "orientation": np.array([0.0, 90.0, 0.0]),
        "phase": np.zeros(3),
    }
    content = metadata() | series() | trials() | templates("grating")
    got = columns(TABLE, content | dynamic_table("/intervals/grating_presentations", shown))
    assert got["orientation"] == [0.0, 90.0, 0.0]
    # Only zeros: the released reader makes true/false of such a column.
    assert got["phase"] == [0.0, 0.0, 0.0]
    assert got["image_set"] == ["grating"] * 3
    assert got["is_change"] == [False, True, True]
    assert got["flashes_since_change"] == [0, 0, 0]
    assert got["movie_repeat"] == [None] * 3


def receptive_field() -> dict[str, Any]:
    """Two patches of grating and two full-field flashes after the movie of `behavior_file`."""

    def block(name: str, start: list[float], values: dict[str, Any]) -> dict[str, Any]:
        times = np.array(start)
        shown: dict[str, Any] = {
            "start_time": times,
            "stop_time": times + 0.25,
            "stimulus_block": np.full(2, 4 + values["stimulus_index"][0]),
            "stimulus_block_name": ["receptive_field_mapping"] * 2,
            "image_index": np.full(2, -99),
            "duration": np.full(2, 0.25),
            "start_frame": (times * 4).astype(np.int64),
            "end_frame": (times * 4 + 1).astype(np.int64),
            "trials_id": np.full(2, -99),
            "active": np.zeros(2, dtype=bool),
            "is_sham_change": np.zeros(2, dtype=bool),
            "stimulus_name": [name] * 2,
            "rewarded": np.array([0.0, NAN]),
        }
        return dynamic_table(f"/intervals/{name}_presentations", shown | values)

    return block(
        "gabor_20_deg_250ms",
        [16.0, 16.25],
        {
            "stimulus_index": np.zeros(2, dtype=np.int64),
            "repeat": np.array([0, 1]),
            "orientation": np.array([0.0, 45.0]),
            "spatial_frequency": np.full(2, 0.08),
            "temporal_frequency": np.full(2, 4.0),
            "contrast": np.full(2, 0.8),
            "position_x": np.array([-40.0, 10.0]),
            "position_y": np.array([30.0, -20.0]),
        },
    ) | block(
        "flash_250ms",
        [16.5, 16.75],
        {"stimulus_index": np.ones(2, dtype=np.int64), "color": np.array([-1.0, 1.0])},
    )


def test_movies_and_receptive_field_stimuli_lose_no_row_and_no_column() -> None:
    opened = recording(behavior_file() | receptive_field())
    got = columns(TABLE, opened)
    assert opened.warnings == []
    before = columns(TABLE, behavior_file())
    assert {name: values[:9] for name, values in got.items()} == before
    last = {name: values[9:] for name, values in got.items()}
    assert last["start_time"] == [16.0, 16.25, 16.5, 16.75]
    assert last["stimulus_name"] == ["gabor_20_deg_250ms"] * 2 + ["flash_250ms"] * 2
    assert last["stimulus_block"] == [4, 4, 5, 5]
    assert last["orientation"] == [0.0, 45.0, None, None]
    assert last["spatial_frequency"] == [0.08, 0.08, None, None]
    assert {name: last[name] for name in RECEPTIVE_FIELD} == {
        "temporal_frequency": [4.0, 4.0, None, None],
        "contrast": [0.8, 0.8, None, None],
        "position_x": [-40.0, 10.0, None, None],
        "position_y": [30.0, -20.0, None, None],
        "color": [None, None, -1.0, 1.0],
        "stimulus_index": [0, 0, 1, 1],
        "repeat": [0, 1, None, None],
        "rewarded": [False, None, False, None],
    }
    # They are no images, so they neither change nor belong to a set.
    assert last["is_change"] == [False] * 4
    for name in ("image_name", "image_set", "image_index", "omitted", "movie_repeat", "trials_id"):
        assert last[name] == [None] * 4, name


def test_rows_come_in_time_order_and_ties_in_the_order_of_groups() -> None:
    numbers = ("image_index", "duration", "start_frame", "end_frame", "omitted", "stop_time")
    content = metadata() | trials()
    for name, start in (("b", [3.0, 1.0]), ("a", [5.0, 1.0])):
        rows = {"start_time": np.array(start), "image_name": [name, name]}
        rows |= {number: np.zeros(2) for number in numbers}
        content |= dynamic_table(f"/intervals/{name}_presentations", rows)
    assert column(TABLE, content, "start_time") == [1.0, 1.0, 3.0, 5.0]
    assert column(TABLE, content, "image_name") == ["a", "b", "b", "a"]


def test_integers_missing_in_one_group_stay_integers() -> None:
    content = without(
        behavior_file(),
        f"{MOVIE}/start_frame",
        f"{MOVIE}/stimulus_block",
        f"{GROUP}/movie_repeat",
        f"{GROUP}/trials_id",
    )
    got = columns(TABLE, content)
    assert got["start_frame"] == [0, 4, 8, 12, 16, 32, 48, None, None]
    assert got["stimulus_block"] == [0, 1, 1, 1, 1, 1, 1, None, None]
    assert got["movie_repeat"] == [*[None] * 7, 0, 0]
    assert got["trials_id"] == [None] * 9


def test_the_word_n_a_is_a_name_without_letters() -> None:
    content = behavior_file() | {
        f"{GROUP}/image_name": ["im065", "N/A", "omitted", "N/A", "", "im065"]
    }
    got = columns(TABLE, content)
    assert got["image_name"] == [None, "im065", None, "omitted", None, None, "im065", None, None]
    assert got["is_change"] == [False, False, True, False, False, False, True, False, False]
    # It counts as a name where the trials are made up for.
    gone = [f"{group}/{name}" for group in GROUPS for name in ("active", "trials_id")]
    made = column(TABLE, without(content, *gone), "trials_id")
    assert made == [None, 0, 0, 0, 0, 2, 3, None, None]


def test_template_names_in_capitals() -> None:
    name = "Natural_Images_Lum_Matched_set_TRAINING_2017.07.14"
    stimulus = {f"{GROUP}/stimulus_name": ["Natural_Images_Lum_Matched_set_training_2017"] * 6}
    content = without(behavior_file(), "/stimulus") | stimulus | templates(name)
    # Omissions, here the third flash, belong to no set, as in files that store it.
    expected = [None, name, name, "omitted", name, name, name, None, None]
    assert column(TABLE, content, "image_set") == expected


def test_new_columns_are_warned_of() -> None:
    content = behavior_file() | {f"{GROUP}/odd": np.zeros(6)}
    content[f"{GROUP}@colnames"] = [*content[f"{GROUP}@colnames"], "odd"]
    opened = recording(content)
    columns(TABLE, opened)
    assert opened.warnings == [
        "stimulus_presentations.odd: the file has a column that this version of vblake does not know; it is not in the lake"
    ]


def test_made_again_they_are_what_the_file_stores() -> None:
    content = behavior_file()
    made_up = ("active", "trials_id", "is_sham_change")
    gone = [f"{group}/{name}" for group in GROUPS for name in made_up]
    made = columns(TABLE, without(content, *gone))
    assert made == columns(TABLE, content)


def test_without_trials_nothing_is_made_up() -> None:
    got = columns(TABLE, without(old_behavior_file(), TRIALS))
    assert got["trials_id"] == got["active"] == got["is_sham_change"] == [None] * 6
    empty = without(old_behavior_file(), TRIALS) | trials_of([], [], [], [])
    empty |= {
        f"{TRIALS}/{name}": np.empty(0, dtype="S1")
        for name in ("initial_image_name", "change_image_name")
    }
    assert columns(TABLE, empty)["trials_id"] == [None] * 6


@pytest.mark.parametrize("name", ["image_name", "stop_time"])
def test_a_column_that_no_group_has_is_an_error(name: str) -> None:
    content = without(behavior_file(), *[f"{group}/{name}" for group in GROUPS])
    assert problem(TABLE, content) == (
        f"file {NAME}, column /intervals/*_presentations/{name}: a column is missing; expected it in at least one group; found it in none"
    )


def test_no_group_at_all() -> None:
    assert problem(TABLE, metadata() | trials()) == (
        f"file {NAME}, column /intervals/*_presentations: no stimulus presentations; expected at least one group; found none"
    )


# Starts: gray screen 0.0, im065 1.25, im077 2.25, omitted 3.25, im077 4.25 and 8.25, im065 12.25,
# two movie frames 302.25 and 302.5.
CLOCK = f"{OPHYS}/dff/traces/timestamps"
FRAMES_TABLE = "presentation_frames"


def _with_clock(*times: float) -> Content:
    return whole_file() | {CLOCK: np.array(times)}


def test_a_presentation_starts_at_the_first_frame_that_is_not_before_it() -> None:
    got = columns(FRAMES_TABLE, _with_clock(1.0, 2.25, 4.0, 5.0, 13.0))
    assert got == {
        "stimulus_presentations_id": list(range(9)),
        "onset_frame": [None, 1, 1, 2, 3, 4, 4, None, None],
        "next_onset_frame": [1, 1, 2, 3, 4, 4, None, None, None],
    }


def test_a_time_without_traces_is_no_frame() -> None:
    got = column(FRAMES_TABLE, _with_clock(1.0, 2.25, 4.0, 5.0, 13.0, 303.0), "onset_frame")
    assert got[-3:] == [4, None, None]


def test_frames_need_a_clock_that_does_not_go_back() -> None:
    error = problem(FRAMES_TABLE, _with_clock(1.0, 2.25, 2.0, 5.0, 13.0))
    assert "times go back or are missing" in error
    assert CLOCK in error
