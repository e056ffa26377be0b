"""How each column of the lake becomes the released SDK's: declared once, a line per column.

The lake has NULL where a value is missing, the SDK a value of its own. `missing` is that value, or
an expression of other columns of the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import polars as pl


class Kind(Enum):
    """The types of the SDK's columns."""

    INT = "int64"
    """float64 with NaN if values are missing for which no other value is declared."""
    FLOAT = "float64"
    BOOL = "bool"
    """pandas' nullable `boolean` if values are missing."""
    NULLABLE_INT = "Int64"
    """pandas' nullable integer."""
    TEXT = "object"
    """Missing values are NaN."""
    LIST = "object of list"
    """Missing lists are NaN."""
    ARRAY = "object of ndarray"
    TIME = "datetime64[ns, UTC]"
    DAY = "object of str, the day of a time"


@dataclass(frozen=True, slots=True)
class Field:
    """A column of one of the SDK's tables.

    Attributes:
        name: name in the SDK.
        kind: its type.
        missing: what stands for NULL: a value, or an expression of the row's other columns.
        source: name in the lake, if it is another.
        optional: whether the column is left out where all its values are missing.
    """

    name: str
    kind: Kind
    missing: Any = None
    source: str | None = None
    optional: bool = False

    @property
    def expression(self) -> pl.Expr:
        """The column under its SDK name, with the values that stand for NULL."""
        column = pl.col(self.source or self.name)
        return (column if self.missing is None else column.fill_null(self.missing)).alias(self.name)


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the SDK's tables.

    Attributes:
        table: the lake's table.
        fields: the columns in the SDK's order.
        index: column that becomes the index, named as in the SDK; None if rows are only numbered.
        numbered: whether the index is the row number, so that pandas has a RangeIndex.
        empty: type that the SDK gives all columns if there are no rows; None if it keeps theirs.
        wide: columns that come last, in this order, if all of them have values. The SDK leaves the
            order of its last columns to Python's hashes of their names.
    """

    table: str
    fields: tuple[Field, ...]
    index: Field | None = None
    numbered: bool = False
    empty: str | None = None
    wide: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """The columns of the lake's table that the frame is made of."""
        fields = (*self.fields, self.index) if self.index else self.fields
        return list({name: None for f in fields for name in f.expression.meta.root_names()})


def _fields(kind: Kind, *names: str, **rules: Any) -> tuple[Field, ...]:
    return tuple(Field(name, kind, **rules) for name in names)


LICKS = Frame("licks", (Field("timestamps", Kind.FLOAT), Field("frame", Kind.INT)), empty="float64")

REWARDS = Frame(
    "rewards",
    (
        *_fields(Kind.FLOAT, "volume", "timestamps"),
        Field("auto_rewarded", Kind.BOOL, source="autorewarded"),
    ),
    empty="float64",
)

RUNNING_SPEED = Frame("running_speed", _fields(Kind.FLOAT, "timestamps", "speed"))
RAW_RUNNING_SPEED = Frame("raw_running_speed", _fields(Kind.FLOAT, "timestamps", "speed"))

# A trial that was aborted has no change, so no latency; otherwise the mouse never licked.
_LATENCY = pl.when("aborted").then(float("nan")).otherwise(float("inf"))

TRIALS = Frame(
    "trials",
    (
        *_fields(Kind.FLOAT, "start_time", "stop_time"),
        *_fields(Kind.TEXT, "initial_image_name", "change_image_name"),
        Field("is_change", Kind.BOOL, source="stimulus_change"),
        Field("change_time", Kind.FLOAT),
        *_fields(Kind.BOOL, "go", "catch"),
        Field("lick_times", Kind.ARRAY),
        Field("response_time", Kind.FLOAT),
        Field("response_latency", Kind.FLOAT, missing=_LATENCY),
        *_fields(Kind.FLOAT, "reward_time", "reward_volume"),
        *_fields(Kind.BOOL, "hit", "false_alarm", "miss", "correct_reject", "aborted"),
        Field("auto_rewarded", Kind.BOOL),
        Field("change_frame", Kind.INT, missing=-99),
        Field("trial_length", Kind.FLOAT),
    ),
    index=Field("trials_id", Kind.INT),
)

ROLLING_PERFORMANCE = Frame(
    "rolling_performance",
    _fields(
        Kind.FLOAT,
        *("reward_rate", "hit_rate_raw", "hit_rate", "false_alarm_rate_raw", "false_alarm_rate"),
        "rolling_dprime",
    ),
    index=Field("trials_id", Kind.INT),
)

STIMULUS_PRESENTATIONS = Frame(
    "stimulus_presentations",
    (
        Field("stimulus_block", Kind.INT, optional=True),
        Field("stimulus_block_name", Kind.TEXT, optional=True),
        Field("image_index", Kind.INT, missing=-99),
        Field("image_name", Kind.TEXT),
        Field("movie_frame_index", Kind.INT, missing=-99, optional=True),
        *_fields(Kind.FLOAT, "duration", "start_time"),
        Field("end_time", Kind.FLOAT, source="stop_time"),
        *_fields(Kind.INT, "start_frame", "end_frame"),
        Field("is_change", Kind.BOOL),
        Field("is_image_novel", Kind.BOOL, optional=True),
        Field("omitted", Kind.BOOL),
        Field("movie_repeat", Kind.INT, missing=-99, optional=True),
        Field("flashes_since_change", Kind.INT, missing=-99),
        Field("trials_id", Kind.INT, missing=-99),
        Field("active", Kind.BOOL),
        Field("stimulus_name", Kind.TEXT, optional=True),
        Field("is_sham_change", Kind.BOOL, optional=True),
        *_fields(Kind.FLOAT, "orientation", "phase", "spatial_frequency", optional=True),
    ),
    index=Field("stimulus_presentations_id", Kind.INT),
    numbered=True,
    wide=(
        *("stimulus_name", "phase", "orientation", "is_sham_change", "active"),
        "spatial_frequency",
    ),
)

_ELLIPSE = ("center_x", "center_y", "width", "height", "phi")

EYE_TRACKING = Frame(
    "eye_tracking",
    (
        *_fields(Kind.FLOAT, "timestamps", "cr_area", "eye_area", "pupil_area"),
        Field("likely_blink", Kind.BOOL),
        *_fields(Kind.FLOAT, "pupil_area_raw", "cr_area_raw", "eye_area_raw"),
        *(Field(f"{part}_{x}", Kind.FLOAT) for part in ("cr", "eye", "pupil") for x in _ELLIPSE),
    ),
    index=Field("frame", Kind.INT),
    numbered=True,
    empty="float64",
)

MOTION_CORRECTION = Frame("motion_correction", _fields(Kind.INT, "x", "y"))

# NaN where the cell is not matched; then the index is float64.
_SPECIMEN = Field("cell_specimen_id", Kind.INT)
_ROI = Field("cell_roi_id", Kind.INT)

CELL_SPECIMENS = Frame(
    "cell_specimens",
    (
        _ROI,
        *_fields(Kind.INT, "height", "mask_image_plane"),
        *_fields(Kind.FLOAT, *(f"max_correction_{s}" for s in ("down", "left", "right", "up"))),
        Field("valid_roi", Kind.BOOL),
        *_fields(Kind.INT, "width", "x", "y"),
    ),
    index=_SPECIMEN,
)

CORRECTED_FLUORESCENCE = Frame(
    "corrected_fluorescence_traces",
    (_ROI, *_fields(Kind.FLOAT, "r", "RMSE", optional=True)),
    index=_SPECIMEN,
)
DFF = Frame("dff_traces", (_ROI,), index=_SPECIMEN)
DEMIXED = Frame("demixed_traces", (_ROI,), index=_SPECIMEN)
NEUROPIL = Frame("neuropil_traces", (_ROI,), index=_SPECIMEN)
EVENTS = Frame("events", (_ROI, *_fields(Kind.FLOAT, "lambda", "noise_std")), index=_SPECIMEN)

# --- project tables ------------------------------------------------------------------------------

_ANIMAL = (
    *_fields(Kind.TEXT, "indicator", "full_genotype"),
    Field("driver_line", Kind.LIST),
    *_fields(Kind.TEXT, "cre_line", "reporter_line", "sex"),
    Field("age_in_days", Kind.NULLABLE_INT),
)
_TASK = (
    *_fields(Kind.TEXT, "project_code", "session_type"),
    Field("session_number", Kind.NULLABLE_INT),
    *_fields(Kind.TEXT, "image_set", "behavior_type", optional=True),
)
_EXPERIENCE = (
    Field("experience_level", Kind.TEXT, optional=True),
    *_fields(
        Kind.NULLABLE_INT,
        *("prior_exposures_to_session_type", "prior_exposures_to_image_set"),
        "prior_exposures_to_omissions",
    ),
    Field("date_of_acquisition", Kind.TIME),
    Field("equipment_name", Kind.TEXT),
)
_MOUSE = Field("mouse_id", Kind.TEXT)
_FILE = (
    Field("file_id", Kind.INT, missing=-999),
    Field("file_path", Kind.TEXT, optional=True),
)
_COUNTS = ("trial", "go_trial", "catch_trial", "hit_trial", "miss_trial", "false_alarm_trial")

_SESSION = (
    Field("ophys_container_id", Kind.LIST),
    _MOUSE,
    *_ANIMAL,
    Field("imaging_plane_group_count", Kind.NULLABLE_INT, optional=True),
    *_TASK,
    *_EXPERIENCE,
    Field("num_depths_per_area", Kind.NULLABLE_INT, optional=True),
    Field("ophys_experiment_id", Kind.LIST),
    Field("num_targeted_structures", Kind.NULLABLE_INT, optional=True),
)

BEHAVIOR_SESSION_TABLE = Frame(
    "behavior_sessions",
    (
        Field("ophys_session_id", Kind.NULLABLE_INT),
        *_SESSION,
        *_fields(
            Kind.INT,
            *(f"{name}_count" for name in (*_COUNTS, "correct_reject_trial", "engaged_trial")),
            optional=True,
        ),
        *_FILE,
    ),
    index=Field("behavior_session_id", Kind.INT),
)

OPHYS_SESSION_TABLE = Frame(
    "ophys_sessions",
    (
        Field("behavior_session_id", Kind.INT),
        *_SESSION,
    ),
    index=Field("ophys_session_id", Kind.NULLABLE_INT),
)

OPHYS_EXPERIMENT_TABLE = Frame(
    "ophys_experiments",
    (
        Field("behavior_session_id", Kind.INT),
        Field("ophys_session_id", Kind.NULLABLE_INT),
        Field("ophys_container_id", Kind.INT),
        _MOUSE,
        *_ANIMAL,
        Field("imaging_depth", Kind.INT),
        Field("targeted_structure", Kind.TEXT),
        Field("targeted_imaging_depth", Kind.INT, optional=True),
        *_fields(
            Kind.NULLABLE_INT, "imaging_plane_group_count", "imaging_plane_group", optional=True
        ),
        *_TASK,
        Field("passive", Kind.BOOL, optional=True),
        *_EXPERIENCE,
        Field("published_at", Kind.DAY, optional=True),
        Field("isi_experiment_id", Kind.INT, optional=True),
        *_FILE,
    ),
    index=Field("ophys_experiment_id", Kind.INT),
)

OPHYS_CELLS_TABLE = Frame(
    "ophys_cells",
    (Field("cell_specimen_id", Kind.NULLABLE_INT), Field("ophys_experiment_id", Kind.INT)),
    index=_ROI,
)

# --- dictionaries --------------------------------------------------------------------------------


class Scalar(Enum):
    """The Python types of the values in the SDK's dictionaries."""

    PLAIN = "int, str or list, None if missing"
    NUMPY = "NumPy scalar, None if missing"
    NAN = "float, NaN if missing"
    NUMPY_NAN = "NumPy float, a plain NaN if missing"
    NUMPY_ALWAYS = "NumPy float, NaN included"
    UUID = "uuid.UUID, None if missing"
    WORD = "str of the number"
    GROUPS = "NumPy integer, but a plain 0"


BEHAVIOR_METADATA = {
    "equipment_name": Scalar.PLAIN,
    "sex": Scalar.PLAIN,
    "age_in_days": Scalar.PLAIN,
    "stimulus_frame_rate": Scalar.NUMPY,
    "session_type": Scalar.PLAIN,
    "date_of_acquisition": Scalar.PLAIN,
    "reporter_line": Scalar.PLAIN,
    "cre_line": Scalar.PLAIN,
    "behavior_session_uuid": Scalar.UUID,
    "driver_line": Scalar.PLAIN,
    "mouse_id": Scalar.WORD,
    "project_code": Scalar.PLAIN,
    "full_genotype": Scalar.PLAIN,
    "behavior_session_id": Scalar.NUMPY,
}

EXPERIMENT_METADATA = BEHAVIOR_METADATA | {
    "indicator": Scalar.PLAIN,
    "emission_lambda": Scalar.NUMPY,
    "excitation_lambda": Scalar.NUMPY,
    "ophys_container_id": Scalar.NUMPY,
    "field_of_view_height": Scalar.NUMPY,
    "field_of_view_width": Scalar.NUMPY,
    "imaging_depth": Scalar.NUMPY,
    "targeted_imaging_depth": Scalar.NUMPY,
    "imaging_plane_group": Scalar.NUMPY,
    "imaging_plane_group_count": Scalar.GROUPS,
    "ophys_experiment_id": Scalar.PLAIN,
    "ophys_frame_rate": Scalar.NUMPY,
    "ophys_session_id": Scalar.NUMPY,
    "targeted_structure": Scalar.PLAIN,
}

TASK_PARAMETERS = {
    "auto_reward_volume": Scalar.NAN,
    "blank_duration_sec": Scalar.PLAIN,
    "image_set": Scalar.PLAIN,
    "n_stimulus_frames": Scalar.PLAIN,
    "omitted_flash_fraction": Scalar.NAN,
    "response_window_sec": Scalar.PLAIN,
    "reward_volume": Scalar.NAN,
    "session_type": Scalar.PLAIN,
    "stimulus": Scalar.PLAIN,
    "stimulus_distribution": Scalar.PLAIN,
    "stimulus_duration_sec": Scalar.NAN,
    "stimulus_name": Scalar.PLAIN,
    "task": Scalar.PLAIN,
}

PERFORMANCE_METRICS = {
    "trial_count": Scalar.PLAIN,
    "go_trial_count": Scalar.NUMPY,
    "catch_trial_count": Scalar.NUMPY,
    "hit_trial_count": Scalar.NUMPY,
    "miss_trial_count": Scalar.NUMPY,
    "false_alarm_trial_count": Scalar.NUMPY,
    "correct_reject_trial_count": Scalar.NUMPY,
    "auto_reward_count": Scalar.NUMPY,
    "earned_reward_count": Scalar.NUMPY,
    "total_reward_count": Scalar.PLAIN,
    "total_reward_volume": Scalar.NUMPY_ALWAYS,
    "maximum_reward_rate": Scalar.NUMPY_ALWAYS,
    "engaged_trial_count": Scalar.NUMPY,
    "mean_hit_rate": Scalar.NUMPY_NAN,
    "mean_hit_rate_uncorrected": Scalar.NUMPY_NAN,
    "mean_hit_rate_engaged": Scalar.NUMPY_NAN,
    "mean_false_alarm_rate": Scalar.NUMPY_NAN,
    "mean_false_alarm_rate_uncorrected": Scalar.NUMPY_NAN,
    "mean_false_alarm_rate_engaged": Scalar.NUMPY_NAN,
    "mean_dprime": Scalar.NUMPY_NAN,
    "mean_dprime_engaged": Scalar.NUMPY_NAN,
    "max_dprime": Scalar.NUMPY_NAN,
    "max_dprime_engaged": Scalar.NUMPY_NAN,
}

RIG_GEOMETRY = (
    "camera_position_mm",
    "camera_rotation_deg",
    "equipment",
    "led_position",
    "monitor_position_mm",
    "monitor_rotation_deg",
)
