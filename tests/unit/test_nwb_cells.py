"""ROIs, masks, images and motion correction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    CELLS,
    NAME,
    NAN,
    OPHYS,
    column,
    columns,
    experiment_file,
    problem,
    without,
)

from pipelines.nwb.readers import READERS

IMAGES = f"{OPHYS}/images"

EXPECTED: dict[str, list[Any]] = {
    # 902 is not valid; rows are ordered by cell_roi_id, in the file they are 903, 901, 904.
    "cell_roi_id": [901, 903, 904],
    "cell_specimen_id": [8001, 8003, None],
    "height": [2, 3, 1],
    "mask_image_plane": [1, 0, 0],
    "max_correction_down": [2.5, 1.5, 4.5],
    "max_correction_left": [3.5, 2.5, 5.5],
    "max_correction_right": [4.5, 3.5, 6.5],
    "max_correction_up": [5.5, 4.5, 7.5],
    "valid_roi": [True, True, True],
    "width": [2, 3, 1],
    "x": [0.0, 1.0, 2.0],
    "y": [0.0, 0.0, 1.0],
    "field_of_view_height": [3, 3, 3],
    "field_of_view_width": [4, 4, 4],
    # y * 4 + x: (0, 1) and (1, 0); (0, 1) and (2, 3); none.
    "roi_mask": [[1, 4], [1, 11], []],
}


def test_every_column() -> None:
    assert columns("cell_specimens", experiment_file()) == EXPECTED


@pytest.mark.parametrize(
    "stored",
    [
        np.array([8003.0, 8001.0, NAN, NAN]),  # a file with unmatched ROIs may hold floats
        np.array([8003, 8001, 8002, -1], dtype=np.int32),
    ],
)
def test_ids_stored_as_other_numbers(stored: Any) -> None:
    content = experiment_file() | {
        f"{CELLS}/cell_specimen_id": stored,
        f"{CELLS}/id": np.array([903, 901, 902, 904], dtype=np.uint16),
    }
    assert columns("cell_specimens", content) == EXPECTED


def test_masks_of_all_rois() -> None:
    got = columns("roi_masks", experiment_file())
    assert got["cell_roi_id"] == [901, 902, 903, 904]
    assert got["cell_specimen_id"] == [8001, 8002, 8003, None]
    assert got["valid_roi"] == [True, False, True, True]
    assert got["roi_mask"] == [[1, 4], [8], [1, 11], []]
    valid = {name: [v for i, v in enumerate(values) if i != 1] for name, values in got.items()}
    assert valid == EXPECTED


ALL_INVALID = experiment_file() | {f"{CELLS}/valid_roi": np.zeros(4, dtype=bool)}


@pytest.mark.parametrize("table", ["cell_specimens", "dff_traces", "events", "neuropil_traces"])
def test_no_valid_roi_gives_empty_tables(table: str) -> None:
    assert columns(table, ALL_INVALID)["cell_roi_id"] == []


def test_no_valid_roi_gives_an_empty_segmentation() -> None:
    got = columns("projections", ALL_INVALID)
    assert got["pixels"][got["image_name"].index("segmentation_mask_image")] == [0.0] * 12


def test_a_plane_without_roi() -> None:
    content = experiment_file()
    content |= {
        path: value[:0]
        for path, value in content.items()
        if path.startswith(f"{CELLS}/") and isinstance(value, np.ndarray)
    }
    assert problem("dff_traces", content) == (
        f"file {NAME}, column {CELLS}/id: the plane has no ROI; expected at least one; found an empty table"
    )


def test_a_repeated_id() -> None:
    content = experiment_file() | {f"{CELLS}/id": np.array([901, 901, 902, 904])}
    assert problem("cell_specimens", content) == (
        f"file {NAME}, column {CELLS}/id: an ROI id repeats; expected unique ids; found 4 ids, 3 different"
    )


def test_projections() -> None:
    got = columns("projections", experiment_file())
    assert got == {
        "image_name": ["average_projection", "max_projection", "segmentation_mask_image"],
        "height": [3, 3, 3],
        "width": [4, 4, 4],
        "spacing_x": [1.25, 2.5, 2.5],
        "spacing_y": [1.25, 2.5, 2.5],
        "pixels": [
            [float(i) for i in range(12)],
            [float(i) for i in range(100, 112)],
            # Pixel 1 is in two masks: a logical or, not a sum. Pixel 8 is of the ROI that is not valid.
            [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        ],
    }


def test_a_resolution_is_multiplied_in_its_own_precision() -> None:
    content = experiment_file() | {f"{IMAGES}/max_projection@resolution": np.float32(0.078)}
    assert columns("projections", content)["spacing_x"][1] == float(np.float32(0.078) * 10)
    assert float(np.float32(0.078) * 10) != float(np.float32(0.078)) * 10


def test_no_resolution_is_null_and_text_is_none() -> None:
    path = f"{IMAGES}/max_projection@resolution"
    spacing = column("projections", without(experiment_file(), path), "spacing_x")
    assert spacing == [1.25, None, None]
    assert problem("projections", experiment_file() | {path: "fine"}) == (
        f"file {NAME}, column {path}: a value is not a number; expected a number; found 'fine'"
    )


def test_motion_may_be_a_fraction_of_a_pixel() -> None:
    motion = {f"{OPHYS}/ophys_motion_correction_x/data": np.array([0.5, NAN, -1, 2, 0])}
    got = column("motion_correction", experiment_file() | motion, "x")
    assert got == [0.5, None, -1.0, 2.0, 0.0]


def test_there_is_a_reader_for_every_table_of_a_file() -> None:
    from schemas import TABLES, Subject

    subjects = (Subject.BEHAVIOR, Subject.OPHYS, Subject.STIMULUS)
    assert set(READERS) == {n for n, table in TABLES.items() if table.subject in subjects}
