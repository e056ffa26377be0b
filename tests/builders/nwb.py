"""NWB files of the released layout, hand-made and tiny, in memory.

A file is a plain dictionary, so that a test changes it by `|` and `without`: an absolute path stands for a dataset (text, numbers, a
link), `path@name` for an attribute. `behavior_file` and `experiment_file` are whole files with a clock of 4 frames a second.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from pipelines.nwb.hdf5 import HdfFile
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from schemas import TABLES
from schemas.casts import conform
from schemas.errors import DataError

Content = dict[str, Any]

NAME = "behavior_sessions/file.nwb"
"""What files are called in errors."""

NAN = float("nan")
INF = float("inf")

BEHAVIOR_SESSION_ID, OPHYS_SESSION_ID, EXPERIMENT_ID = 1001, 2001, 5001
KEYS = {"behavior_session_id": BEHAVIOR_SESSION_ID, "ophys_session_id": OPHYS_SESSION_ID, "ophys_experiment_id": EXPERIMENT_ID}

TRIALS = "/intervals/trials"
IMAGES = "Natural_Images_Lum_Matched_set_A_2017"
TEMPLATE = f"{IMAGES}.07.14"
OPHYS = "/processing/ophys"
CELLS = f"{OPHYS}/image_segmentation/cell_specimen_table"
EYE = "/acquisition/EyeTracking"

_numbers = itertools.count()


def _text(values: Any) -> bool:
    return isinstance(values, (str, bytes)) or (isinstance(values, list) and bool(values) and isinstance(values[0], (str, bytes)))


def _put(h5: h5py.File, path: str, value: Any) -> None:
    if "@" in path:
        path, name = path.split("@")
        node = h5[path] if path in h5 else h5.create_group(path)
        node.attrs[name] = np.array(value, dtype=h5py.string_dtype()) if _text(value) and isinstance(value, list) else value
    elif isinstance(value, (h5py.SoftLink, h5py.ExternalLink)):
        h5[path] = value
    elif value is None:
        h5.require_group(path)
    elif _text(value):
        h5.create_dataset(path, data=np.array(value, dtype=object) if isinstance(value, list) else value, dtype=h5py.string_dtype())
    else:
        h5.create_dataset(path, data=value)


def make(content: Mapping[str, Any]) -> h5py.File:
    """The file in memory. Datasets come first, since attributes may be theirs."""
    h5 = h5py.File(f"{next(_numbers)}.nwb", "w", driver="core", backing_store=False)
    for path in sorted(content, key=lambda path: ("@" in path, path)):
        _put(h5, path, content[path])
    return h5


def changed(image: bytes, before: Content, after: Content) -> Recording:
    """A file made from `before`, given as its bytes, turned into that of `after`: much faster than making the whole of it."""
    h5 = h5py.File(io.BytesIO(image), "r+")
    gone = [path for path, value in before.items() if after.get(path) is not value]
    for path in gone:
        node, _, name = path.partition("@")
        if not name:
            del h5[path]
        elif node in h5 and name in h5[node].attrs:
            del h5[node].attrs[name]
    for path in sorted((p for p, v in after.items() if before.get(p) is not v), key=lambda path: ("@" in path, path)):
        _put(h5, path, after[path])
    return Recording(HdfFile(h5, NAME))


def recording(content: Mapping[str, Any]) -> Recording:
    """The file, ready to be read."""
    return Recording(HdfFile(make(content), NAME))


def without(content: Content, *prefixes: str) -> Content:
    """The same file without some objects, all that is in them, and their attributes. Columns of tables also leave their `colnames`."""
    gone = {p for p in content for prefix in prefixes if p == prefix or p.startswith((f"{prefix}/", f"{prefix}@"))}
    rest = {p: v for p, v in content.items() if p not in gone}
    for prefix in prefixes:
        folder, _, name = prefix.rpartition("/")
        listed = rest.get(f"{folder}@colnames")
        if listed is not None and name in listed:
            rest[f"{folder}@colnames"] = [n for n in listed if n != name]
    return rest


def read(table: str, source: Recording | Content) -> pa.Table:
    """All rows of a table of the lake as they would be written, keys included."""
    opened = source if isinstance(source, Recording) else recording(source)
    declared = TABLES[table]
    stored = {c.name for c in declared.stored}
    keys = {k: v for k, v in KEYS.items() if k in stored}
    batches = [conform(declared, {**keys, **rows.columns}, rows.count) for rows in READERS[table](opened)]
    for batch in batches:
        batch.validate(full=True)
    return pa.concat_tables(batches) if batches else conform(declared, {c.name: [] for c in declared.stored}, 0)


def columns(table: str, source: Recording | Content, *names: str) -> dict[str, list[Any]]:
    """The same as Python values by column, without the keys; only some columns if they are named."""
    rows = read(table, source)
    return {name: rows.column(name).to_pylist() for name in names or rows.column_names if name not in KEYS}


def column(table: str, source: Recording | Content, name: str) -> list[Any]:
    """One column of a table."""
    return columns(table, source, name)[name]


def dynamic_table(path: str, values: Mapping[str, Any], ids: Sequence[int] | None = None) -> Content:
    """A DynamicTable with one dataset per column, in this order."""
    rows = len(next(iter(values.values())))
    content: Content = {f"{path}/id": np.arange(rows) if ids is None else np.array(ids), f"{path}@colnames": list(values)}
    return content | {f"{path}/{name}": column for name, column in values.items()}


def ragged(path: str, rows: Sequence[Sequence[float]], index_dtype: Any = np.uint8) -> Content:
    """A ragged column as the release's writer has it: one empty text if there is nothing in it."""
    items = [item for row in rows for item in row]
    ends = np.cumsum([len(row) for row in rows]).astype(index_dtype)
    return {path: np.array(items, dtype=np.float64) if items else [""], f"{path}_index": ends}


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
    starts, changes = np.array(start_time, dtype=np.float64), np.array(change_time, dtype=np.float64)
    is_ = {name: np.array([o == name for o in outcomes], dtype=bool) for name in OUTCOMES}
    first = np.array([row[0] if len(row) else INF for row in licks])
    values: dict[str, Any] = {
        "start_time": starts,
        "stop_time": starts + 3.5,
        "initial_image_name": ["im065"] * n,
        "change_image_name": ["im077" if o in ("hit", "miss", "auto_rewarded") else "im065" for o in outcomes],
        "is_change": is_["hit"] | is_["miss"] | is_["auto_rewarded"],
        "change_time": changes,
        "go": is_["hit"] | is_["miss"],
        "catch": is_["false_alarm"] | is_["correct_reject"],
        "lick_times": np.zeros(n),
        "response_time": np.where(is_["aborted"] | np.isinf(first), NAN, first),
        "response_latency": np.where(is_["aborted"], NAN, first - np.where(np.isnan(changes), 0, changes)),
        "reward_time": np.where(is_["hit"], first, NAN),
        "reward_volume": np.where(is_["hit"], 0.005, 0.0),
        **is_,
        "change_frame": np.where(np.isnan(changes), -99, np.nan_to_num(changes) * 4 - 1).astype(np.int64),
        "trial_length": np.full(n, 3.5),
        **changed,
    }
    return dynamic_table(TRIALS, values) | ragged(f"{TRIALS}/lick_times", licks)


def trials() -> Content:
    """Four trials: a hit with two licks, an aborted one, a catch trial and a miss without licks."""
    return trials_of(
        ["hit", "aborted", "correct_reject", "miss"], [0.0, 4.5, 6.5, 10.5], [2.25, NAN, 8.25, 12.25], [[2.75, 3.0], [5.5], [], []]
    )


def licks() -> Content:
    """The three licks of `trials`."""
    frames = np.array([11, 12, 22])
    return {"/processing/licking/licks/data": frames, "/processing/licking/licks/timestamps": frames / 4}


def presentations() -> Content:
    """Gray screen, four flashes and an omission, one more flash, and two frames of the movie, in the layout of release 1.1.0.

    Time order: gray 0.0, im065 1.25, im077 2.25, omitted 3.25, im077 4.25, im077 8.25 (sham change), im065 12.25, movie 15.25 and 15.5.
    """
    start = np.array([1.25, 2.25, 3.25, 4.25, 8.25, 12.25])
    images = {
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
    movie_start = np.array([15.25, 15.5])
    movie = {
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
        dynamic_table(f"/intervals/{IMAGES}_presentations", images)
        | dynamic_table("/intervals/natural_movie_one_presentations", movie)
        | dynamic_table("/intervals/spontaneous_presentations", gray)
    )


def old_presentations() -> Content:
    """The same flashes in the layout of releases before 1.1.0: a group per image, neither blocks nor trials, no end of omissions."""
    content: Content = {}
    for name, index, start in (("im065", [0, 5], [1.25, 12.25]), ("im077", [1, 3, 4], [2.25, 4.25, 8.25]), ("omitted", [2], [3.25])):
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
        "/processing/rewards/volume/data": np.array([0.005]),
        "/processing/rewards/volume/timestamps": np.array([2.75]),
        "/processing/rewards/autorewarded/data": np.array([False]),
        "/processing/rewards/autorewarded/timestamps": np.array([2.75]),
    }


def eye_tracking(eye_area: Sequence[float], pupil_area: Sequence[float]) -> Content:
    """Ellipse fits whose other values tell part, quantity and frame: eye 100, pupil 200, reflection 300, 10 more a quantity, 1 a frame."""
    n = len(eye_area)
    content: Content = {f"{EYE}/eye_tracking/timestamps": np.arange(n) / 30}
    areas = {"eye_tracking": eye_area, "pupil_tracking": pupil_area, "corneal_reflection_tracking": np.full(n, 7.0)}
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


def behavior_file() -> Content:
    """A behaviour file of release 1.1.0."""
    return metadata() | series() | licks() | trials() | presentations() | templates() | eye_tracking([10.0] * 4, [20.0] * 4)


def old_behavior_file() -> Content:
    """The same session as releases before 1.1.0 have it."""
    content = without(behavior_file(), "/intervals", "/general/metadata@project_code", "/general/task_parameters@stimulus_name")
    content |= trials() | old_presentations()
    content[f"{TRIALS}@colnames"] = ["stimulus_change" if n == "is_change" else n for n in content[f"{TRIALS}@colnames"]]
    content[f"{TRIALS}/stimulus_change"] = content.pop(f"{TRIALS}/is_change")
    change_frame = content[f"{TRIALS}/change_frame"].astype(np.float64)
    content[f"{TRIALS}/change_frame"] = np.where(change_frame == -99, NAN, change_frame)
    return content


FRAMES = 5
ROI_IDS = (903, 901, 902, 904)
"""The third, 902, is not valid; 904 is not matched to a cell."""


def traces(interface: str, base: float, roi_count: int = len(ROI_IDS)) -> Content:
    """Traces whose values tell frame and column: `base` + 10 a frame + 1 a column."""
    at = f"{OPHYS}/{interface}/traces"
    data = base + 10.0 * np.arange(FRAMES)[:, None] + np.arange(roi_count)
    return {f"{at}/data": data, f"{at}/timestamps": np.arange(FRAMES) / 8, f"{at}/rois": np.arange(roi_count)}


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
        **{f"max_correction_{side}": np.array([1.5, 2.5, 3.5, 4.5]) + i for i, side in enumerate(("down", "left", "right", "up"))},
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
    for base, interface in ((1000.0, "dff"), (2000.0, "corrected_fluorescence"), (3000.0, "demixed_trace"), (4000.0, "neuropil_trace")):
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


def problem(table: str, source: Recording | Content) -> str:
    """What the error says that reading a table ends with."""
    with pytest.raises(DataError) as caught:
        read(table, source)
    return str(caught.value)
