"""The four project tables: the release's own CSV files of sessions, experiments and cells."""

from __future__ import annotations

from schemas.model import Column, Storage, Subject, Table, Type, column, documented
from schemas.tables.keys import (
    TO_BEHAVIOR_SESSION,
    TO_OPHYS_EXPERIMENT,
    TO_OPHYS_SESSION,
    date_of_acquisition,
)


def _id(name: str, description: str, *, required: bool = False) -> Column:
    return documented(name, Type.INT64, description, source=name, required=required)


_BEHAVIOR_SESSION_ID = _id("behavior_session_id", "Behaviour session.", required=True)
_MOUSE_ID = _id("mouse_id", "Mouse.", required=True)
_OPHYS_SESSION_ID = _id("ophys_session_id", "Imaging session; NULL for training sessions.")
_EXPERIMENT_LIST = documented(
    "ophys_experiment_id",
    Type.LIST_INT64,
    "Experiments (planes) that passed quality control, in released order; behaviour is read from "
    "the first.",
    source="ophys_experiment_id",
)
_CONTAINER_LIST = documented(
    "ophys_container_id",
    Type.LIST_INT64,
    "Containers of the planes: fields of view that were imaged over several sessions.",
    source="ophys_container_id",
)

_ANIMAL = (
    documented(
        "indicator", Type.STRING, "Calcium indicator that the mouse expresses.", source="indicator"
    ),
    documented("full_genotype", Type.STRING, "Full genotype.", source="full_genotype"),
    documented(
        "driver_line", Type.LIST_STRING, "Driver lines, in released order.", source="driver_line"
    ),
    documented(
        "cre_line",
        Type.STRING,
        "Cre driver line, which determines the imaged cell class.",
        source="cre_line",
    ),
    documented("reporter_line", Type.STRING, "Reporter line.", source="reporter_line"),
    documented("sex", Type.STRING, "Sex of the mouse: F or M.", source="sex"),
    documented("age_in_days", Type.INT64, "Age at the session.", "d", "age_in_days"),
)
_SESSION = (
    documented(
        "project_code",
        Type.STRING,
        "Variant of the dataset, which differs in microscope and order of the image sets.",
        source="project_code",
    ),
    documented(
        "session_type",
        Type.STRING,
        "Stage of the task: training step or imaging day, image set, and whether it is passive.",
        source="session_type",
    ),
    documented(
        "session_number",
        Type.INT64,
        "Number in the type of an imaging session (2 in OPHYS_2_...); NULL for training.",
        source="session_number",
    ),
    column(
        "image_set",
        Type.STRING,
        "Image set: images_A and so on, or gratings; in ophys_experiments only the letter.",
        source="image_set",
        optional=True,
    ),
    column(
        "behavior_type",
        Type.STRING,
        "What the mouse did: active_behavior or passive_viewing.",
        source="behavior_type",
        optional=True,
    ),
    column(
        "experience_level",
        Type.STRING,
        "Experience with the images: Training, Familiar, Novel 1 or Novel >1.",
        source="experience_level",
        optional=True,
    ),
    documented(
        "prior_exposures_to_session_type",
        Type.INT64,
        "Earlier sessions of this mouse with the same session type.",
        source="prior_exposures_to_session_type",
    ),
    documented(
        "prior_exposures_to_image_set",
        Type.INT64,
        "Earlier sessions of this mouse with the same image set; NULL for gratings.",
        source="prior_exposures_to_image_set",
    ),
    documented(
        "prior_exposures_to_omissions",
        Type.INT64,
        "Earlier sessions of this mouse with omitted flashes.",
        source="prior_exposures_to_omissions",
    ),
    date_of_acquisition("date_of_acquisition"),
    documented("equipment_name", Type.STRING, "Rig or behaviour box.", source="equipment_name"),
)
_PLANES = (
    column(
        "imaging_plane_group_count",
        Type.INT64,
        "Groups of planes scanned together.",
        source="imaging_plane_group_count",
        optional=True,
    ),
    column(
        "num_depths_per_area",
        Type.INT64,
        "Imaging depths per visual area.",
        source="num_depths_per_area",
        optional=True,
    ),
    column(
        "num_targeted_structures",
        Type.INT64,
        "Visual areas imaged.",
        source="num_targeted_structures",
        optional=True,
    ),
)
_FILE_ID = documented(
    "file_id",
    Type.INT64,
    "Number of the NWB file in the release's manifest; NULL if the session has no file of its own.",
    source="file_id",
    sentinels=(-999,),
)
_FILE_PATH = column(
    "file_path",
    Type.STRING,
    "Key of the NWB file; only unpublished builds have it.",
    source="file_path",
    optional=True,
)


def _count(name: str, description: str) -> Column:
    return column(
        name,
        Type.INT64,
        description + " Counted by the release from the stimulus log.",
        source=name,
        optional=True,
    )


_TRIAL_COUNTS = (
    _count("trial_count", "Trials."),
    _count("go_trial_count", "Go trials."),
    _count("catch_trial_count", "Catch trials."),
    _count("hit_trial_count", "Hits."),
    _count("miss_trial_count", "Misses."),
    _count("false_alarm_trial_count", "False alarms."),
    _count("correct_reject_trial_count", "Correct rejections."),
    _count("engaged_trial_count", "Trials during which the reward rate was above 2 rewards/min."),
)

BEHAVIOR_SESSIONS = Table(
    name="behavior_sessions",
    description="Every behaviour session of the release, with or without imaging, and the mouse's "
    "line and experience.",
    subject=Subject.PROJECT,
    storage=Storage.PROJECT,
    columns=(
        _MOUSE_ID,
        _BEHAVIOR_SESSION_ID,
        _OPHYS_SESSION_ID,
        _EXPERIMENT_LIST,
        _CONTAINER_LIST,
        *_ANIMAL,
        *_SESSION,
        *_PLANES,
        *_TRIAL_COUNTS,
        _FILE_ID,
        _FILE_PATH,
    ),
    primary_key=("behavior_session_id",),
    order=("mouse_id", "behavior_session_id"),
)

OPHYS_SESSIONS = Table(
    name="ophys_sessions",
    description="Every imaging session with at least one plane that passed quality control.",
    subject=Subject.PROJECT,
    storage=Storage.PROJECT,
    columns=(
        _MOUSE_ID,
        _BEHAVIOR_SESSION_ID,
        _id("ophys_session_id", "Imaging session.", required=True),
        _EXPERIMENT_LIST,
        _CONTAINER_LIST,
        *_ANIMAL,
        *_SESSION,
        *_PLANES,
    ),
    primary_key=("ophys_session_id",),
    order=("mouse_id", "ophys_session_id"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
)

OPHYS_EXPERIMENTS = Table(
    name="ophys_experiments",
    description="Every experiment (imaging plane in one session) that passed quality control.",
    subject=Subject.PROJECT,
    storage=Storage.PROJECT,
    columns=(
        _MOUSE_ID,
        _BEHAVIOR_SESSION_ID,
        _id("ophys_session_id", "Imaging session.", required=True),
        _id("ophys_experiment_id", "Experiment: one imaging plane in one session.", required=True),
        _id("ophys_container_id", "Container: the same field of view in several sessions."),
        *_ANIMAL,
        documented(
            "imaging_depth",
            Type.INT64,
            "Depth of the plane below the cortical surface.",
            "um",
            "imaging_depth",
        ),
        documented(
            "targeted_structure",
            Type.STRING,
            "Visual area of the field of view.",
            source="targeted_structure",
        ),
        column(
            "targeted_imaging_depth",
            Type.INT64,
            "Mean depth of the container's experiments.",
            "um",
            "targeted_imaging_depth",
            optional=True,
        ),
        column(
            "imaging_plane_group",
            Type.INT64,
            "Group of planes scanned together; NULL for single planes.",
            source="imaging_plane_group",
            optional=True,
        ),
        column(
            "imaging_plane_group_count",
            Type.INT64,
            "Groups of planes scanned together.",
            source="imaging_plane_group_count",
            optional=True,
        ),
        *_SESSION,
        column(
            "passive",
            Type.BOOL,
            "Whether the mouse only watched, without the lick spout.",
            source="passive",
            optional=True,
        ),
        column(
            "published_at",
            Type.TIMESTAMP,
            "Day of publication.",
            "UTC",
            "published_at",
            optional=True,
        ),
        column(
            "isi_experiment_id",
            Type.INT64,
            "Intrinsic signal imaging experiment that located the visual areas.",
            source="isi_experiment_id",
            optional=True,
        ),
        _FILE_ID,
        _FILE_PATH,
    ),
    primary_key=("ophys_experiment_id",),
    order=("mouse_id", "ophys_experiment_id"),
    foreign_keys=(TO_BEHAVIOR_SESSION, TO_OPHYS_SESSION),
)

OPHYS_CELLS = Table(
    name="ophys_cells",
    description="Every valid ROI of the release and the matched cell that it belongs to. Releases "
    "before 1.0.0 do not have this table.",
    subject=Subject.PROJECT,
    storage=Storage.PROJECT,
    columns=(
        column(
            "cell_roi_id",
            Type.INT64,
            "ROI of a cell in one experiment.",
            source="cell_roi_id",
            required=True,
        ),
        column(
            "cell_specimen_id",
            Type.INT64,
            "Cell matched across sessions; NULL if the ROI was not matched.",
            source="cell_specimen_id",
            sentinels=(-1,),
        ),
        column(
            "ophys_experiment_id",
            Type.INT64,
            "Experiment of the ROI.",
            source="ophys_experiment_id",
            required=True,
        ),
    ),
    primary_key=("cell_roi_id",),
    order=("ophys_experiment_id", "cell_roi_id"),
    foreign_keys=(TO_OPHYS_EXPERIMENT,),
)

PROJECT_TABLES = (BEHAVIOR_SESSIONS, OPHYS_SESSIONS, OPHYS_EXPERIMENTS, OPHYS_CELLS)
