"""The contents of an experiment file: one plane, alone and with its copy of the behaviour."""

from __future__ import annotations

import h5py
import numpy as np

from builders.nwb.behavior import behavior_file, metadata
from builders.nwb.files import EXPERIMENT_ID, OPHYS_SESSION_ID, Content, dynamic_table

OPHYS = "/processing/ophys"
CELLS = f"{OPHYS}/image_segmentation/cell_specimen_table"

FRAMES = 5
ROI_IDS = (903, 901, 902, 904)
"""The third, 902, is not valid; 904 is not matched to a cell."""


def traces(interface: str, base: float, roi_count: int = len(ROI_IDS)) -> Content:
    """Traces whose values tell frame and column: `base` + 10 a frame + 1 a column."""
    at = f"{OPHYS}/{interface}/traces"
    data = base + 10.0 * np.arange(FRAMES)[:, None] + np.arange(roi_count)
    return {
        f"{at}/data": data,
        f"{at}/timestamps": np.arange(FRAMES) / 8,
        f"{at}/rois": np.arange(roi_count),
    }


def cell_table() -> Content:
    """Four ROIs in a field of view of 3 x 4 pixels, not in the order of their ids."""
    masks = np.zeros((4, 3, 4), dtype=bool)
    masks[0, 0, 1] = masks[0, 2, 3] = True
    masks[1, 0, 1] = masks[1, 1, 0] = True
    masks[2, 2, 0] = True
    values = {
        "cell_specimen_id": np.array([8003, 8001, 8002, -1]),
        "height": np.array([3, 2, 1, 1], dtype=np.int32),
        "mask_image_plane": np.array([0, 1, 0, 0], dtype=np.int32),
        **{
            f"max_correction_{side}": np.array([1.5, 2.5, 3.5, 4.5]) + i
            for i, side in enumerate(("down", "left", "right", "up"))
        },
        "valid_roi": np.array([True, True, False, True]),
        "width": np.array([3, 2, 1, 1], dtype=np.int32),
        "x": np.array([1, 0, 0, 2]),
        "y": np.array([0, 0, 2, 1]),
        "image_mask": masks,
    }
    return dynamic_table(CELLS, values, ROI_IDS) | {
        f"{CELLS}/imaging_plane": h5py.SoftLink("/general/optophysiology/imaging_plane_1"),
        "/general/optophysiology/imaging_plane_1/channel_1/emission_lambda": 520.0,
        "/general/optophysiology/imaging_plane_1/excitation_lambda": 910.0,
        "/general/optophysiology/imaging_plane_1/imaging_rate": 11.0,
        "/general/optophysiology/imaging_plane_1/location": "VISp",
    }


def events() -> Content:
    """Events of all ROIs; ROI 901 (column 1) has one in frame 1, 903 (column 0) one in frame 0."""
    data = np.zeros((FRAMES, 4))
    data[1, 1], data[0, 0] = 2.0, 1.0
    at = f"{OPHYS}/event_detection"
    return {
        f"{at}/data": data,
        f"{at}/rois": np.arange(4),
        f"{at}/lambdas": np.array([0.1, 0.2, 0.3, 0.4]),
        f"{at}/noise_stds": np.array([0.01, 0.02, 0.03, 0.04]),
        f"{at}/timestamps": np.arange(FRAMES) / 8,
    }


def experiment_file() -> Content:
    """An experiment file of release 1.1.0 without its copy of the behaviour: one plane of a session with two groups of planes."""
    content = metadata() | cell_table() | events()
    for base, interface in (
        (1000.0, "dff"),
        (2000.0, "corrected_fluorescence"),
        (3000.0, "demixed_trace"),
        (4000.0, "neuropil_trace"),
    ):
        content |= traces(interface, base)
        if interface != "dff":
            content[f"{OPHYS}/{interface}/traces/rois"] = h5py.SoftLink(f"{OPHYS}/dff/traces/rois")
    return content | {
        "/identifier": str(EXPERIMENT_ID),
        "/general/metadata@ophys_experiment_id": np.int64(EXPERIMENT_ID),
        "/general/metadata@ophys_session_id": np.int64(OPHYS_SESSION_ID),
        "/general/metadata@ophys_container_id": np.int64(7001),
        "/general/metadata@field_of_view_height": np.int64(3),
        "/general/metadata@field_of_view_width": np.int64(4),
        "/general/metadata@imaging_depth": np.int64(150),
        "/general/metadata@targeted_imaging_depth": np.int64(152),
        "/general/metadata@imaging_plane_group": np.int64(1),
        "/general/metadata@imaging_plane_group_count": np.int64(2),
        f"{OPHYS}/corrected_fluorescence/r/data": np.array([0.3, 0.1, 0.2, 0.4]),
        f"{OPHYS}/corrected_fluorescence/RMSE/data": np.array([3.0, 1.0, 2.0, 4.0]),
        f"{OPHYS}/ophys_motion_correction_x/data": np.array([0, 1, -1, 2, 0]),
        f"{OPHYS}/ophys_motion_correction_y/data": np.array([5, 4, 3, 2, 1]),
        f"{OPHYS}/images/average_image": np.arange(12, dtype=np.uint8).reshape(3, 4),
        f"{OPHYS}/images/average_image@resolution": 0.125,
        f"{OPHYS}/images/max_projection": np.arange(12, dtype=np.uint8).reshape(3, 4) + 100,
        f"{OPHYS}/images/max_projection@resolution": 0.25,
    }


def whole_file() -> Content:
    """An experiment file of release 1.1.0 with everything the tables are read from."""
    return behavior_file() | experiment_file()
