"""The contents of a behaviour file, and of the same session in the older layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from builders.nwb.files import (
    BEHAVIOR_SESSION_ID,
    INF,
    NAN,
    Content,
    dynamic_table,
    ragged,
    without,
)

TRIALS = "/intervals/trials"
IMAGES = "Natural_Images_Lum_Matched_set_A_2017"
TEMPLATE = f"{IMAGES}.07.14"
EYE = "/acquisition/EyeTracking"
RIG = "/processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata"

OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")


def trials_of(
    outcomes: Sequence[str],
    start_time: Sequence[float],
    change_time: Sequence[float],
    licks: Sequence[Sequence[float]],
    **changed: Any,
) -> Content:
    """A table of trials from what the formulas need; `changed` replaces or adds columns."""
    n = len(outcomes)
    starts, changes = (
        np.array(start_time, dtype=np.float64),
        np.array(change_time, dtype=np.float64),
    )
    is_ = {name: np.array([o == name for o in outcomes], dtype=bool) for name in OUTCOMES}
    first = np.array([row[0] if len(row) else INF for row in licks])
    values: dict[str, Any] = {
        "start_time": starts,
        "stop_time": starts + 3.5,
        "initial_image_name": ["im065"] * n,
        "change_image_name": [
            "im077" if o in ("hit", "miss", "auto_rewarded") else "im065" for o in outcomes
        ],
        "is_change": is_["hit"] | is_["miss"] | is_["auto_rewarded"],
        "change_time": changes,
        "go": is_["hit"] | is_["miss"],
        "catch": is_["false_alarm"] | is_["correct_reject"],
        "lick_times": np.zeros(n),
        "response_time": np.where(is_["aborted"] | np.isinf(first), NAN, first),
        "response_latency": np.where(
            is_["aborted"], NAN, first - np.where(np.isnan(changes), 0, changes)
        ),
        "reward_time": np.where(is_["hit"], first, NAN),
        "reward_volume": np.where(is_["hit"], 0.005, 0.0),
        **is_,
        "change_frame": np.where(np.isnan(changes), -99, np.nan_to_num(changes) * 4 - 1).astype(
            np.int64
        ),
        "trial_length": np.full(n, 3.5),
        **changed,
    }
    return dynamic_table(TRIALS, values) | ragged(f"{TRIALS}/lick_times", licks)


def trials() -> Content:
    """Four trials: a hit with two licks, an aborted one, a catch trial and a miss without licks."""
    return trials_of(
        ["hit", "aborted", "correct_reject", "miss"],
        [0.0, 4.5, 6.5, 10.5],
        [2.25, NAN, 8.25, 12.25],
        [[2.75, 3.0], [5.5], [], []],
    )


def licks() -> Content:
    """The three licks of `trials`."""
    frames = np.array([11, 12, 22])
    return {
        "/processing/licking/licks/data": frames,
        "/processing/licking/licks/timestamps": frames / 4,
    }


def _images() -> dict[str, Any]:
    start = np.array([1.25, 2.25, 3.25, 4.25, 8.25, 12.25])
    return {
        "start_time": start,
        "stop_time": start + 0.25,
        "stimulus_block": np.full(6, 1),
        "stimulus_block_name": ["change_detection_behavior"] * 6,
        "image_index": np.array([0, 1, 2, 1, 1, 0]),
        "image_name": ["im065", "im077", "omitted", "im077", "im077", "im065"],
        "movie_frame_index": np.full(6, -99),
        "duration": np.full(6, 0.25),
        "start_frame": (start * 4 - 1).astype(np.int64),
        "end_frame": (start * 4).astype(np.int64),
        "is_change": np.array([1.0, 1, 1, 1, 1, 1]),
        "is_image_novel": np.array([0.0, 1.0, NAN, 1.0, 1.0, 0.0]),
        "omitted": np.array([0.0, 0, 1, 0, 0, 0]),
        "movie_repeat": np.full(6, -99),
        "flashes_since_change": np.full(6, 55),
        "trials_id": np.array([0, 0, 0, 0, 2, 3]),
        "active": np.ones(6, dtype=bool),
        "is_sham_change": np.array([False, False, False, False, True, False]),
        "stimulus_name": [IMAGES] * 6,
        "tags": ["stimulus_time_interval"] * 6,
    }


def _movie() -> dict[str, Any]:
    movie_start = np.array([15.25, 15.5])
    return {
        "start_time": movie_start,
        "stop_time": movie_start + 0.25,
        "stimulus_block": np.full(2, 3),
        "stimulus_block_name": ["natural_movie_one"] * 2,
        "image_index": np.full(2, -99),
        "movie_frame_index": np.array([0, 1]),
        "duration": np.full(2, 0.25),
        "start_frame": np.array([60, 61]),
        "end_frame": np.array([61, 62]),
        "movie_repeat": np.zeros(2, dtype=np.int64),
        "trials_id": np.full(2, -99),
        "active": np.zeros(2, dtype=bool),
        "is_sham_change": np.zeros(2, dtype=bool),
        "stimulus_name": ["natural_movie_one"] * 2,
    }


def presentations() -> Content:
    """Gray screen, four flashes and an omission, one more flash, and two frames of the movie, in the layout of release 1.1.0.

    Time order: gray 0.0, im065 1.25, im077 2.25, omitted 3.25, im077 4.25, im077 8.25 (sham change), im065 12.25, movie 15.25 and 15.5.
    """
    movie = _movie()
    gray = {name: values[:1] for name, values in movie.items()} | {
        "start_time": np.array([0.0]),
        "stop_time": np.array([1.25]),
        "stimulus_block": np.array([0]),
        "stimulus_block_name": ["initial_gray_screen_5min"],
        "movie_frame_index": np.array([-99]),
        "movie_repeat": np.array([-99]),
        "duration": np.array([1.25]),
        "start_frame": np.array([0]),
        "end_frame": np.array([4]),
        "stimulus_name": ["spontaneous"],
    }
    return (
        dynamic_table(f"/intervals/{IMAGES}_presentations", _images())
        | dynamic_table("/intervals/natural_movie_one_presentations", movie)
        | dynamic_table("/intervals/spontaneous_presentations", gray)
    )


def old_presentations() -> Content:
    """The same flashes in the layout of releases before 1.1.0: a group per image, neither blocks nor trials, no end of omissions."""
    content: Content = {}
    for name, index, start in (
        ("im065", [0, 5], [1.25, 12.25]),
        ("im077", [1, 3, 4], [2.25, 4.25, 8.25]),
        ("omitted", [2], [3.25]),
    ):
        times = np.array(start)
        values: dict[str, Any] = {
            "start_time": times,
            "stop_time": times + 0.25,
            "duration": np.full(len(start), 0.25),
            "end_frame": times * 4,
            "image_index": np.full(len(start), {"im065": 0, "im077": 1, "omitted": 2}[name]),
            "image_name": [name] * len(start),
            "image_set": [TEMPLATE if name != "omitted" else "omitted"] * len(start),
            "index": np.array(index) + 100,
            "omitted": np.full(len(start), name == "omitted"),
            "start_frame": (times * 4 - 1).astype(np.int64),
        }
        if name == "omitted":
            del values["end_frame"]
        content |= dynamic_table(f"/intervals/{name}_presentations", values)
    return content


def templates(group: str = TEMPLATE) -> Content:
    """Two images of 2 x 3 pixels, not in the order of their names."""
    at = f"/stimulus/templates/{group}"
    return {
        f"{at}/control_description": ["im077", "im065"],
        f"{at}/data": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        f"{at}/unwarped": np.array([[[0.5, 1, 2], [3, 4, NAN]], [[6, 7, 8], [9, 10, 11]]]),
    }


def metadata() -> Content:
    """Metadata and task parameters of a behaviour file."""
    return {
        "/identifier": str(BEHAVIOR_SESSION_ID),
        "/session_start_time": "2020-02-03T04:05:06.250000-08:00",
        "/general/metadata@behavior_session_id": np.int64(BEHAVIOR_SESSION_ID),
        "/general/metadata@behavior_session_uuid": "c428be61-87d2-44f6-b00d-3401f28fa201",
        "/general/metadata@equipment_name": "CAM2P.4",
        "/general/metadata@project_code": "VisualBehavior",
        "/general/metadata@session_type": "OPHYS_1_images_A",
        "/general/metadata@stimulus_frame_rate": 60.0,
        "/general/subject/age": "P213D",
        "/general/subject/genotype": "Slc17a7-IRES2-Cre/wt;Camk2a-tTA/wt;Ai93(TITL-GCaMP6f)/wt",
        "/general/subject/sex": "F",
        "/general/subject/subject_id": "457841",
        "/general/subject@driver_line": ["Slc17a7-IRES2-Cre", "Camk2a-tTA"],
        "/general/subject@reporter_line": "Ai93(TITL-GCaMP6f)",
        "/general/task_parameters@auto_reward_volume": 0.005,
        "/general/task_parameters@blank_duration_sec": ["0.5", "0.5"],
        "/general/task_parameters@n_stimulus_frames": np.int64(80),
        "/general/task_parameters@omitted_flash_fraction": 0.05,
        "/general/task_parameters@response_window_sec": ["0.15", "0.75"],
        "/general/task_parameters@reward_volume": 0.007,
        "/general/task_parameters@session_type": "OPHYS_1_images_A",
        "/general/task_parameters@stimulus": "images",
        "/general/task_parameters@stimulus_distribution": "geometric",
        "/general/task_parameters@stimulus_duration_sec": 0.25,
        "/general/task_parameters@stimulus_name": IMAGES,
        "/general/task_parameters@task": "change detection",
    }


def series() -> Content:
    """Stimulus clock, running and one reward."""
    clock = np.arange(80) / 4
    return {
        "/processing/stimulus/timestamps/timestamps": clock,
        "/processing/running/speed/timestamps": clock[:3],
        "/processing/running/speed/data": np.array([1.5, NAN, -0.5]),
        "/processing/running/speed_unfiltered/timestamps": clock[:3],
        "/processing/running/speed_unfiltered/data": np.array([2.0, 3.0, -1.0]),
        "/processing/running/dx/timestamps": clock[:3],
        "/processing/running/dx/data": np.array([0.5, -0.25, 0.0], dtype=np.float32),
        "/acquisition/v_sig/data": np.array([1.25, 1.5, 1.0]),
        "/acquisition/v_in/data": np.array([5.0, 5.0, 4.5]),
        "/processing/rewards/volume/data": np.array([0.005]),
        "/processing/rewards/volume/timestamps": np.array([2.75]),
        "/processing/rewards/autorewarded/data": np.array([False]),
        "/processing/rewards/autorewarded/timestamps": np.array([2.75]),
    }


def eye_tracking(eye_area: Sequence[float], pupil_area: Sequence[float]) -> Content:
    """Ellipse fits whose other values tell part, quantity and frame: eye 100, pupil 200, reflection 300, 10 more a quantity, 1 a frame."""
    n = len(eye_area)
    content: Content = {f"{EYE}/eye_tracking/timestamps": np.arange(n) / 30}
    areas = {
        "eye_tracking": eye_area,
        "pupil_tracking": pupil_area,
        "corneal_reflection_tracking": np.full(n, 7.0),
    }
    for part, (series_name, area) in enumerate(areas.items(), start=1):
        at, base = f"{EYE}/{series_name}", 100.0 * part + np.arange(n)
        content |= {
            f"{at}/area_raw": np.array(area, dtype=np.float64),
            f"{at}/data": np.stack([base, base + 10], axis=1),
            f"{at}/width": base + 20,
            f"{at}/height": base + 30,
            f"{at}/angle": base + 40,
        }
        if part > 1:
            content[f"{at}/timestamps"] = h5py.SoftLink(f"{EYE}/eye_tracking/timestamps")
    return content


def rig_geometry() -> Content:
    """Where monitor, camera and light stood."""
    places = {
        "camera_position": (130.0, 0.0, 0.0),
        "camera_rotation": (0.0, 0.0, 13.1),
        "led_position": (265.1, -39.3, 1.0),
        "monitor_position": (118.6, 86.2, 31.6),
        "monitor_rotation": (0.0, 0.0, 0.5),
    }
    return {f"{RIG}/{name}": np.array(place) for name, place in places.items()} | {
        f"{RIG}@equipment": "MESO.1"
    }


def behavior_file() -> Content:
    """A behaviour file of release 1.1.0."""
    return (
        metadata()
        | series()
        | licks()
        | trials()
        | presentations()
        | templates()
        | eye_tracking([10.0] * 4, [20.0] * 4)
        | rig_geometry()
    )


def old_behavior_file() -> Content:
    """The same session as releases before 1.1.0 have it."""
    content = without(
        behavior_file(),
        "/intervals",
        "/general/metadata@project_code",
        "/general/task_parameters@stimulus_name",
    )
    content |= trials() | old_presentations()
    content[f"{TRIALS}@colnames"] = [
        "stimulus_change" if n == "is_change" else n for n in content[f"{TRIALS}@colnames"]
    ]
    content[f"{TRIALS}/stimulus_change"] = content.pop(f"{TRIALS}/is_change")
    change_frame = content[f"{TRIALS}/change_frame"].astype(np.float64)
    content[f"{TRIALS}/change_frame"] = np.where(change_frame == -99, NAN, change_frame)
    return content
