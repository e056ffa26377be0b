"""Annotations of presentations: what happened at each flash of the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.nwb import (
    EYE,
    INF,
    behavior_file,
    column,
    columns,
    eye_tracking,
    old_behavior_file,
    read,
    recording,
    without,
)

from pipelines.nwb.annotations import relative_size
from pipelines.nwb.recording import open_recording
from schemas import TABLES

TABLE = "presentation_annotations"
RESPONSES = Path(__file__).parents[3] / "shared" / "reference" / "responses"
BUCKET = RESPONSES.parent / "bucket"
FILES = {p.stem.rpartition("_")[2]: p for p in BUCKET.rglob("behavior_ophys_experiment_*.nwb")}

# Starts: im065 1.25, im077 2.25, omitted 3.25, im077 4.25 and 8.25 (sham change), im065 12.25.


def test_each_flash_of_the_task_has_its_licks_reward_and_trial() -> None:
    got = columns(TABLE, behavior_file())
    assert got["stimulus_presentations_id"] == [1, 2, 3, 4, 5, 6]  # neither gray screen nor movie
    assert got["licks"] == [[], [2.75], [], [], [], []]  # that at 3.0 comes 0.75 s later: too late
    assert got["licked"] == [False, True, False, False, False, False]
    assert got["lick_latency"] == [None, 0.5, None, None, None, None]
    assert got["rewarded"] == [False, True, False, False, False, False]
    assert got["change_trials_id"] == [None, 0, None, None, 2, 3]
    assert got["hit"] == [None, True, None, None, False, False]
    assert got["catch"] == [None, False, None, None, True, False]
    assert got["reward_time"] == [None, 2.75, None, None, None, None]


def test_each_flash_knows_what_came_before_and_after() -> None:
    got = columns(TABLE, behavior_file())
    assert got["time_from_last_change"] == [None, 0.0, 1.0, 2.0, 6.0, 0.0]
    assert got["time_from_last_lick"] == [None, None, 0.25, 1.25, 2.75, 6.75]
    assert got["time_from_last_omitted"] == [None, None, 0.0, 1.0, 5.0, 9.0]
    assert got["stimulus_count_within_trial"] == [0, 1, 2, 3, 0, 0]
    assert got["previous_image_name"] == [None, "im065", "im077", "omitted", "im077", "im077"]
    assert got["previous_response_on_trial"] == [False, False, True, True, False, False]
    assert got["pre_omitted"] == [False, True, False, False, False, None]
    assert got["post_omitted"] == [None, False, False, True, False, False]
    assert got["lick_on_next_flash"] == [True, False, False, False, False, None]
    assert got["epoch"] == [0] * 6


def test_the_first_ten_trials_have_no_rate_but_count_as_engaged() -> None:
    got = columns(TABLE, behavior_file(), "reward_rate", "engaged")
    assert got == {"reward_rate": [None] * 6, "engaged": [True] * 6}


def test_files_without_block_names_give_all_images() -> None:
    assert column(TABLE, old_behavior_file(), "licks") == [[], [2.75], [], [], [], []]


def test_without_change_times_what_needs_them_is_null() -> None:
    content = without(behavior_file(), "/intervals/trials/change_time")
    got = columns(TABLE, content, "change_trials_id", "hit", "reward_rate", "licked")
    assert got.pop("licked") == [False, True, False, False, False, False]
    assert all(values == [None] * 6 for values in got.values())


def test_damaged_running_costs_its_column_only() -> None:
    speed = "/processing/running/speed"
    damaged = recording(behavior_file() | {f"{speed}/timestamps": np.array([0.0, 0.5, 0.25])})
    assert column(TABLE, damaged, "mean_running_speed") == [None] * 6
    assert damaged.warnings[-1].startswith("presentation_annotations: mean_running_speed is NULL: ")
    assert column(TABLE, recording(without(behavior_file(), speed)), "licked")[1] is True


def test_damaged_eye_tracking_costs_its_columns_only() -> None:
    content = without(behavior_file(), EYE) | eye_tracking([7.0] * 6, [1.0] * 6)
    content[f"{EYE}/pupil_tracking/width"] = np.zeros(5)
    opened = recording(content)
    assert column(TABLE, opened, "mean_pupil_area") == [None] * 6
    assert "mean_pupil_width, mean_pupil_area are NULL" in opened.warnings[-1]


@pytest.mark.parametrize(
    ("table", "lost"),
    [
        ("running_speed", "mean_running_speed is"),
        ("eye_tracking", "mean_pupil_width, mean_pupil_area are"),
    ],
)
def test_a_table_that_is_held_back_gives_no_means(table: str, lost: str) -> None:
    speed = {f"/processing/running/speed/{n}": np.arange(20) / 4 for n in ("timestamps", "data")}
    content = without(behavior_file(), EYE) | eye_tracking([7.0] * 20, [1.0] * 20) | speed
    means = ("mean_running_speed", "mean_pupil_width", "mean_pupil_area")
    whole, opened = columns(TABLE, content, *means), recording(content)
    opened.held_back.add(table)
    got = columns(TABLE, opened, *means)
    assert opened.warnings == [f"presentation_annotations: {lost} NULL: {table} is held back"]
    for name in means:
        assert got[name] == ([None] * 6 if name in lost else whole[name])
    assert whole["mean_running_speed"] != [None] * 6


def test_the_pupil_is_relative_to_the_gray_screen_before_the_task() -> None:
    size = np.array([np.nan, 2.0, np.nan, 4.0, 6.0, np.nan])
    times = np.arange(6.0) * 100
    # 4 minutes before 300 s: frames 1 (nearest to 60 s) and 2, the blink of which becomes 3.
    assert relative_size(size, times, 300.0).tolist()[1:] == [0.8, 1.2, 1.6, 2.4, 2.4]
    assert np.isnan(relative_size(size, times, 0.0)).all()  # no gray screen


NOT_ALIKE = {"mean_pupil_width", "engagement_state"}
"""Columns of the package that docs/formulas.md lists: of other moments, and left out."""


def test_the_page_says_which_columns_of_the_package_are_not_alike() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formulas.md").read_text(encoding="utf-8")
    section = page.partition("## presentation_annotations")[2].partition("\n## ")[0]
    assert all(f"`{name}`" in section for name in (*NOT_ALIKE, "end_time"))


@pytest.mark.parametrize("experiment", sorted(FILES))
def test_the_reference(experiment: str) -> None:
    expected = pq.read_table(RESPONSES / experiment / "annotated_presentations.parquet")
    ids = expected.column("stimulus_presentations_id").to_pylist()
    got: dict[str, list[Any]] = {}
    with open_recording(FILES[experiment], "file") as opened:
        for table in ("stimulus_presentations", TABLE):
            rows = read(table, opened)
            place = {n: row for row, n in enumerate(rows["stimulus_presentations_id"].to_pylist())}
            rows = rows.take([place[n] for n in ids])
            got |= {c: rows.column(c).to_pylist() for c in rows.column_names}
    got |= {c.alias: got[c.name] for c in TABLES["stimulus_presentations"] if c.alias}
    names = set(expected.column_names) - NOT_ALIKE
    assert names <= set(got)
    sentinels = {c.name: c.sentinels for c in TABLES["stimulus_presentations"]}
    for name in names:
        gone = (INF, "", *sentinels.get(name, ()))
        want = [None if v != v or v in gone else v for v in expected.column(name).to_pylist()]
        if name == "mean_running_speed":
            assert got[name] == pytest.approx(want, rel=1e-12)
        else:
            assert got[name] == want, name
