"""Metadata dictionaries and task parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np
import pytest
from builders.nwb import (
    CELLS,
    IMAGES,
    NAME,
    NAN,
    column,
    columns,
    experiment_file,
    metadata,
    problem,
    recording,
    without,
)

from pipelines.nwb.metadata import image_set_of
from schemas.known_defects import Occurrence

M = "/general/metadata"
SUBJECT = "/general/subject"
TASK = "/general/task_parameters"
PLANE = "/general/optophysiology/imaging_plane_1"

BEHAVIOR: dict[str, list[Any]] = {
    "equipment_name": ["CAM2P.4"],
    "sex": ["F"],
    "age_in_days": [213],
    "stimulus_frame_rate": [60.0],
    "session_type": ["OPHYS_1_images_A"],
    "date_of_acquisition": [datetime(2020, 2, 3, 12, 5, 6, 250000, tzinfo=UTC)],
    "reporter_line": ["Ai93(TITL-GCaMP6f)"],
    "cre_line": ["Slc17a7-IRES2-Cre"],
    "behavior_session_uuid": ["c428be61-87d2-44f6-b00d-3401f28fa201"],
    "driver_line": [["Camk2a-tTA", "Slc17a7-IRES2-Cre"]],
    "project_code": ["VisualBehavior"],
    "full_genotype": ["Slc17a7-IRES2-Cre/wt;Camk2a-tTA/wt;Ai93(TITL-GCaMP6f)/wt"],
}
EXPERIMENT: dict[str, list[Any]] = {
    "indicator": ["GCaMP6f"],
    "emission_lambda": [520.0],
    "excitation_lambda": [910.0],
    "experiment_container_id": [7001],
    "field_of_view_height": [3],
    "field_of_view_width": [4],
    "imaging_depth": [150],
    "targeted_imaging_depth": [152],
    "imaging_plane_group": [1],
    "imaging_plane_group_count": [2],
    "ophys_frame_rate": [11.0],
    "targeted_structure": ["VISp"],
}


def test_behavior_metadata() -> None:
    assert columns("behavior_metadata", metadata()) == BEHAVIOR
    assert columns("behavior_metadata", experiment_file()) == BEHAVIOR


def test_experiment_metadata() -> None:
    assert columns("experiment_metadata", experiment_file()) == BEHAVIOR | EXPERIMENT


def test_experiments_before_1_1_0() -> None:
    old = without(
        experiment_file(),
        f"{M}@ophys_container_id",
        f"{M}@targeted_imaging_depth",
        f"{M}@project_code",
    )
    old[f"{M}@experiment_container_id"] = np.int64(7009)
    changed = {
        "experiment_container_id": [7009],
        "targeted_imaging_depth": [None],
        "project_code": ["Not Available"],
    }
    assert columns("experiment_metadata", old) == BEHAVIOR | EXPERIMENT | changed


def test_a_single_plane_has_no_group() -> None:
    for count in (0, 1):
        content = experiment_file() | {
            f"{M}@imaging_plane_group": np.int64(-1),
            f"{M}@imaging_plane_group_count": np.int64(count),
        }
        got = columns("experiment_metadata", content)
        assert (got["imaging_plane_group"], got["imaging_plane_group_count"]) == ([None], [0])


def test_words_for_unknown_are_null() -> None:
    content = metadata() | {
        f"{SUBJECT}/age": "null",
        f"{M}@behavior_session_uuid": "None",
        f"{SUBJECT}@reporter_line": "None",
    }
    got = columns("behavior_metadata", content)
    assert (got["age_in_days"], got["behavior_session_uuid"], got["reporter_line"]) == (
        [None],
        [None],
        [None],
    )
    assert column(
        "experiment_metadata", experiment_file() | {f"{SUBJECT}@reporter_line": "None"}, "indicator"
    ) == [None]


def test_driver_lines() -> None:
    assert column(
        "behavior_metadata", without(metadata(), f"{SUBJECT}@driver_line"), "driver_line"
    ) == [None]
    assert column(
        "behavior_metadata", metadata() | {f"{SUBJECT}@driver_line": "Sst-IRES-Cre"}, "driver_line"
    ) == [["Sst-IRES-Cre"]]


def test_what_is_no_uuid() -> None:
    assert problem("behavior_metadata", metadata() | {f"{M}@behavior_session_uuid": "unknown"}) == (
        f"file {NAME}, column {M}@behavior_session_uuid: a value is no UUID; expected a UUID or None; found 'unknown'"
    )


@pytest.mark.parametrize(
    ("stored", "utc"),
    [
        ("2020-02-03T04:05:06", datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2020-02-03T04:05:06.5+02:00", datetime(2020, 2, 3, 2, 5, 6, 500000, tzinfo=UTC)),
    ],
)
def test_dates_are_in_utc(stored: str, utc: datetime) -> None:
    assert column(
        "behavior_metadata", metadata() | {"/session_start_time": stored}, "date_of_acquisition"
    ) == [utc]


@pytest.mark.parametrize(
    ("session_type", "image_set"),
    [
        ("OPHYS_1_images_A", "images_A"),
        ("OPHYS_2_images_B_passive", "images_B"),
        ("TRAINING_0_gratings_autorewards_15min", "gratings"),
        ("OPHYS_7_receptive_field_mapping", None),
    ],
)
def test_image_sets(session_type: str, image_set: str | None) -> None:
    assert image_set_of(session_type) == image_set


def test_task_parameters() -> None:
    assert columns("task_parameters", metadata()) == {
        "auto_reward_volume": [0.005],
        "blank_duration_sec": [[0.5, 0.5]],
        "image_set": ["images_A"],
        "n_stimulus_frames": [80],
        "omitted_flash_fraction": [0.05],
        "response_window_sec": [[0.15, 0.75]],
        "reward_volume": [0.007],
        "session_type": ["OPHYS_1_images_A"],
        "stimulus": ["images"],
        "stimulus_distribution": ["geometric"],
        "stimulus_duration_sec": [0.25],
        "stimulus_name": [IMAGES],
        "task": ["change detection"],
    }


def test_task_parameters_of_gratings_of_an_older_release() -> None:
    content = without(metadata(), f"{TASK}@stimulus_name") | {
        f"{TASK}@session_type": "TRAINING_1_gratings",
        f"{TASK}@stimulus_duration_sec": NAN,
        f"{TASK}@omitted_flash_fraction": NAN,
    }
    opened = recording(content)
    got = columns("task_parameters", opened)
    assert (got["stimulus_name"], got["stimulus_duration_sec"], got["omitted_flash_fraction"]) == (
        [None],
        [None],
        [None],
    )
    assert got["image_set"] == ["gratings"]
    assert (opened.warnings, opened.known_defects) == ([], [])


def test_an_unusual_session_type_is_no_error() -> None:
    opened = recording(metadata() | {f"{TASK}@session_type": "OPHYS_7_receptive_field_mapping"})
    assert column("task_parameters", opened, "image_set") == [None]
    assert opened.known_defects == [
        Occurrence(
            "session-type-without-images",
            "task_parameters",
            "session type OPHYS_7_receptive_field_mapping names no image set",
        )
    ]


def test_durations_that_are_none() -> None:
    assert problem(
        "task_parameters", metadata() | {f"{TASK}@blank_duration_sec": ["0.5", "long"]}
    ) == (
        f"file {NAME}, column {TASK}@blank_duration_sec: not a pair of durations; expected two texts like 0.5; found ['0.5', 'long']"
    )


def test_a_container_under_either_name() -> None:
    assert problem(
        "experiment_metadata", without(experiment_file(), f"{M}@ophys_container_id")
    ) == (
        f"file {NAME}, column {M}@experiment_container_id: an attribute is missing; expected an attribute; found nothing"
    )


def test_one_optical_channel() -> None:
    content = experiment_file() | {f"{PLANE}/channel_2/emission_lambda": 600.0}
    found = f"file {NAME}, column {CELLS}/imaging_plane/*/emission_lambda: no single optical channel; expected one; found "
    assert problem("experiment_metadata", content) == f"{found}2"
    assert (
        problem("experiment_metadata", without(content, f"{PLANE}/channel_1", f"{PLANE}/channel_2"))
        == f"{found}0"
    )


def test_the_plane_is_the_one_the_cells_link_to() -> None:
    content = experiment_file()
    other = {
        path.replace("imaging_plane_1", "imaging_plane_2"): value
        for path, value in content.items()
        if "imaging_plane_1" in path
    }
    content |= other | {
        "/general/optophysiology/imaging_plane_2/location": "VISl",
        f"{CELLS}/imaging_plane": h5py.SoftLink("/general/optophysiology/imaging_plane_2"),
    }
    assert column("experiment_metadata", content, "targeted_structure") == ["VISl"]
