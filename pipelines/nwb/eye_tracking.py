"""Eye tracking: ellipse fits, likely blinks, and the geometry of the rig."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.nwb.recording import Recording, Rows
from schemas import TABLES
from schemas.casts import NDArray, Values

_EYE_TRACKING = "/acquisition/EyeTracking"
EYE_CLOCK = f"{_EYE_TRACKING}/eye_tracking/timestamps"
_SERIES = {"eye": "eye_tracking", "pupil": "pupil_tracking", "cr": "corneal_reflection_tracking"}
RIG = "/processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata"
_PLACES = {
    "camera_position_mm": "camera_position",
    "camera_rotation_deg": "camera_rotation",
    "led_position": "led_position",
    "monitor_position_mm": "monitor_position",
    "monitor_rotation_deg": "monitor_rotation",
}
_Z_THRESHOLD = 3.0
_DILATION_FRAMES = 2


def outliers(area: NDArray) -> NDArray:
    """Frames whose area is missing, or more than 3 population standard deviations from the mean.

    A constant area has no outliers.

    >>> outliers(np.array([1.0, np.nan, 1.0])).tolist()
    [False, True, False]
    """
    missing = np.isnan(area)
    present = area[~missing]
    if not len(present):
        return missing
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.abs(area - np.mean(present)) / np.std(present)
        return missing | (z > _Z_THRESHOLD)


def likely_blink(eye_area: NDArray, pupil_area: NDArray) -> NDArray:
    """Frames within two of a frame in which either fit is missing or an outlier.

    Args:
        eye_area: raw eye area, shape (n,), px^2.
        pupil_area: raw pupil area, shape (n,), px^2.

    >>> area = np.ones(7)
    >>> likely_blink(area, np.where(np.arange(7) == 3, np.nan, area)).tolist()
    [False, True, True, True, True, True, False]
    """
    bad = outliers(eye_area) | outliers(pupil_area)
    blink = bad.copy()
    for shift in range(1, _DILATION_FRAMES + 1):
        blink[shift:] |= bad[:-shift]
        blink[:-shift] |= bad[shift:]
    return blink


def _no_rows(table: str) -> Rows:
    names = [c.name for c in TABLES[table].converted if c.name != "behavior_session_id"]
    return Rows({name: [] for name in names}, 0)


@dataclass(frozen=True)
class Pupil:
    """What the size of the pupil is computed from; values of shape (n_frames,).

    Attributes:
        times: seconds.
        eye_area_raw: px^2, likely blinks included.
        area_raw: of the pupil, px^2, likely blinks included.
        width: semi-axis, px, NaN in likely blinks.
        blink: likely blinks.
    """

    times: NDArray
    eye_area_raw: NDArray
    area_raw: NDArray
    width: NDArray
    blink: NDArray

    @property
    def area(self) -> NDArray:
        """Area of the pupil, px^2, NaN in likely blinks."""
        return np.where(self.blink, np.nan, self.area_raw)


def read_pupil(recording: Recording) -> Pupil | None:
    """Reads the pupil's size; None if the session has no eye tracking."""
    hdf = recording.hdf
    if not hdf.has(_EYE_TRACKING):
        return None
    times = hdf.read_numbers(EYE_CLOCK)
    eye, pupil = (
        hdf.read_numbers(f"{_EYE_TRACKING}/{_SERIES[part]}/area_raw", rows=len(times))
        for part in ("eye", "pupil")
    )
    width = hdf.read_numbers(f"{_EYE_TRACKING}/{_SERIES['pupil']}/width", rows=len(times))
    blink = likely_blink(eye, pupil)
    return Pupil(times, eye, pupil, np.where(blink, np.nan, width), blink)


def eye_tracking(recording: Recording) -> Iterator[Rows]:
    """One row per video frame; none if the session has no eye tracking."""
    hdf = recording.hdf
    pupil = recording.once(read_pupil)
    if pupil is None:
        yield _no_rows("eye_tracking")
        return
    n, blink = len(pupil.times), pupil.blink
    reflection = hdf.read_numbers(f"{_EYE_TRACKING}/{_SERIES['cr']}/area_raw", rows=n)
    raw = {"eye": pupil.eye_area_raw, "pupil": pupil.area_raw, "cr": reflection}
    columns: dict[str, Values] = {
        "frame": np.arange(n),
        "timestamps": pupil.times,
        "likely_blink": blink,
        "pupil_width": pupil.width,
    }
    for part, series in _SERIES.items():
        at = f"{_EYE_TRACKING}/{series}"
        columns[f"{part}_area_raw"] = raw[part]
        columns[f"{part}_area"] = np.where(blink, np.nan, raw[part])
        centre = hdf.read_numbers(f"{at}/data", ndim=2, rows=n)
        if centre.shape[1] != 2:
            raise hdf.error(
                f"{at}/data",
                "a dataset has another shape",
                expected=f"({n}, 2)",
                found=str(centre.shape),
            )
        columns[f"{part}_center_x"] = centre[:, 0]
        columns[f"{part}_center_y"] = centre[:, 1]
        for name, dataset in (("width", "width"), ("height", "height"), ("phi", "angle")):
            if f"{part}_{name}" in columns:
                continue  # the pupil's width, which was read before
            values = hdf.read_numbers(f"{at}/{dataset}", rows=n)
            # The corneal reflection is kept as fitted, blinks included.
            columns[f"{part}_{name}"] = values if part == "cr" else np.where(blink, np.nan, values)
    yield Rows(columns, n)


def eye_tracking_rig_geometry(recording: Recording) -> Iterator[Rows]:
    """Position and rotation of monitor, camera and light, one row; none if the file has none.

    Raises:
        DataError: one of them is missing, or has not three coordinates.
    """
    hdf = recording.hdf
    if not hdf.has(RIG):
        yield _no_rows("eye_tracking_rig_geometry")
        return
    places: dict[str, Values] = {
        name: [hdf.read_numbers(f"{RIG}/{dataset}", rows=3)] for name, dataset in _PLACES.items()
    }
    yield Rows({**places, "equipment": [hdf.attribute_string(RIG, "equipment")]}, 1)
