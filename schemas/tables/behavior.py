"""Behaviour tables: time series and the stimulus clock, keyed by `behavior_session_id`."""

from __future__ import annotations

from schemas.checks import Clock, ascending, in_clock
from schemas.model import Column, Encoding, Storage, Subject, Table, Type, column, documented
from schemas.tables.keys import BEHAVIOR_KEYS, TO_BEHAVIOR_SESSION

LICKS = Table(
    name="licks",
    description="Every lick of a session. A session without licks (most passive ones) has no rows.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        documented(
            "timestamps",
            Type.FLOAT64,
            "Time of the lick.",
            "s",
            "/processing/licking/licks/timestamps",
            required=True,
        ),
        documented(
            "frame",
            Type.INT64,
            "Stimulus frame of the lick, counted from 0.",
            "frame",
            "/processing/licking/licks/data",
            required=True,
        ),
    ),
    primary_key=(),
    order=("behavior_session_id", "frame"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    checks=(in_clock("frame", Clock.STIMULUS), ascending("timestamps")),
)

REWARDS = Table(
    name="rewards",
    description="Every water reward of a session. A session without rewards (most passive ones) "
    "has no rows.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        documented(
            "volume", Type.FLOAT64, "Volume of the drop.", "mL", "/processing/rewards/volume/data"
        ),
        documented(
            "timestamps",
            Type.FLOAT64,
            "Time of delivery.",
            "s",
            "/processing/rewards/autorewarded/timestamps",
            required=True,
        ),
        documented(
            "autorewarded",
            Type.BOOL,
            "Whether the drop was free rather than earned by a hit.",
            source="/processing/rewards/autorewarded/data",
            alias="auto_rewarded",
        ),
    ),
    primary_key=(),
    order=("behavior_session_id", "timestamps"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    checks=(ascending("timestamps"),),
)


def _running(name: str, description: str, series: str) -> Table:
    return Table(
        name=name,
        description=description,
        subject=Subject.BEHAVIOR,
        storage=Storage.SESSION,
        columns=(
            *BEHAVIOR_KEYS,
            documented(
                "timestamps",
                Type.FLOAT64,
                "Time of the sample.",
                "s",
                f"/processing/running/{series}/timestamps",
                required=True,
            ),
            documented(
                "speed",
                Type.FLOAT64,
                "Running speed, positive forward; the sign of a session recorded backwards is "
                "flipped.",
                "cm/s",
                f"/processing/running/{series}/data, signed by docs/formulas.md, running polarity",
            ),
            column(
                "frame",
                Type.INT64,
                "Stimulus frame of the sample, counted from 0; NULL if none is within 5 ms.",
                "frame",
                "frame of stimulus_timestamps nearest to timestamps",
            ),
        ),
        primary_key=(),
        order=("behavior_session_id", "timestamps"),
        foreign_keys=(TO_BEHAVIOR_SESSION,),
        encoding=Encoding.SIGNAL,
        checks=(ascending("timestamps"),),
    )


RUNNING_SPEED = _running(
    "running_speed", "Running speed at 60 Hz after a 10 Hz low-pass filter.", "speed"
)
RAW_RUNNING_SPEED = _running(
    "raw_running_speed", "Running speed at 60 Hz, unfiltered.", "speed_unfiltered"
)

RUNNING_ACQUISITION = Table(
    name="running_acquisition",
    description="Raw signals of the running wheel in each stimulus frame, from which speed was "
    "computed.",
    subject=Subject.BEHAVIOR,
    storage=Storage.SESSION,
    columns=(
        *BEHAVIOR_KEYS,
        column(
            "timestamps",
            Type.FLOAT64,
            "Time of the sample.",
            "s",
            "/processing/running/dx/timestamps",
            required=True,
        ),
        column(
            "dx",
            Type.FLOAT64,
            "Turn of the wheel since the last frame; an angle, though the files call it cm.",
            source="/processing/running/dx/data",
        ),
        column(
            "v_sig", Type.FLOAT64, "Voltage of the wheel's encoder.", "V", "/acquisition/v_sig/data"
        ),
        column(
            "v_in",
            Type.FLOAT64,
            "Voltage at which the encoder starts again from 0.",
            "V",
            "/acquisition/v_in/data",
        ),
    ),
    primary_key=(),
    order=("behavior_session_id", "timestamps"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    encoding=Encoding.SIGNAL,
    checks=(ascending("timestamps"),),
    by_name_only=True,
)

STIMULUS_TIMESTAMPS = Table(
    name="stimulus_timestamps",
    description="The stimulus clock, one list per session. In SQL, `timestamps[k + 1]` is the "
    "time of stimulus frame k.",
    subject=Subject.BEHAVIOR,
    storage=Storage.SESSION,
    columns=(
        *BEHAVIOR_KEYS,
        documented(
            "timestamps",
            Type.LIST_FLOAT64,
            "Time of each stimulus frame, not including the monitor's delay.",
            "s",
            "/processing/stimulus/timestamps/timestamps",
            required=True,
        ),
    ),
    primary_key=("behavior_session_id",),
    order=("behavior_session_id",),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    encoding=Encoding.SIGNAL,
    checks=(ascending("timestamps"),),
)


def _ellipse(name: str, part: str, series: str, *, blanked: bool) -> tuple[Column, ...]:
    at = f"/acquisition/EyeTracking/{series}"
    note, blank = (", NULL in likely blinks", ", NULL where likely_blink") if blanked else ("", "")
    return (
        documented(
            f"{name}_center_x",
            Type.FLOAT64,
            f"Centre of the {part} ellipse, x.",
            "px",
            f"{at}/data[:, 0]",
        ),
        documented(
            f"{name}_center_y",
            Type.FLOAT64,
            f"Centre of the {part} ellipse, y (down).",
            "px",
            f"{at}/data[:, 1]",
        ),
        documented(
            f"{name}_width",
            Type.FLOAT64,
            f"Semi-axis of the {part} ellipse{note}.",
            "px",
            f"{at}/width{blank}",
        ),
        documented(
            f"{name}_height",
            Type.FLOAT64,
            f"Other semi-axis of the {part} ellipse{note}.",
            "px",
            f"{at}/height{blank}",
        ),
        documented(
            f"{name}_phi",
            Type.FLOAT64,
            f"Angle of the {part} ellipse to the x axis{note}.",
            "rad",
            f"{at}/angle{blank}",
        ),
    )


def _shape(name: str) -> str:
    # The pupil is treated as a circle, pi * max(width, height)^2; other areas are
    # pi * width * height.
    return "circle, whose radius is the longer semi-axis" if name == "pupil" else "ellipse"


def _area(name: str, part: str, series: str) -> Column:
    at = f"/acquisition/EyeTracking/{series}/area_raw"
    return documented(
        f"{name}_area",
        Type.FLOAT64,
        f"Area of the {part} {_shape(name)}, NULL in likely blinks.",
        "px^2",
        f"{at}, NULL where likely_blink",
    )


def _raw_area(name: str, part: str, series: str) -> Column:
    return documented(
        f"{name}_area_raw",
        Type.FLOAT64,
        f"Area of the {part} {_shape(name)}, including likely blinks.",
        "px^2",
        f"/acquisition/EyeTracking/{series}/area_raw",
    )


_EYE = ("eye", "eye", "eye_tracking")
_PUPIL = ("pupil", "pupil", "pupil_tracking")
_REFLECTION = ("cr", "corneal reflection", "corneal_reflection_tracking")

EYE_TRACKING = Table(
    name="eye_tracking",
    description="Ellipses fitted to eye, pupil and corneal reflection in camera coordinates, one "
    "row per video frame.",
    subject=Subject.BEHAVIOR,
    storage=Storage.SESSION,
    columns=(
        *BEHAVIOR_KEYS,
        documented(
            "frame",
            Type.INT64,
            "Frame of the eye video, counted from 0.",
            "frame",
            "row number",
            required=True,
        ),
        documented(
            "timestamps",
            Type.FLOAT64,
            "Time of the video frame.",
            "s",
            "/acquisition/EyeTracking/eye_tracking/timestamps",
            required=True,
        ),
        _area(*_REFLECTION),
        _area(*_EYE),
        _area(*_PUPIL),
        documented(
            "likely_blink",
            Type.BOOL,
            "Whether the fit failed or is an outlier, in this frame or within two frames of it.",
            source="docs/formulas.md, likely blink",
            required=True,
        ),
        _raw_area(*_PUPIL),
        _raw_area(*_REFLECTION),
        _raw_area(*_EYE),
        *_ellipse(*_REFLECTION, blanked=False),
        *_ellipse(*_EYE, blanked=True),
        *_ellipse(*_PUPIL, blanked=True),
    ),
    primary_key=("behavior_session_id", "frame"),
    order=("behavior_session_id", "frame"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    encoding=Encoding.EYE_TRACKING,
    checks=(ascending("timestamps"),),
)

_RIG = "/processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata"


def _place(name: str, description: str, unit: str, dataset: str) -> Column:
    text = f"{description}: x, y, z."
    return column(name, Type.LIST_FLOAT64, text, unit, f"{_RIG}/{dataset}", required=True)


EYE_TRACKING_RIG_GEOMETRY = Table(
    name="eye_tracking_rig_geometry",
    description="Where monitor, eye camera and its light stood, one row per session. Files without "
    "eye tracking rarely say so.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _place("camera_position_mm", "Position of the eye camera", "mm", "camera_position"),
        _place("camera_rotation_deg", "Rotation of the eye camera", "deg", "camera_rotation"),
        column("equipment", Type.STRING, "Rig.", source=f"{_RIG}@equipment", required=True),
        _place("led_position", "Position of the infrared light", "mm", "led_position"),
        _place("monitor_position_mm", "Position of the monitor", "mm", "monitor_position"),
        _place("monitor_rotation_deg", "Rotation of the monitor", "deg", "monitor_rotation"),
    ),
    primary_key=("behavior_session_id",),
    order=("behavior_session_id",),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
)

BEHAVIOR_SERIES_TABLES = (
    LICKS,
    REWARDS,
    RUNNING_SPEED,
    RAW_RUNNING_SPEED,
    RUNNING_ACQUISITION,
    STIMULUS_TIMESTAMPS,
    EYE_TRACKING,
    EYE_TRACKING_RIG_GEOMETRY,
)
