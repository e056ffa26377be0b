"""Metadata and task parameters: what differs from a file of release 1.1.0 with everything.

Every value of a released file is compared in test_mini_reference.py.
"""

from __future__ import annotations

import h5py
import numpy as np
from builders.nwb import (
    CELLS,
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

from schemas.known_defects import Occurrence

M = "/general/metadata"
SUBJECT = "/general/subject"
TASK = "/general/task_parameters"
PLANE = "/general/optophysiology/imaging_plane_1"


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
    new = columns("experiment_metadata", experiment_file())
    assert columns("experiment_metadata", old) == new | changed


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
    names = ("age_in_days", "behavior_session_uuid", "reporter_line")
    assert [got[name] for name in names] == [[None]] * 3
    unknown = experiment_file() | {f"{SUBJECT}@reporter_line": "None"}
    assert column("experiment_metadata", unknown, "indicator") == [None]


def test_one_driver_line_may_be_a_text() -> None:
    content = metadata() | {f"{SUBJECT}@driver_line": "Sst-IRES-Cre"}
    assert column("behavior_metadata", content, "driver_line") == [["Sst-IRES-Cre"]]


def test_what_is_no_uuid() -> None:
    assert problem("behavior_metadata", metadata() | {f"{M}@behavior_session_uuid": "unknown"}) == (
        f"file {NAME}, column {M}@behavior_session_uuid: a value is no UUID; expected a UUID or None; found 'unknown'"
    )


def test_task_parameters_of_gratings_of_an_older_release() -> None:
    content = without(metadata(), f"{TASK}@stimulus_name") | {
        f"{TASK}@session_type": "TRAINING_1_gratings",
        f"{TASK}@stimulus_duration_sec": NAN,
        f"{TASK}@omitted_flash_fraction": NAN,
    }
    opened = recording(content)
    got = columns("task_parameters", opened)
    names = ("stimulus_name", "stimulus_duration_sec", "omitted_flash_fraction")
    assert [got[name] for name in names] == [[None]] * 3
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


def test_rois_are_counted_whether_valid_or_not() -> None:
    """The released reader's ids of cells are floats if any ROI of the file is unmatched."""
    ids = {
        (4, 1): np.array([8003, 8001, -1, 8004]),  # the third ROI is not valid
        (4, 2): np.array([8003, NAN, NAN, 8004]),
        (4, 0): np.array([8003, 8001, 8002, 8004]),
    }
    for counts, stored in ids.items():
        got = columns(
            "experiment_metadata", experiment_file() | {f"{CELLS}/cell_specimen_id": stored}
        )
        assert (got["roi_count"], got["unmatched_roi_count"]) == ([counts[0]], [counts[1]])
