"""The files and tables of a synthetic bucket, found and read."""

from __future__ import annotations

import csv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from builders.bucket import PROJECT

OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")
A = "Natural_Images_Lum_Matched_set_training_2017"
B = "Natural_Images_Lum_Matched_set_ophys_6_2017"
"""The image sets, as the files name them."""


@contextmanager
def reading(path: Path) -> Generator[Any]:
    """The open file; h5py's stubs cannot know what a path leads to, so it is Any."""
    with h5py.File(path) as file:
        yield file


def rows(root: Path, table: str) -> list[dict[str, str]]:
    """The rows of a project table."""
    with (root / PROJECT / "project_metadata" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def values(group: Any) -> dict[str, NDArray[Any]]:
    """A table's columns, text decoded."""
    found: dict[str, NDArray[Any]] = {}
    for name in (*group.attrs["colnames"], "id"):
        data = group[name][()]
        found[name] = (
            data
            if data.dtype.kind != "O"
            else np.array([value.decode() for value in data], dtype=object)
        )
    return found


def experiment(root: Path, **match: str) -> Path:
    """The first experiment whose row in the experiment table has these values."""
    for row in rows(root, "ophys_experiment_table"):
        if all(row[name] == value for name, value in match.items()):
            name = f"behavior_ophys_experiment_{row['ophys_experiment_id']}.nwb"
            return root / PROJECT / "behavior_ophys_experiments" / name
    raise AssertionError(match)


def behavior(root: Path, session_type: str) -> Path:
    """The behaviour file of the first session of this type."""
    for row in rows(root, "behavior_session_table"):
        if row["session_type"] == session_type:
            return (
                root
                / PROJECT
                / "behavior_sessions"
                / f"behavior_session_{row['behavior_session_id']}.nwb"
            )
    raise AssertionError(session_type)


def all_files(root: Path) -> list[Path]:
    """All NWB files."""
    return sorted((root / PROJECT).rglob("*.nwb"))
