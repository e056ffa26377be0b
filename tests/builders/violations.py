"""Experiment files that each break one rule, and a release of some of them.

Every file is the tiny one of `builders.nwb`. In the release each has ids and a session of its own;
three mice share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from builders.bucket import PROJECT, Bucket, Row
from builders.nwb import (
    CELLS,
    IMAGES,
    OPHYS,
    ROI_IDS,
    TEMPLATE,
    TRIALS,
    Content,
    make,
    whole_file,
    without,
)

MICE = (457841, 457842, 457843)
Change = Callable[[Content], Content]


@dataclass(frozen=True)
class Violation:
    """One way to break a file.

    Attributes:
        name: of the case.
        change: makes the damaged file from a good one.
        table: that the error names; None where the file as a whole is wrong.
        says: what the error says, in this order.
        listed: whether the project tables list the file's ROIs.
    """

    name: str
    change: Change
    table: str | None
    says: tuple[str, ...]
    listed: bool = True


def put(value: Any, *paths: str) -> Change:
    """Replaces datasets or attributes."""
    return lambda content: content | dict.fromkeys(paths, value)


def drop(*paths: str) -> Change:
    """Removes objects."""
    return lambda content: without(content, *paths)


def at(path: str, row: int, value: Any) -> Change:
    """Replaces one value of a dataset."""

    def change(content: Content) -> Content:
        values = np.array(content[path])
        values[row] = value
        return content | {path: values}

    return change


def cut(path: str) -> Change:
    """Drops the last row of a dataset."""
    return lambda content: content | {path: content[path][:-1]}


_META = "/general/metadata"
_SHOWN = f"/intervals/{IMAGES}_presentations"
_LICKS = "/processing/licking/licks"
_STIMULUS_CLOCK = "/processing/stimulus/timestamps/timestamps"
_CLOCK = f"{OPHYS}/dff/traces/timestamps"
_IN_CLOCK = "expected 0 to 79, frames of the clock in stimulus_timestamps; found frame 80"
_BACK = "times go back or are missing; expected times that are finite and do not decrease; found "

VIOLATIONS = tuple(
    Violation(*case)
    for case in (
        ("another session", put(np.int64(7), f"{_META}@behavior_session_id"), None, ("found 7",)),
        ("another imaging", put(np.int64(7), f"{_META}@ophys_session_id"), None, ("found 7",)),
        ("another experiment", put("7", "/identifier"), None, ("ophys_experiment_id", "found 7")),
        ("another mouse", put("7", "/general/subject/subject_id"), None, ("mouse_id", "found 7")),
        ("no mouse", drop("/general/subject/subject_id"), None, ("subject_id",)),
        (
            "two outcomes",
            at(f"{TRIALS}/miss", 0, True),
            "trials",
            ("flags exclude each other; expected exactly one of them true; found 2 of them",),
        ),
        (
            "trials whose starts go back",
            at(f"{TRIALS}/start_time", 2, 1.0),
            "trials",
            (f"column {TRIALS}/start_time", _BACK, "in row 2"),
        ),
        (
            "a presentation of no trial",
            at(f"{_SHOWN}/trials_id", 3, 77),
            "stimulus_presentations",
            ("column trials_id: rows refer to trials that are not there", "found trials_id 77"),
        ),
        (
            "an image name twice",
            put(["im065", "im065"], f"/stimulus/templates/{TEMPLATE}/control_description"),
            "stimulus_templates",
            ("an image name repeats", "expected unique names"),
        ),
        (
            "a lick outside of the clock",
            put(np.array([11, 12, 80]), f"{_LICKS}/data"),
            "licks",
            ("column frame", _IN_CLOCK),
        ),
        (
            "licks that go back",
            put(np.array([2.75, 5.5, 3.0]), f"{_LICKS}/timestamps"),
            "licks",
            ("column timestamps", f"{_BACK}3.0 after 5.5 in row 2"),
        ),
        (
            "an ROI that ophys_cells does not list",
            lambda content: content,
            "cell_specimens",
            ("column cell_roi_id: rows refer to ophys_cells that are not there",),
            False,
        ),
        (
            "a clock shorter than the traces",
            put(np.arange(4) / 8, _CLOCK),
            "dff_traces",
            ("traces and clock do not match", "expected at most 4 frames", "found 5 frames"),
        ),
        (
            "demixed_traces shorter than the clock",
            cut(f"{OPHYS}/demixed_trace/traces/data"),
            "demixed_traces",
            ("traces differ in length", "expected 5 frames", "found shape (4, 4)"),
        ),
        (
            "events shorter than the clock",
            put(np.zeros((4, 4)), f"{OPHYS}/event_detection/data"),
            "events",
            ("events do not match", "expected 5 frames of 4 ROIs", "found shape (4, 4)"),
        ),
        (
            "events of an ROI twice",
            put(np.array([0, 1, 2, 2]), f"{OPHYS}/event_detection/rois"),
            "events",
            ("an ROI has events twice",),
        ),
        (
            "events of no ROI",
            put(np.array([0, 1, 2, 4]), f"{OPHYS}/event_detection/rois"),
            "events",
            ("ROIs that do not exist",),
        ),
        (
            "motion of more frames than there are",
            put(np.zeros(6), *(f"{OPHYS}/ophys_motion_correction_{axis}/data" for axis in "xy")),
            "motion_correction",
            ("lengths and clock do not match; expected 5, the frames of dF/F; found 6",),
        ),
        (
            "no stimulus_templates",
            drop("/stimulus/templates"),
            "stimulus_templates",
            ("the table is empty; expected rows", "task_parameters.stimulus says that there"),
        ),
        (
            "rewarded trials without rewards",
            drop("/processing/rewards"),
            "rewards",
            ("the table is empty; expected rows", "trials.reward_volume says that there"),
        ),
    )
)


@dataclass
class ViolationBucket(Bucket):
    """A release with a good file and one of each case, in its good state unless `damaged`."""

    cases: Sequence[Violation] = ()
    damaged: bool = True
    _images: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def objects(self) -> dict[str, bytes]:
        """The manifest, the project tables and the files."""
        return {
            **super().objects(),
            **{key: self._file(number) for number, key in self.files.items()},
        }

    def _file(self, number: int) -> bytes:
        if number not in self._images:
            content = _own(whole_file(), number)
            if self.damaged and number:
                content = self.cases[number - 1].change(content)
            with make(content) as h5:
                h5.flush()
                self._images[number] = h5.id.get_file_image()
        return self._images[number]


def ids(number: int) -> tuple[int, int, int, int]:
    """Mouse, behaviour session, imaging session and experiment of a file."""
    return MICE[number % len(MICE)], 1001 + number, 2001 + number, 5001 + number


@dataclass
class PlanesBucket(Bucket):
    """A release whose session 1003 has files: of its planes 5003, which gives the behaviour, 5002 and 5004."""

    files: dict[int, str] = field(
        default_factory=lambda: {n: k for n, k in Bucket().files.items() if 0 < n < 4}
    )
    changes: dict[int, Change] = field(default_factory=dict[int, Change])
    """What is done to the files of some planes."""

    def objects(self) -> dict[str, bytes]:
        """The project tables and the files."""
        self.tables["ophys_cells_table"] = [
            {
                "cell_roi_id": str(roi + 1000 * n),
                "cell_specimen_id": "",
                "ophys_experiment_id": str(5001 + n),
            }
            for n in (1, 2, 3)
            for roi in ROI_IDS
        ]
        return super().objects() | {
            key: self._plane(int(key.rpartition("_")[2].removesuffix(".nwb")))
            for key in self.files.values()
        }

    def _plane(self, experiment: int) -> bytes:
        content = _with_ids(whole_file(), experiment - 5001, 100002, 1003, 2003, experiment)
        change = self.changes.get(experiment)
        with make(change(content) if change else content) as h5:
            h5.flush()
            return h5.id.get_file_image()


def _own(content: Content, number: int) -> Content:
    return _with_ids(content, number, *ids(number))


def _with_ids(
    content: Content, number: int, mouse: int, session: int, imaging: int, experiment: int
) -> Content:
    return content | {
        "/identifier": str(experiment),
        "/general/metadata@behavior_session_id": np.int64(session),
        "/general/metadata@ophys_session_id": np.int64(imaging),
        "/general/metadata@ophys_experiment_id": np.int64(experiment),
        "/general/subject/subject_id": str(mouse),
        f"{CELLS}/id": np.array(ROI_IDS) + 1000 * number,
    }


def _rows(count: int, table: list[Row], **more: Callable[[int], str]) -> list[Row]:
    return [
        {**table[0], **{name: value(number) for name, value in more.items()}}
        for number in range(count)
    ]


def violation_bucket(cases: Sequence[Violation], *, damaged: bool) -> ViolationBucket:
    """The release, not written yet: file 0 is good, file n breaks `cases[n - 1]` if `damaged`."""
    count = len(cases) + 1
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
            count, first["behavior_session_table"], **listed, file_id=lambda _: "-999"
        ),
        "ophys_session_table": _rows(count, first["ophys_session_table"], **listed),
        "ophys_experiment_table": _rows(
            count,
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
            for n in range(count)
            for roi in ROI_IDS
            if not damaged or not n or cases[n - 1].listed or roi != ROI_IDS[0]
        ],
    }
    files = {
        n: f"{PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_{ids(n)[3]}.nwb"
        for n in range(count)
    }
    return ViolationBucket(tables=tables, files=files, cases=cases, damaged=damaged)
