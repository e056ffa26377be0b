"""The columns that several tables share: keys, with the foreign keys that follow from them."""

from __future__ import annotations

from dataclasses import replace

from schemas.model import Column, ForeignKey, Type, documented

MOUSE_ID = Column(
    "mouse_id",
    Type.INT64,
    "Mouse, taken from the folder name; a filter on it skips the files of other mice.",
    source="project tables",
    required=True,
    documented=True,
)
BEHAVIOR_SESSION_ID = Column(
    "behavior_session_id",
    Type.INT64,
    "Behaviour session: the mouse's time in the rig, with or without imaging.",
    source="/general/metadata@behavior_session_id",
    required=True,
    documented=True,
)
OPHYS_SESSION_ID = Column(
    "ophys_session_id",
    Type.INT64,
    "Imaging session; all planes recorded together share it.",
    source="/general/metadata@ophys_session_id",
    required=True,
    documented=True,
)
OPHYS_EXPERIMENT_ID = Column(
    "ophys_experiment_id",
    Type.INT64,
    "Experiment: one imaging plane in one session.",
    source="/identifier",
    required=True,
    documented=True,
)
CELL_ROI_ID = Column(
    "cell_roi_id",
    Type.INT64,
    "ROI of a cell in this experiment, before matching across sessions.",
    source="cell_specimen_table/id",
    required=True,
    documented=True,
)
CELL_SPECIMEN_ID = Column(
    "cell_specimen_id",
    Type.INT64,
    "Cell matched across the sessions of a container; NULL if the ROI was not matched.",
    source="cell_specimen_table/cell_specimen_id",
    documented=True,
    sentinels=(-1,),
)


def date_of_acquisition(source: str) -> Column:
    """When a recording started; the tables of sessions, experiments and metadata have it."""
    return documented(
        "date_of_acquisition",
        Type.TIMESTAMP,
        "Start, labelled UTC; local time (Pacific) on imaging rigs, maybe in behaviour boxes too.",
        "labelled UTC",
        source,
    )


BEHAVIOR_KEYS = (MOUSE_ID, BEHAVIOR_SESSION_ID)
OPHYS_KEYS = (MOUSE_ID, BEHAVIOR_SESSION_ID, OPHYS_SESSION_ID, OPHYS_EXPERIMENT_ID)

TO_BEHAVIOR_SESSION = ForeignKey(
    ("behavior_session_id",), "behavior_sessions", ("behavior_session_id",)
)
TO_OPHYS_SESSION = ForeignKey(("ophys_session_id",), "ophys_sessions", ("ophys_session_id",))
TO_OPHYS_EXPERIMENT = ForeignKey(
    ("ophys_experiment_id",), "ophys_experiments", ("ophys_experiment_id",)
)
TO_CELL = ForeignKey(
    ("ophys_experiment_id", "cell_roi_id"), "cell_specimens", ("ophys_experiment_id", "cell_roi_id")
)
TO_EACH_CELL = replace(TO_CELL, complete=True)
TO_RELEASED_CELL = ForeignKey(
    ("cell_roi_id",), "ophys_cells", ("cell_roi_id",), agree=("ophys_experiment_id",), since="1.0.0"
)
TO_TRIAL = ForeignKey(
    ("behavior_session_id", "trials_id"), "trials", ("behavior_session_id", "trials_id")
)
TO_EACH_TRIAL = replace(TO_TRIAL, complete=True)
TO_PRESENTATION = ForeignKey(
    ("behavior_session_id", "stimulus_presentations_id"),
    "stimulus_presentations",
    ("behavior_session_id", "stimulus_presentations_id"),
)
OPHYS_FOREIGN_KEYS = (TO_BEHAVIOR_SESSION, TO_OPHYS_SESSION, TO_OPHYS_EXPERIMENT)
