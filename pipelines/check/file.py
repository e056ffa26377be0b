"""What a file gives is checked here before it counts as converted: every table against its declaration, and the tables against each other.

A table that others refer to need not be selected: its keys, or the number of its frames, are then read from the file, a few kB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Violation
from pipelines.check.rows import (
    Frames,
    UnitValues,
    against_clock,
    in_file,
    numbers,
    parents_in_file,
)
from pipelines.nwb.cells import read_cells
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import OPHYS, Recording
from pipelines.nwb.trials import TRIALS
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES, Subject, Table
from schemas.arrow import arrow_schema
from schemas.casts import NDArray, Ragged
from schemas.checks import Clock, InClock, PerFrame, Rule
from schemas.errors import IntegrityError
from schemas.known_defects import Evidence, known

_SHOWN = 5
_CLOCK_TIMES = {
    Clock.STIMULUS: "/processing/stimulus/timestamps/timestamps",
    Clock.OPHYS: f"{OPHYS}/dff/traces/timestamps",
}


def _trial_ids(recording: Recording) -> NDArray:
    return recording.hdf.read_numbers(f"{TRIALS}/id")


def _cell_ids(recording: Recording) -> NDArray:
    cells = recording.once(read_cells)
    return cells.roi_ids[cells.valid]


_KEYS: Mapping[str, Callable[[Recording], NDArray]] = {
    "trials": _trial_ids,
    "cell_specimens": _cell_ids,
}
"""Keys of the tables that others in the same file refer to, for when they were not selected themselves."""


def check_ids(task: FileTask, recording: Recording) -> None:
    """The file must be the one that the project tables say it is.

    Raises:
        DataError: an id in it is another one, or cannot be read.
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
    """Takes the tables of one file in their order, each batch by batch, and compares them with their declarations and with each other.

    Args:
        task: the file.
        recording: the same, open.
    """

    def __init__(self, task: FileTask, recording: Recording) -> None:
        self._task = task
        self._recording = recording
        self._keys: dict[str, dict[str, list[NDArray]]] = {}
        self._values: dict[str, UnitValues] = {}
        self._frames: dict[Clock, Frames] = {}

    def take(self, table: Table, rows: pa.Table) -> None:
        """The next rows of a table.

        Raises:
            IntegrityError: they have another schema, a required value is missing, or a check of the table fails.
        """
        if not rows.schema.equals(declared := _declared(table.name)):
            expected, found = (
                ", ".join(f"{f.name} {f.type}" for f in schema)
                for schema in (declared, rows.schema)
            )
            raise self._error(
                table, Violation(None, "the table has another schema", expected, found)
            )
        for column in table.stored:
            if column.required and (nulls := rows.column(column.name).null_count):
                raise self._error(
                    table,
                    Violation(
                        column.name,
                        "a required value is missing",
                        "a value in every row",
                        f"{nulls} rows without",
                    ),
                )
        values = self._values.setdefault(table.name, UnitValues(table))
        values.take(rows)
        for violation in values.violations.values():
            raise self._error(table, violation)
        kept = self._keys.setdefault(table.name, {})
        for name in {*in_file(table), *(column for column, _, _ in parents_in_file(table))}:
            kept.setdefault(name, []).append(_present(rows.column(name)))

    def finish(self, table: Table) -> None:
        """Checks what only the whole table shows.

        Raises:
            DataError: it has no rows though it should, keys repeat or refer to nothing, or it does not fit its clock.
        """
        values = self._values.pop(table.name, None) or UnitValues(table)
        if not values.rows:
            if table.rows_expected:
                self._without_rows(table)
            return
        for name in in_file(table):
            if (repeated := _repeated(self._column(table, name))) is not None:
                found = f"{name} {repeated} twice"
                raise self._error(
                    table, Violation(name, "a primary key repeats", "unique keys", found)
                )
        self._project_keys(table)
        for column, parent, complete in parents_in_file(table):
            self._references(table, column, parent, complete=complete)
        for check, extent in values.extents.items():
            assert isinstance(check, (InClock, PerFrame))
            frames = self._frames_of(check.clock)
            violation = against_clock(check, extent, frames)
            if violation is None:
                continue
            found = f"{frames.clock} times for {violation.found} frames"
            if violation.rule is None or not self._let_pass(
                TABLES[check.clock.value], violation.rule, found
            ):
                raise self._error(table, violation)

    # --- tables against each other -------------------------------------------------------------------------------------------

    def _column(self, table: Table, name: str) -> NDArray:
        parts = self._keys[table.name][name]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _keys_of(self, parent: Table) -> NDArray:
        """Keys of a table of this file, from its rows if they were read, else from the file."""
        (own,) = in_file(parent)
        if own in self._keys.get(parent.name, {}):
            return self._column(parent, own)
        return _KEYS[parent.name](self._recording)

    def _references(self, table: Table, column: str, parent: Table, *, complete: bool) -> None:
        keys, there = self._column(table, column), self._keys_of(parent)
        if len(lost := np.setdiff1d(keys, there)):
            found = f"{column} {_some(lost)}"
            raise self._error(
                table,
                Violation(
                    column,
                    f"rows refer to {parent.name} that are not there",
                    f"keys of {parent.name}",
                    found,
                ),
            )
        if complete and len(without := np.setdiff1d(there, keys)):
            found = f"{len(without)} of {len(there)} {parent.name} without a row, {column} {_some(without)}"
            if not self._let_pass(table, Rule.ROW_PER_PARENT, found):
                raise self._error(
                    table,
                    Violation(
                        column, "rows are missing", f"a row for each of {parent.name}", found
                    ),
                )

    def _project_keys(self, table: Table) -> None:
        """References to the project tables, by what the plan found there for this file."""
        task = self._task
        for key in table.foreign_keys:
            parent = TABLES[key.table]
            if parent.subject is not Subject.PROJECT:
                continue
            name = ", ".join(key.columns)
            problem, expected = (
                f"rows refer to {parent.name} that are not there",
                f"keys of {parent.name}",
            )
            if parent.name in task.unlisted:
                raise self._error(
                    table, Violation(name, problem, expected, f"{name} {getattr(task, name)}")
                )
            if parent.name == "ophys_cells" and task.cells is not None:
                (own,) = in_file(table)
                if len(
                    lost := np.setdiff1d(
                        self._column(table, own), np.array(task.cells, dtype=np.int64)
                    )
                ):
                    found = f"{name} {_some(lost)}"
                    raise self._error(
                        table,
                        Violation(
                            name, problem, f"{expected} of experiment {task.file_key}", found
                        ),
                    )

    def _frames_of(self, clock: Clock) -> Frames:
        if clock not in self._frames:
            hdf = self._recording.hdf
            times = hdf.numeric_dataset(_CLOCK_TIMES[clock], ndim=1).shape[0]
            traces = (
                hdf.numeric_dataset(f"{OPHYS}/dff/traces/data", ndim=2).shape[0]
                if clock is Clock.OPHYS
                else None
            )
            self._frames[clock] = Frames(times, traces)
        return self._frames[clock]

    # --- known exceptions ----------------------------------------------------------------------------------------------------

    def _without_rows(self, table: Table) -> None:
        if not self._let_pass(table, Rule.ROWS_EXPECTED, "no rows"):
            against = [
                e.unless
                for e in known(table.name, Rule.ROWS_EXPECTED, self._task.release)
                if e.unless
            ]
            hint = (
                f"{against[0].table}.{against[0].column} says that there should be some."
                if against
                else None
            )
            raise self._error(
                table,
                Violation(
                    None, "the table is empty", "rows, as every file of its kind has them", "none"
                ),
                hint,
            )

    def _let_pass(self, table: Table, rule: Rule, found: str) -> bool:
        """Whether an exception is known for what was found, which is then noted."""
        for exception in known(table.name, rule, self._task.release):
            if exception.unless is None or not self._is_there(exception.unless):
                self._recording.known_defect(exception.name, found)
                return True
        return False

    def _is_there(self, evidence: Evidence) -> bool:
        if evidence.table == "cell_specimens":
            return (
                len(self._keys_of(TABLES[evidence.table])) > 0
            )  # the masks need not be read for it
        for rows in READERS[evidence.table](self._recording):
            values: Any = rows.columns[evidence.column]
            if evidence.equals is not None:
                return evidence.equals in values
            return (
                len(values.values) > 0
                if isinstance(values, Ragged)
                else bool(np.any(np.asarray(values) > 0))
            )
        return False

    def _error(self, table: Table, violation: Violation, hint: str | None = None) -> IntegrityError:
        return IntegrityError(
            violation.problem,
            file=self._task.object.key,
            table=table.name,
            column=violation.column,
            expected=violation.expected,
            found=violation.found,
            hint=hint,
        )


@cache
def _declared(table: str) -> pa.Schema:
    return arrow_schema(TABLES[table])


def _present(column: pa.ChunkedArray[Any]) -> NDArray:
    """The values that are there, as NumPy."""
    if not pa.types.is_primitive(column.type):
        return np.array(column.to_pylist(), dtype=object)
    parts: list[NDArray] = []
    for chunk in column.chunks:
        values, there = numbers(chunk)
        parts.append(values if there is None else values[there])
    return np.concatenate(parts) if len(parts) != 1 else parts[0]


def _repeated(keys: NDArray) -> object | None:
    """A key that is there twice."""
    if keys.dtype != object and bool(np.all(keys[1:] > keys[:-1])):
        return None
    values, counts = np.unique(keys, return_counts=True)
    return values[counts > 1][0] if (counts > 1).any() else None


def _some(keys: NDArray) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(map(str, keys[:_SHOWN].tolist())) + more
