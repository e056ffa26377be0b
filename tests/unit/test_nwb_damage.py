"""Damage done to one object of a whole file: every table is what it was, or is refused by an error that names file and path.

Nothing may go over in silence into other values, and nothing but a `DataError` may come out: one file would end the whole run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from builders.nwb import (
    EYE,
    NAME,
    OPHYS,
    TRIALS,
    Content,
    changed,
    make,
    read,
    whole_file,
    without,
)

from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from schemas import TABLES, Subject
from schemas.errors import DataError

FILE = whole_file()

# The other two groups of presentations have the same columns as that of the images.
TRIED = [
    path
    for path in FILE
    if not path.startswith(("/intervals/natural_movie", "/intervals/spontaneous"))
]
DATASETS = sorted(
    path for path in TRIED if "@" not in path and not isinstance(FILE[path], h5py.SoftLink)
)
ATTRIBUTES = sorted(path for path in TRIED if "@" in path)
METADATA = "/general/metadata"
SUBJECT = "/general/subject"
TASK = "/general/task_parameters"


ANNOTATIONS = "presentation_annotations"

# Which tables may look at a path; the others are read again in a few cases only.
READ_FROM = {
    "/acquisition": {"eye_tracking", "running_acquisition"},
    "/stimulus": {"stimulus_templates", "stimulus_presentations"},
    TRIALS: {
        "trials",
        "rolling_performance",
        "performance_metrics",
        ANNOTATIONS,
        "mean_responses",
    },
    "/intervals": {"stimulus_presentations", ANNOTATIONS, "presentation_frames"},
    "/processing/licking": {"licks", "trials", ANNOTATIONS},
    "/processing/rewards": {"rewards", "performance_metrics", ANNOTATIONS},
    "/processing/running": {"running_speed", "raw_running_speed", "running_acquisition"},
    "/processing/stimulus": {"stimulus_timestamps"},
    "/processing/eye_tracking_rig_metadata": {"eye_tracking_rig_geometry"},
    OPHYS: {name for name, table in TABLES.items() if table.subject is Subject.OPHYS},
    "/general/optophysiology": {"experiment_metadata", "events"},
    "/general": {
        "behavior_metadata",
        "experiment_metadata",
        "task_parameters",
        "rolling_performance",
        "performance_metrics",
    },
    "/": {"behavior_metadata", "experiment_metadata"},
}


def outcome(opened: Recording, tables: set[str]) -> dict[str, str]:
    """Each table as text, in which NaN equals NaN, or what the error says."""
    found: dict[str, str] = {}
    for name in tables:
        try:
            found[name] = repr(read(name, opened).to_pydict())
        except DataError as error:
            found[name] = str(error)
    return found


H5 = make(FILE)
H5.flush()
IMAGE: bytes = H5.id.get_file_image()
WHOLE = {name: repr(read(name, Recording(HdfFile(H5, NAME))).to_pydict()) for name in READERS}

DRIVER_LINE = f"{SUBJECT}@driver_line"
SUBJECTS = {"behavior_metadata", "experiment_metadata"}
FREE: dict[str, dict[str, set[str]]] = {
    # What some releases lack.
    "missing": {
        DRIVER_LINE: SUBJECTS,
        f"{METADATA}@project_code": SUBJECTS,
        f"{METADATA}@targeted_imaging_depth": {"experiment_metadata"},
        f"{TRIALS}/change_time": READ_FROM[TRIALS],
        f"{TRIALS}/response_latency": {"trials", ANNOTATIONS, "mean_responses"},
        f"{TASK}@stimulus_name": {"task_parameters"},
        f"{OPHYS}/images/average_image@resolution": {"projections"},
        f"{OPHYS}/images/max_projection@resolution": {"projections"},
    },
    # Text or numbers, both are durations.
    "type": {
        f"{TASK}@blank_duration_sec": {"task_parameters"},
        f"{TASK}@response_window_sec": {"task_parameters"},
    },
    "rank": {},
    # A shorter one is a file as it could be: nothing else in it tells how long it should be.
    "length": {
        "/processing/stimulus/timestamps/timestamps": {"stimulus_timestamps"},
        f"{OPHYS}/images/average_image": {"projections"},
        f"{OPHYS}/images/max_projection": {"projections"},
        DRIVER_LINE: SUBJECTS,
        f"{OPHYS}/dff/traces/data": {"dff_traces"},
    },
}
"""Tables that may change when an object is damaged in this way."""

# An error tells a path in the file, or a column of the table.
ERROR = re.compile(
    rf"(file {re.escape(NAME)}, column /|table \w+, column \w+: ).*expected .*found ", re.DOTALL
)


def readers_of(path: str) -> set[str]:
    return next(tables for start, tables in READ_FROM.items() if path.startswith(start))


def check(content: Content, tables: set[str], free: set[str]) -> set[str]:
    """Tables that are refused; those in `free` may differ."""
    refused: set[str] = set()
    for name, table in outcome(changed(IMAGE, FILE, content), tables).items():
        if ERROR.match(table):
            refused.add(name)
        elif name not in free:
            assert table == WHOLE[name]
    return refused


@pytest.mark.parametrize("path", DATASETS + ATTRIBUTES)
def test_an_object_that_is_missing(path: str) -> None:
    # Columns of the presentation groups may be missing: all null when they were written.
    shown = {"stimulus_presentations", ANNOTATIONS}
    nullable = shown if "_presentations/" in path else set[str]()
    check(without(FILE, path), readers_of(path), FREE["missing"].get(path, nullable))


def as_text(value: Any) -> Any:
    return [str(v) for v in np.ravel(value)] if np.ndim(value) else str(value)


def as_numbers(value: Any) -> Any:
    return np.zeros(len(value)) if isinstance(value, list) else 0.0


def deeper(value: Any) -> Any:
    return np.array(value)[np.newaxis] if not isinstance(value, (str, list)) else None


def shorter(value: Any) -> Any:
    return value[:-1] if np.ndim(value) and len(value) > 1 else None


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "type": lambda value: as_numbers(value) if isinstance(value, (str, list)) else as_text(value),
    "rank": deeper,
    "length": shorter,
}


def one_of_each() -> list[str]:
    """One dataset of each kind in each group: the columns of a table are read alike."""
    kinds: dict[tuple[Any, ...], str] = {}
    for path in DATASETS:
        value = np.asarray(FILE[path])
        kinds.setdefault((path.rpartition("/")[0], value.dtype.kind, value.ndim), path)
    return list(kinds.values())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "path", one_of_each() + [p for p in ATTRIBUTES if not p.endswith("@colnames")]
)
def test_an_object_of_another_type_rank_or_length(path: str, damage: str) -> None:
    value = DAMAGES[damage](FILE[path])
    if value is not None:
        check(FILE | {path: value}, readers_of(path), FREE[damage].get(path, set()))


def test_only_the_tables_that_need_an_object_are_refused() -> None:
    clock = f"{EYE}/eye_tracking/timestamps"  # which the eye's positions link to
    content = without(FILE, clock, "/general/optophysiology", f"{TRIALS}/aborted")
    needs = {"eye_tracking", "experiment_metadata", "events", *READ_FROM[TRIALS]}
    assert check(content, set(READERS), set()) == needs
