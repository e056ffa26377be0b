"""Keys, ids, ROIs and times that cannot be."""

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
    RUNNING,
    TRIALS,
    kind,
    presentations,
    put,
    replace,
)

# --- ROIs, keys, ids ---------------------------------------------------------------------------------------------------------------

kind(
    "traces in another order",
    replace(f"{DFF}/rois", lambda v: v[::-1]),
    "dff_traces",
    f"{DFF}/rois",
    "traces are not in the order of the ROI table",
    r"0 to \d+",
    "another order",
    file=EXPERIMENT,
)
kind(
    "a trace too few",
    replace(f"{DFF}/data", lambda v: v[:, :-1]),
    "dff_traces",
    f"{DFF}/data",
    "traces and ROIs do not match",
    r"\d+ columns, one per ROI",
    r"shape \(\d+, \d+\)",
    file=EXPERIMENT,
)
kind(
    "events of an ROI that does not exist",
    put(f"{EVENTS}/rois", 0, 99),
    "events",
    f"{EVENTS}/rois",
    "events refer to ROIs that do not exist",
    r"integers from 0 to \d+",
    r"int\d+ from \d+ to 99",
    file=EXPERIMENT,
)
kind(
    "events of an ROI twice",
    put(f"{EVENTS}/rois", 0, 1),
    "events",
    f"{EVENTS}/rois",
    "an ROI has events twice",
    "each ROI once",
    r"\d+ columns, \d+ ROIs",
    file=EXPERIMENT,
)
ROIS = f"{DFF}/rois@table"
kind(
    "ROIs of nothing",
    replace(ROIS, lambda _: h5py.Reference()),
    "dff_traces",
    ROIS,
    "a reference cannot be followed",
    f"a reference to {CELLS}",
    ".+",
    file=EXPERIMENT,
)
kind(
    "ROIs of another table",
    lambda h5: h5[f"{DFF}/rois"].attrs.__setitem__("table", h5[TRIALS].ref),
    "dff_traces",
    ROIS,
    "a reference leads elsewhere",
    f"a reference to {CELLS}",
    TRIALS,
    file=EXPERIMENT,
)
kind(
    "an ROI twice",
    lambda h5: put(f"{CELLS}/id", 0, h5[f"{CELLS}/id"][1])(h5),
    "cell_specimens",
    f"{CELLS}/id",
    "an ROI id repeats",
    "unique ids",
    r"\d+ ids, \d+ different",
    file=EXPERIMENT,
)
kind(
    "a trial twice",
    put(f"{TRIALS}/id", 1, 0),
    "trials",
    "trials_id",
    "a primary key repeats",
    "unique keys",
    "trials_id 0 twice",
)
kind(
    "image names twice",
    lambda h5: replace(
        f"/stimulus/templates/{next(iter(h5['/stimulus/templates']))}/control_description",
        lambda v: [v[0]] * len(v),
    )(h5),
    None,
    "/stimulus/templates/*/control_description",
    "an image name repeats",
    "unique names",
    ".*",
    file=EXPERIMENT,
)
OTHER = ("the file is of another recording than the release says", r"\d+", r"\d+")
kind(
    "another behaviour session",
    replace(f"{META}@behavior_session_id", lambda v: v + 1),
    None,
    "behavior_session_id",
    *OTHER,
)
kind(
    "another ophys session",
    replace(f"{META}@ophys_session_id", lambda v: v + 1),
    None,
    "ophys_session_id",
    *OTHER,
    file=EXPERIMENT,
)
kind(
    "another experiment",
    put("/identifier", (), b"123"),
    None,
    "ophys_experiment_id",
    *OTHER,
    file=EXPERIMENT,
)
kind("another mouse", put("/general/subject/subject_id", (), b"123"), None, "mouse_id", *OTHER)
kind(
    "an identifier that is no number",
    put("/identifier", (), b"x1"),
    None,
    "/identifier",
    "the identifier is not a number",
    "ophys_experiment_id",
    "'x1'",
    file=EXPERIMENT,
)

# --- times ---------------------------------------------------------------------------------------------------------------------------

GONE = ("a time is missing", "a number of seconds in every row")
BACK = ("times go backwards", "ascending times", r"[-\d.e]+ after [-\d.e]+, row \d+")
NAN = float("nan")
kind("NaN in the stimulus clock", put(CLOCK, 5, NAN), CLOCKED, CLOCK, *GONE, "nan in row 5")
kind(
    "NaN in running",
    put(f"{RUNNING}/timestamps", 5, NAN),
    "running_speed",
    f"{RUNNING}/timestamps",
    *GONE,
    "nan in row 5",
)
kind(
    "infinity in the imaging clock",
    put(f"{DFF}/timestamps", 5, float("inf")),
    "dff_traces",
    f"{DFF}/timestamps",
    *GONE,
    "inf in row 5",
    file=EXPERIMENT,
)
kind(
    "a trial without a start",
    put(f"{TRIALS}/start_time", 1, NAN),
    "trials",
    f"{TRIALS}/start_time",
    *GONE,
    "nan in row 1",
)
kind("a stimulus clock that goes back", replace(CLOCK, lambda v: v[::-1]), CLOCKED, CLOCK, *BACK)
kind(
    "an imaging clock that goes back",
    put(f"{DFF}/timestamps", 9, -1.0),
    "dff_traces",
    f"{DFF}/timestamps",
    *BACK,
    file=EXPERIMENT,
)
kind(
    "eye tracking that goes back",
    put("/acquisition/EyeTracking/eye_tracking/timestamps", 9, -1.0),
    "eye_tracking",
    "/acquisition/EyeTracking/eye_tracking/timestamps",
    *BACK,
    file=EXPERIMENT,
)
kind(
    "a presentation without a start",
    lambda h5: put(f"{presentations(h5)}/start_time", 1, NAN)(h5),
    "stimulus_presentations",
    "start_time",
    "a required value is missing",
    "DOUBLE, never empty",
    r"no value in row \d+",
)
