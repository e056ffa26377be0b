"""Objects and attributes that are missing."""

from __future__ import annotations

import h5py

from builders.damage.model import (
    CELLS,
    CLOCK,
    CLOCKED,
    DFF,
    EVENTS,
    EXPERIMENT,
    META,
    MISSING,
    OPHYS,
    RUNNING,
    TRIALS,
    kind,
    remove,
)

# --- not of this dataset -------------------------------------------------------------------------------------------------------

NOT_NWB = ("the file is HDF5, but not an NWB file of this dataset",)


def _emptied(h5: h5py.File) -> None:
    for name in list(h5):
        del h5[name]


kind(
    "HDF5, but empty",
    _emptied,
    None,
    "/identifier",
    *NOT_NWB,
    "/identifier, which every file of the release has",
    "nothing",
)
kind(
    "NWB of another project",
    remove(META),
    None,
    META,
    *NOT_NWB,
    f"{META}, which every file of the release has",
    "nothing",
)

# --- something is missing --------------------------------------------------------------------------------------------------------

for _group, _table, _column in (
    ("/processing/running", "running_speed", f"{RUNNING}/timestamps"),
    ("/processing/stimulus", CLOCKED, CLOCK),
    (TRIALS, "trials", f"{TRIALS}/id"),
    ("/general/subject/sex", "behavior_metadata", "/general/subject/sex"),
    (f"{TRIALS}/id", "trials", f"{TRIALS}/id"),
    (f"{TRIALS}/lick_times", "trials", f"{TRIALS}/lick_times"),
    ("/processing/licking/licks/data", "licks", "/processing/licking/licks/data"),
    ("/processing/rewards/volume", "performance_metrics", "/processing/rewards/volume/data"),
):
    kind(f"{_group} missing", remove(_group), _table, _column, *MISSING)
for _group, _table, _column in (
    (f"{CELLS}/id", "cell_specimens", f"{CELLS}/id"),
    (f"{OPHYS}/dff", "dff_traces", f"{DFF}/data"),
    (EVENTS, "events", f"{EVENTS}/rois"),
    (f"{OPHYS}/images", "projections", f"{OPHYS}/images/average_image"),
    (
        f"{OPHYS}/ophys_motion_correction_x",
        "motion_correction",
        f"{OPHYS}/ophys_motion_correction_x/data",
    ),
    (f"{CELLS}/image_mask", "cell_specimens", f"{CELLS}/image_mask"),
    (f"{CELLS}/valid_roi", "cell_specimens", f"{CELLS}/valid_roi"),
    (f"{DFF}/timestamps", "dff_traces", f"{DFF}/timestamps"),
    (
        "/acquisition/EyeTracking/pupil_tracking/angle",
        "eye_tracking",
        "/acquisition/EyeTracking/pupil_tracking/angle",
    ),
):
    kind(f"{_group} missing", remove(_group), _table, _column, *MISSING, file=EXPERIMENT)
kind("subject missing", remove("/general/subject"), None, "/general/subject/subject_id", *MISSING)
NO_ATTRIBUTE = ("an attribute is missing", "an attribute", "nothing")
for _attribute, _table in (
    (f"{META}@behavior_session_id", None),
    (f"{META}@session_type", "behavior_metadata"),
    ("/general/task_parameters@response_window_sec", "task_parameters"),
):
    kind(f"{_attribute} missing", remove(_attribute), _table, _attribute, *NO_ATTRIBUTE)
kind(
    f"{META}@ophys_session_id missing",
    remove(f"{META}@ophys_session_id"),
    None,
    f"{META}@ophys_session_id",
    *NO_ATTRIBUTE,
    file=EXPERIMENT,
)
kind(
    "colnames missing",
    remove(f"{TRIALS}@colnames"),
    "trials",
    f"{TRIALS}@colnames",
    "an attribute is missing",
    "the table's column names",
    "nothing",
)
kind(
    "no presentations",
    lambda h5: [
        h5["intervals"].__delitem__(n)
        for n in list(h5["intervals"])
        if n.endswith("_presentations")
    ],  # type: ignore[arg-type,return-value]
    "stimulus_presentations",
    "/intervals/*_presentations",
    "no stimulus presentations",
    "at least one group",
    "none",
)
kind(
    "imaging plane missing",
    remove("/general/optophysiology"),
    "experiment_metadata",
    f"{CELLS}/imaging_plane",
    "a link leads nowhere",
    "an object",
    "no optophysiology where the link leads",
    file=EXPERIMENT,
)
