"""Checks the tables of one NWB file before they are published.

A table that others refer to need not be selected: its keys, or the number of its frames, are then
read from the file, a few kB.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Finding
from pipelines.check.recording import Frames, RecordingCheck
from pipelines.check.rows import shows
from pipelines.nwb.cells import read_cells
from pipelines.nwb.presentations import read_presentations
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import OPHYS, Recording
from pipelines.nwb.templates import image_names
from pipelines.nwb.trials import TRIALS
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES, ForeignKey, Table
from schemas.casts import NDArray, cast
from schemas.checks import Clock, Level
from schemas.errors import DataError, IntegrityError
from schemas.known_defects import Evidence

_CLOCK_TIMES = {
    Clock.STIMULUS: "/processing/stimulus/timestamps/timestamps",
    Clock.OPHYS: f"{OPHYS}/dff/traces/timestamps",
}


def _trial_ids(recording: Recording) -> NDArray:
    return recording.hdf.read_numbers(f"{TRIALS}/id")


def _cell_ids(recording: Recording) -> NDArray:
    cells = recording.once(read_cells)
    return cells.roi_ids[cells.valid]


def _presentation_ids(recording: Recording) -> NDArray:
    start_time = recording.once(read_presentations)["start_time"]
    return np.arange(0 if start_time is None else len(start_time))


_KEYS: Mapping[str, Callable[[Recording], NDArray]] = {
    "trials": _trial_ids,
    "stimulus_presentations": _presentation_ids,
    "cell_specimens": _cell_ids,
}
"""Readers of the keys of tables that others in the same file refer to."""


def check_ids(task: FileTask, recording: Recording) -> None:
    """Checks that the file is the one that the project tables describe.

    Raises:
        DataError: it has another id, or the id cannot be read.
    """
    claims: list[tuple[str, int | None, int | str]] = [
        ("behavior_session_id", task.behavior_session_id, recording.behavior_session_id),
        ("mouse_id", task.mouse_id, recording.mouse_id),
    ]
    if task.kind is FileKind.OPHYS_EXPERIMENT:
        claims.append(("ophys_experiment_id", task.file_key, recording.ophys_experiment_id))
        claims.append(("ophys_session_id", task.ophys_session_id, recording.ophys_session_id))
    for name, expected, found in claims:
        if expected != found:
            raise IntegrityError(
                "the file is of another recording than the release says",
                file=task.object.key,
                column=name,
                expected=str(expected),
                found=str(found),
                hint="The manifest or the object is wrong.",
            )


class FileCheck:
    """Takes the tables of one file in their order, each batch by batch, and checks every rule.

    For tables that were not selected, it looks into the file itself (`Recorded`).

    Args:
        task: the file.
        recording: the same file, open.

    Attributes:
        violations: the findings so far that hold back their table, unless they are allowed.
    """

    def __init__(self, task: FileTask, recording: Recording) -> None:
        self.release = task.release
        self.violations: list[Finding] = []
        self._task = task
        self._recording = recording
        self._check = RecordingCheck(self)
        self._frames: dict[Clock, Frames] = {}
        self._held_back = recording.held_back
        self._held_back.update(task.held_back)

    def held_back_parent(self, table: Table) -> str | None:
        """A table that is held back and on which another depends; None if there is none."""
        return next((name for name in table.depends_on if name in self._held_back), None)

    def hold_back(self, table: Table) -> None:
        """Notes that a table is not published: what depends on it is held back, too."""
        self._held_back.add(table.name)
        self._check.drop(table)

    def allowed_rules(self, table: Table) -> list[str]:
        """The rules that the rows of a table break and that the user has allowed."""
        return sorted({f.rule.value for f in self.violations if f.table == table.name})

    def take(self, table: Table, rows: pa.Table) -> None:
        """Checks the next rows of a table.

        Raises:
            IntegrityError: they have another schema, lack a required value, or break a check.
        """
        self._judge(table, self._check.take(table, rows))

    def finish(self, table: Table) -> None:
        """Checks what only the whole table shows, and records its known defects.

        Raises:
            DataError: rows are missing, keys repeat or refer to nothing, or clocks do not match.
        """
        self._judge(table, self._check.finish(table))

    def _judge(self, table: Table, findings: list[Finding]) -> None:
        for finding in findings:
            if finding.level is Level.KNOWN:
                assert finding.defect is not None
                self._recording.known_defect(finding.defect, finding.found or finding.message)
            elif finding.level is Level.WARNING:
                self._recording.warn(str(finding))
            else:
                self.violations.append(finding)
                if (table.name, finding.rule.value) not in self._task.allowed:
                    raise finding.as_error(self._task.object.key)

    # --- what the file holds beside the tables that were taken (`Recorded`)

    def keys(self, table: Table) -> NDArray:
        """The keys of a table that was not taken."""
        return _KEYS[table.name](self._recording)

    def frames(self, clock: Clock) -> Frames:
        """The frames of the file."""
        if clock not in self._frames:
            hdf = self._recording.hdf
            times = hdf.numeric_dataset(_CLOCK_TIMES[clock], ndim=1).shape[0]
            traces = None
            if clock is Clock.OPHYS:
                traces = hdf.numeric_dataset(f"{OPHYS}/dff/traces/data", ndim=2).shape[0]
            self._frames[clock] = Frames(times, traces)
        return self._frames[clock]

    def images(self, image_set: str) -> Collection[str] | None:
        """Those of the file itself, if it has any and they are read."""
        if "stimulus_templates" not in self._task.tables:
            return None
        try:
            names = self._recording.once(image_names)
        except DataError:
            return None  # stage_images reports it
        return () if names and image_set != self._recording.image_set else names or None

    def unlisted(self, table: Table, key: ForeignKey, values: NDArray) -> NDArray:
        """Those of some ids that the project tables lacked when the run was planned."""
        if key.table in self._task.unlisted:
            return values
        if key.table == "ophys_cells" and self._task.cells is not None:
            return np.setdiff1d(values, np.array(self._task.cells, dtype=np.int64))
        return values[:0]

    def shows(self, evidence: Evidence) -> bool:
        """Whether a table that was not taken holds evidence against a known defect."""
        table = TABLES[evidence.table]
        if table.name in self._held_back:
            return False
        if table.own_key == (evidence.column,):
            return len(self.keys(table)) > 0  # without reading the masks of cell_specimens
        for rows in READERS[table.name](self._recording):
            values: Any = rows.columns[evidence.column]
            if shows(cast(table[evidence.column], values, rows.count), evidence):
                return True
        return False
