"""A release whose experiment files each break one declaration, and what their error has to name.

Every file is the tiny one of `builders.nwb` under ids of its own, each of a session of its own; three mice share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from builders.bucket import PROJECT, Bucket, Row
from builders.nwb import (
    CELLS,
    EYE,
    IMAGES,
    NAN,
    OPHYS,
    ROI_IDS,
    TEMPLATE,
    TRIALS,
    Content,
    make,
    whole_file,
    without,
)
from schemas.checks import (
    AllTrue,
    Area,
    Check,
    Clock,
    ClockAscending,
    Finite,
    InClock,
    Inside,
    NotBefore,
    OneTrue,
    PerFrame,
)

MICE = (457841, 457842, 457843)
_OUTCOMES = ("hit", "false_alarm", "miss", "correct_reject", "aborted", "auto_rewarded")


@dataclass(frozen=True)
class Violation:
    """One way to break a file.

    Attributes:
        name: of the case.
        change: makes the damaged file from a good one.
        table: that the error names; None where the file as a whole is wrong.
        says: what the error says, in this order.
        checks: the declared checks that this breaks, by table.
        listed: whether the project tables list the file's ROIs and sessions.
    """

    name: str
    change: Callable[[Content], Content]
    table: str | None
    says: tuple[str, ...]
    checks: tuple[tuple[str, Check], ...] = ()
    listed: bool = True


def put(path: str, value: Any) -> Callable[[Content], Content]:
    """Replaces one dataset or attribute."""
    return lambda content: content | {path: value}


def drop(*paths: str) -> Callable[[Content], Content]:
    """Removes objects."""
    return lambda content: without(content, *paths)


def at(path: str, row: int, value: Any) -> Callable[[Content], Content]:
    """Replaces one value of a dataset."""

    def change(content: Content) -> Content:
        values = np.array(content[path])
        values[row] = value
        return content | {path: values}

    return change


_SHOWN = f"/intervals/{IMAGES}_presentations"
_IN_STIMULUS = "expected 0 to 79, frames of the clock in stimulus_timestamps"
_BACK = np.array([0.0, 0.5, 0.25])


def _clock(path: str) -> Callable[[Content], Content]:
    return lambda content: content | {path: np.concatenate((content[path][:-1], [NAN]))}


def _traces(interface: str) -> Callable[[Content], Content]:
    path = f"{OPHYS}/{interface}/traces/data"
    return lambda content: content | {path: content[path][:-1]}


VIOLATIONS = (
    Violation(
        "another behaviour session",
        put("/general/metadata@behavior_session_id", np.int64(7)),
        None,
        ("behavior_session_id", "found 7"),
    ),
    Violation(
        "another imaging session",
        put("/general/metadata@ophys_session_id", np.int64(7)),
        None,
        ("ophys_session_id", "found 7"),
    ),
    Violation(
        "another experiment", put("/identifier", "7"), None, ("ophys_experiment_id", "found 7")
    ),
    Violation(
        "another mouse", put("/general/subject/subject_id", "7"), None, ("expected 4578", "found 7")
    ),
    Violation("no mouse", drop("/general/subject/subject_id"), None, ("subject_id",)),
    Violation(
        "two outcomes",
        at(f"{TRIALS}/miss", 0, True),
        "trials",
        (
            "hit, false_alarm, miss",
            "flags exclude each other; expected exactly one of them true; found 2 of them true in row 0",
        ),
        (("trials", OneTrue(_OUTCOMES)),),
    ),
    Violation(
        "no outcome",
        at(f"{TRIALS}/hit", 0, False),
        "trials",
        ("found 0 of them true in row 0",),
        (("trials", OneTrue(_OUTCOMES)),),
    ),
    Violation(
        "a trial that ends before it starts",
        at(f"{TRIALS}/stop_time", 2, 1.0),
        "trials",
        (
            "column stop_time, start_time",
            "an end lies before its start",
            "found 1.0 before 6.5 in row 2",
        ),
        (("trials", NotBefore("stop_time", "start_time")),),
    ),
    Violation(
        "a change outside of the clock",
        at(f"{TRIALS}/change_frame", 0, 80),
        "trials",
        (
            "column change_frame",
            "a frame lies outside of the clock",
            _IN_STIMULUS,
            "found frame 80",
        ),
        (("trials", InClock("change_frame", Clock.STIMULUS)),),
    ),
    Violation(
        "a lick at no time",
        put(f"{TRIALS}/lick_times", np.array([2.75, NAN, 5.5])),
        "trials",
        ("column lick_times", "expected finite numbers", "found nan as item 1 in row 0"),
        (("trials", Finite("lick_times")),),
    ),
    Violation(
        "a trial twice",
        put(f"{TRIALS}/id", np.array([0, 1, 2, 0])),
        "trials",
        ("trials_id", "a primary key repeats", "trials_id 0"),
    ),
    Violation(
        "a presentation of no trial",
        at(f"{_SHOWN}/trials_id", 3, 77),
        "stimulus_presentations",
        ("column trials_id", "rows refer to trials that are not there", "found trials_id 77"),
    ),
    Violation(
        "a presentation outside of the clock",
        at("/intervals/natural_movie_one_presentations/start_frame", 1, 80),
        "stimulus_presentations",
        ("column start_frame", _IN_STIMULUS, "found frame 80"),
        (("stimulus_presentations", InClock("start_frame", Clock.STIMULUS)),),
    ),
    Violation(
        "an image name twice",
        put(f"/stimulus/templates/{TEMPLATE}/control_description", ["im065", "im065"]),
        None,
        ("an image name repeats", "expected unique names"),
    ),
    Violation(
        "a lick outside of the clock",
        put("/processing/licking/licks/data", np.array([11, 12, 80])),
        "licks",
        ("column frame", _IN_STIMULUS, "found frame 80"),
        (("licks", InClock("frame", Clock.STIMULUS)),),
    ),
    Violation(
        "licks out of order",
        put("/processing/licking/licks/timestamps", np.array([2.75, 5.5, 3.0])),
        "licks",
        ("timestamps", "found 3.0 after 5.5"),
        (("licks", ClockAscending("timestamps")),),
    ),
    *(
        Violation(
            f"{table} out of order",
            put(f"/processing/running/{series}/timestamps", _BACK),
            table,
            ("timestamps", "found 0.25 after 0.5"),
            ((table, ClockAscending("timestamps")),),
        )
        for table, series in (("running_speed", "speed"), ("raw_running_speed", "speed_unfiltered"))
    ),
    Violation(
        "a stimulus clock with a gap",
        _clock("/processing/stimulus/timestamps/timestamps"),
        "stimulus_timestamps",
        ("timestamps", "found nan"),
        (("stimulus_timestamps", ClockAscending("timestamps")),),
    ),
    Violation(
        "an imaging clock with a gap",
        _clock(f"{OPHYS}/dff/traces/timestamps"),
        "dff_traces",
        ("timestamps", "found nan"),
        (("ophys_timestamps", ClockAscending("timestamps")),),
    ),
    Violation(
        "eye frames out of order",
        put(f"{EYE}/eye_tracking/timestamps", np.array([0.0, 0.5, 0.25, 0.75])),
        "eye_tracking",
        ("timestamps", "found 0.25 after 0.5"),
        (("eye_tracking", ClockAscending("timestamps")),),
    ),
    Violation(
        "an ROI twice",
        put(f"{CELLS}/id", np.array([903, 901, 902, 903])),
        "cell_specimens",
        ("an ROI id repeats",),
    ),
    Violation(
        "an ROI that ophys_cells does not list",
        lambda content: content,
        "cell_specimens",
        (
            "column cell_roi_id",
            "rows refer to ophys_cells that are not there",
            "expected keys of ophys_cells of experiment",
        ),
        listed=False,
    ),
    Violation(
        "a clock shorter than the traces",
        put(f"{OPHYS}/dff/traces/timestamps", np.arange(4) / 8),
        "dff_traces",
        ("traces and clock do not match", "expected at most 4 frames", "found 5 frames"),
        (("dff_traces", PerFrame(Clock.OPHYS, "dff")),),
    ),
    *(
        Violation(
            f"{table} shorter than the clock",
            _traces(interface),
            table,
            ("traces differ in length", "expected 5 frames", "found shape (4, 4)"),
            ((table, PerFrame(Clock.OPHYS, column)),),
        )
        for table, interface, column in (
            ("corrected_fluorescence_traces", "corrected_fluorescence", "corrected_fluorescence"),
            ("demixed_traces", "demixed_trace", "demixed_trace"),
            ("neuropil_traces", "neuropil_trace", "neuropil_trace"),
        )
    ),
    Violation(
        "events shorter than the clock",
        put(f"{OPHYS}/event_detection/data", np.zeros((4, 4))),
        "events",
        ("events do not match", "expected 5 frames of 4 ROIs", "found shape (4, 4)"),
        (
            ("events", PerFrame(Clock.OPHYS, "events")),
            ("events", PerFrame(Clock.OPHYS, "filtered_events")),
        ),
    ),
    Violation(
        "events of an ROI twice",
        put(f"{OPHYS}/event_detection/rois", np.array([0, 1, 2, 2])),
        "events",
        ("an ROI has events twice",),
    ),
    Violation(
        "events of no ROI",
        put(f"{OPHYS}/event_detection/rois", np.array([0, 1, 2, 4])),
        "events",
        ("ROIs that do not exist",),
    ),
    Violation(
        "motion of more frames than there are",
        lambda content: (
            content | {f"{OPHYS}/ophys_motion_correction_{axis}/data": np.zeros(6) for axis in "xy"}
        ),
        "motion_correction",
        ("lengths and clock do not match", "expected 5, the frames of dF/F", "found 6"),
        (("motion_correction", PerFrame(Clock.OPHYS)),),
    ),
    *(
        Violation(
            f"no {table}",
            drop(path),
            table,
            ("the table is empty", "expected rows", f"{evidence} says that there should be some"),
        )
        for table, path, evidence in (
            ("licks", "/processing/licking", "trials.lick_times"),
            ("rewards", "/processing/rewards", "trials.reward_volume"),
            ("stimulus_templates", "/stimulus/templates", "task_parameters.stimulus"),
            ("neuropil_traces", f"{OPHYS}/neuropil_trace", "cell_specimens.cell_roi_id"),
        )
    ),
    Violation(
        "running of no time",
        lambda content: (
            content
            | {f"/processing/running/speed/{name}": np.empty(0) for name in ("data", "timestamps")}
        ),
        "running_speed",
        ("the table is empty", "expected rows", "found none"),
    ),
)

BY_READER: Mapping[tuple[str, Check], str] = {
    (
        "stimulus_presentations",
        ClockAscending("start_time"),
    ): "rows are sorted by it; a time that is missing is an error of its own",
    ("stimulus_templates", Area("warped")): "the lists are made of whole images",
    ("stimulus_templates", Area("unwarped")): "the lists are made of whole images",
    ("projections", Area("pixels")): "the lists are made of whole images",
    ("cell_specimens", AllTrue("valid_roi")): "rows are chosen by it",
    (
        "cell_specimens",
        Inside("roi_mask", "field_of_view_height", "field_of_view_width"),
    ): "the lists are made of masks",
}
"""Checks that no file can break, since the reader makes the column so; tests/unit/test_checks.py breaks them in the rows."""


@dataclass
class ViolationBucket(Bucket):
    """A release with a good file and one of each case; `damaged` says whether the cases are in it yet."""

    damaged: bool = True
    _images: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def objects(self) -> dict[str, bytes]:
        """The files, made anew each time they are asked for by another state."""
        return {
            **super().objects(),
            **{key: self._file(number) for number, key in self.files.items()},
        }

    def _file(self, number: int) -> bytes:
        if number not in self._images:
            content = _own(whole_file(), number)
            if self.damaged and number:
                content = VIOLATIONS[number - 1].change(content)
            with make(content) as h5:
                h5.flush()
                self._images[number] = h5.id.get_file_image()
        return self._images[number]


def ids(number: int) -> tuple[int, int, int, int]:
    """Mouse, behaviour session, imaging session and experiment of a file."""
    return MICE[number % len(MICE)], 1001 + number, 2001 + number, 5001 + number


def _own(content: Content, number: int) -> Content:
    mouse, session, imaging, experiment = ids(number)
    return content | {
        "/identifier": str(experiment),
        "/general/metadata@behavior_session_id": np.int64(session),
        "/general/metadata@ophys_session_id": np.int64(imaging),
        "/general/metadata@ophys_experiment_id": np.int64(experiment),
        "/general/subject/subject_id": str(mouse),
        f"{CELLS}/id": np.array(ROI_IDS) + 1000 * number,
    }


def _rows(table: list[Row], **more: Callable[[int], str]) -> list[Row]:
    return [
        {**table[0], **{name: value(number) for name, value in more.items()}}
        for number in range(len(VIOLATIONS) + 1)
    ]


def violation_bucket(*, damaged: bool) -> ViolationBucket:
    """The release, not written yet: file 0 is good, file n breaks `VIOLATIONS[n - 1]` if `damaged`."""
    first = {
        name: [row for row in rows if row.get("ophys_experiment_id") or "cell_roi_id" in row][:1]
        for name, rows in Bucket().tables.items()
    }
    keys: dict[str, Callable[[int], str]] = {
        "mouse_id": lambda n: str(ids(n)[0]),
        "behavior_session_id": lambda n: str(ids(n)[1]),
        "ophys_session_id": lambda n: str(ids(n)[2]),
    }
    listed = {**keys, "ophys_experiment_id": lambda n: f"[{ids(n)[3]}]"}
    tables = {
        "behavior_session_table": _rows(
            first["behavior_session_table"], **listed, file_id=lambda _: "-999"
        ),
        "ophys_session_table": _rows(first["ophys_session_table"], **listed),
        "ophys_experiment_table": _rows(
            first["ophys_experiment_table"],
            **keys,
            ophys_experiment_id=lambda n: str(ids(n)[3]),
            file_id=lambda n: str(n),
        ),
        "ophys_cells_table": [
            {
                "cell_roi_id": str(roi + 1000 * n),
                "cell_specimen_id": "",
                "ophys_experiment_id": str(ids(n)[3]),
            }
            for n in range(len(VIOLATIONS) + 1)
            for roi in ROI_IDS
            if not damaged or not n or VIOLATIONS[n - 1].listed or roi != ROI_IDS[0]
        ],
    }
    files = {
        n: f"{PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_{ids(n)[3]}.nwb"
        for n in range(len(VIOLATIONS) + 1)
    }
    return ViolationBucket(tables=tables, files=files, damaged=damaged)
