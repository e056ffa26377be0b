"""The reader's metadata dictionaries as tables: one row per session and one per experiment."""

from __future__ import annotations

from schemas.model import Column, Storage, Subject, Table, Type, column, documented
from schemas.tables.keys import (
    BEHAVIOR_KEYS,
    OPHYS_FOREIGN_KEYS,
    OPHYS_KEYS,
    TO_BEHAVIOR_SESSION,
    date_of_acquisition,
)

_M = "/general/metadata"
_SUBJECT = "/general/subject"
_PLANE = "cell_specimen_table/imaging_plane"

_BEHAVIOR: tuple[Column, ...] = (
    documented(
        "equipment_name", Type.STRING, "Rig or behaviour box.", source=f"{_M}@equipment_name"
    ),
    documented("sex", Type.STRING, "Sex of the mouse: F or M.", source=f"{_SUBJECT}/sex"),
    documented(
        "age_in_days",
        Type.INT64,
        "Age at the session; NULL if unknown.",
        "d",
        f"first number in {_SUBJECT}/age (P213D)",
    ),
    documented(
        "stimulus_frame_rate",
        Type.FLOAT64,
        "Frame rate of the stimulus, rounded.",
        "Hz",
        f"{_M}@stimulus_frame_rate",
    ),
    documented("session_type", Type.STRING, "Stage of the task.", source=f"{_M}@session_type"),
    date_of_acquisition("/session_start_time"),
    documented("reporter_line", Type.STRING, "Reporter line.", source=f"{_SUBJECT}@reporter_line"),
    documented(
        "cre_line",
        Type.STRING,
        "Cre driver line.",
        source=f"{_SUBJECT}/genotype before the first ';', without /wt",
    ),
    documented(
        "behavior_session_uuid",
        Type.STRING,
        "UUID of the behaviour session.",
        source=f"{_M}@behavior_session_uuid",
    ),
    documented(
        "driver_line",
        Type.LIST_STRING,
        "Driver lines, sorted.",
        source=f"{_SUBJECT}@driver_line, sorted",
        optional=True,
    ),
    column(
        "project_code",
        Type.STRING,
        "Variant of the dataset; Not Available if the file does not name it.",
        source=f"{_M}@project_code",
    ),
    documented("full_genotype", Type.STRING, "Full genotype.", source=f"{_SUBJECT}/genotype"),
)

BEHAVIOR_METADATA = Table(
    name="behavior_metadata",
    description="Animal and recording, from each session's file.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(*BEHAVIOR_KEYS, *_BEHAVIOR),
    primary_key=("behavior_session_id",),
    order=("behavior_session_id",),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
)

EXPERIMENT_METADATA = Table(
    name="experiment_metadata",
    description="Animal, recording and imaging plane, from each experiment's file.",
    subject=Subject.OPHYS,
    storage=Storage.MOUSE,
    columns=(
        *OPHYS_KEYS,
        *_BEHAVIOR,
        documented("indicator", Type.STRING, "Calcium indicator.", source="from reporter_line"),
        documented(
            "emission_lambda",
            Type.FLOAT64,
            "Emission wavelength.",
            "nm",
            f"{_PLANE}/channel_1/emission_lambda",
        ),
        documented(
            "excitation_lambda",
            Type.FLOAT64,
            "Excitation wavelength of the laser.",
            "nm",
            f"{_PLANE}/excitation_lambda",
        ),
        documented(
            "experiment_container_id",
            Type.INT64,
            "Container: the same field of view in several sessions.",
            source=f"{_M}@ophys_container_id or experiment_container_id",
            alias="ophys_container_id",
        ),
        documented(
            "field_of_view_height",
            Type.INT64,
            "Height of the field of view.",
            "px",
            f"{_M}@field_of_view_height",
        ),
        documented(
            "field_of_view_width",
            Type.INT64,
            "Width of the field of view.",
            "px",
            f"{_M}@field_of_view_width",
        ),
        documented(
            "imaging_depth",
            Type.INT64,
            "Depth of the plane below the cortical surface.",
            "um",
            f"{_M}@imaging_depth",
        ),
        column(
            "targeted_imaging_depth",
            Type.INT64,
            "Mean depth of the container's experiments.",
            "um",
            f"{_M}@targeted_imaging_depth",
            optional=True,
        ),
        documented(
            "imaging_plane_group",
            Type.INT64,
            "Group of planes scanned together; NULL for single planes.",
            source=f"{_M}@imaging_plane_group, NULL unless the count is above 1",
            sentinels=(-1,),
        ),
        documented(
            "imaging_plane_group_count",
            Type.INT64,
            "Groups of planes; 0 for single planes.",
            source=f"{_M}@imaging_plane_group_count, 0 unless above 1",
        ),
        documented(
            "ophys_frame_rate",
            Type.FLOAT64,
            "Frame rate of the plane, rounded.",
            "Hz",
            f"{_PLANE}/imaging_rate",
        ),
        documented(
            "targeted_structure",
            Type.STRING,
            "Visual area of the field of view.",
            source=f"{_PLANE}/location",
        ),
        column(
            "roi_count",
            Type.INT64,
            "ROIs in the file, valid or not.",
            source="rows of cell_specimen_table",
            required=True,
        ),
        column(
            "unmatched_roi_count",
            Type.INT64,
            "ROIs in the file, valid or not, without a cell_specimen_id. If there is one, the "
            "reader's cell_specimen_id are floats.",
            source="rows of cell_specimen_table whose cell_specimen_id is -1 or NaN",
            required=True,
        ),
    ),
    primary_key=("ophys_experiment_id",),
    order=("ophys_experiment_id",),
    foreign_keys=OPHYS_FOREIGN_KEYS,
)

METADATA_TABLES = (BEHAVIOR_METADATA, EXPERIMENT_METADATA)
