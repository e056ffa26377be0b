"""One Parquet file of the lake at a time: whether it opens, is what its table declares, and which rows of which unit it holds.

A file is read row group by row group, so memory is bounded by the largest one (16 cells of a trace table, about 100 MB).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.check.finding import Problem, Severity
from pipelines.check.rows import UnitValues, runs
from pipelines.lake.damage import brief
from pipelines.lake.store import Store
from schemas import Subject, Table
from schemas.arrow import arrow_schema


@dataclass
class CheckedFile:
    """What is known of a file after it was read.

    Attributes:
        rows: rows by the file's footer; None if it could not be opened.
        units: rows by behaviour session or experiment, for tables that have such rows.
        usable: whether queries over the file make sense: it opens, has the declared columns and decodes.
        in_order: whether its rows are in the declared order (assumed if they were not read).
        values: what the table's checks found, by session or experiment; by 0 for tables of which a file is a whole.
    """

    path: str
    problems: list[Problem] = field(default_factory=list[Problem])
    rows: int | None = None
    units: dict[int, int] = field(default_factory=dict[int, int])
    usable: bool = False
    in_order: bool = True
    values: dict[int, UnitValues] = field(default_factory=dict[int, UnitValues])


def check_file(store: Store, table: Table, path: str, *, deep: bool) -> CheckedFile:
    """Reads a file.

    Args:
        store: the lake.
        table: declaration of the table it belongs to.
        path: below the lake.
        deep: read every column, not only the one with the units.
    """
    checked = CheckedFile(path)

    def problem(
        message: str,
        *,
        column: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        checked.problems.append(
            Problem(Severity.ERROR, table.name, path, column, message, expected, found)
        )

    folders = path.split("/")[1:-1]
    if [f.partition("=")[0] for f in folders] != (
        [table.partition.name] if table.partition else []
    ):
        where = f"{table.name}/{table.partition.name}=..." if table.partition else table.name
        problem(
            "the file is in a folder where readers do not expect it", expected=f"a file in {where}"
        )
        return checked
    try:
        file = store.parquet(path)
    except (OSError, pa.ArrowException) as error:
        problem(f"the file cannot be opened ({brief(error)}). {_advice(table)}")
        return checked
    if file is None:
        problem(
            "the file vanished while the lake was being verified. Verify again when nothing writes to it"
        )
        return checked
    checked.rows = file.metadata.num_rows
    checked.problems += schema_problems(table, path, file.schema_arrow)
    has_columns = not any(p.column for p in checked.problems)
    schema = file.schema_arrow
    wanted = [
        f.name
        for f in arrow_schema(table)
        if [schema.field(n).type for n in schema.get_all_field_indices(f.name)] == [f.type]
    ]
    if not deep:
        wanted = [name for name in wanted if name == table.unit_key]
    if not wanted:
        checked.usable = has_columns
        return checked
    rows = _Rows(table, checked, whole=deep and has_columns)
    for group in range(file.metadata.num_row_groups):
        try:
            batch = file.read_row_group(group, columns=wanted)
        except (OSError, pa.ArrowException) as error:
            problem(
                f"row group {group} cannot be read ({brief(error)}). {_advice(table)}",
                column=_undecodable(file, group, wanted),
            )
            return checked
        rows.take(batch)
    checked.problems += rows.problems()
    checked.usable = has_columns
    return checked


def schema_problems(table: Table, path: str, found: pa.Schema) -> Iterator[Problem]:
    """Differences between a file's columns and the declared ones, metadata aside."""
    declared = arrow_schema(table)

    def problem(
        column: str | None, message: str, expected: str | None = None, has: str | None = None
    ) -> Problem:
        return Problem(Severity.ERROR, table.name, path, column, message, expected, has)

    for field_ in declared:
        positions = found.get_all_field_indices(field_.name)
        if len(positions) != 1:
            yield problem(
                field_.name,
                "the column is missing" if not positions else "the column is there more than once",
            )
            continue
        has = found.field(positions[0])
        if has.type != field_.type:
            yield problem(
                field_.name, "the column has another type", str(field_.type), str(has.type)
            )
        elif has.nullable != field_.nullable:
            yield problem(
                field_.name,
                "the column is declared otherwise in the file",
                *map(_nullable, (field_, has)),
            )
    for name in found.names:
        if name not in declared.names:
            yield problem(name, "the file has a column that is not declared")
    if found.names != declared.names and sorted(found.names) == sorted(declared.names):
        yield problem(
            None,
            "the columns are in another order",
            ", ".join(declared.names),
            ", ".join(found.names),
        )


def _nullable(field_: pa.Field[Any]) -> str:
    return "may be NULL" if field_.nullable else "never NULL"


def _advice(table: Table) -> str:
    return (
        "Delete it and ingest its mouse again"
        if table.subject is Subject.LEDGER
        else "Ingest its sources again with --force"
    )


def _undecodable(file: pq.ParquetFile, group: int, columns: list[str]) -> str | None:
    for name in columns:
        try:
            file.read_row_group(group, columns=[name])
        except (OSError, pa.ArrowException):
            return name
    return None


def keys_repeat_in_neighbours(table: Table) -> bool:
    """Whether equal primary keys of a table can only be in one file, one after the other. Else DuckDB is asked for them."""
    return table.unit_key is not None and table.primary_key == table.order


class _Rows:
    """Takes the row groups of a file one by one; keeps counts and the last row."""

    def __init__(self, table: Table, checked: CheckedFile, *, whole: bool) -> None:
        self._whole = whole
        self._table = table
        self._checked = checked
        self._nulls: dict[str, int] = {}
        self._last: pa.Table | None = None
        self._taken = 0
        self._disorder: int | None = None
        self._repeat: tuple[int, str] | None = None
        self._keyed = keys_repeat_in_neighbours(table)

    def take(self, batch: pa.Table) -> None:
        """The next row group."""
        for column in self._table.stored:
            if (
                column.required
                and column.name in batch.column_names
                and (nulls := batch.column(column.name).null_count)
            ):
                self._nulls[column.name] = self._nulls.get(column.name, 0) + nulls
        if self._whole and not self._nulls:
            self._look(batch)
        unit = self._table.unit_key
        if unit in batch.column_names:
            for item in batch.column(unit).value_counts():
                value, count = item["values"].as_py(), item["counts"].as_py()
                if value is not None:
                    self._checked.units[value] = self._checked.units.get(value, 0) + count
        if all(name in batch.column_names for name in self._table.order) and not set(
            self._nulls
        ) & set(self._table.order):
            self._compare(batch.select(list(self._table.order)))
        self._taken += batch.num_rows

    def _look(self, batch: pa.Table) -> None:
        """Hands the rows of each session or experiment to its checks."""
        key = self._table.unit_key
        for unit, start, length in (
            [(0, 0, batch.num_rows)] if key is None else runs(batch.column(key).to_numpy())
        ):
            self._checked.values.setdefault(unit, UnitValues(self._table)).take(
                batch.slice(start, length)
            )

    def _compare(self, ids: pa.Table) -> None:
        """Compares each row with the one before, the last one of the group before included."""
        start = self._taken
        if self._last is not None:
            ids = pa.concat_tables([self._last, ids])
            start -= 1
        rows = ids.num_rows
        if rows < 2:
            self._last = ids if rows else self._last
            return
        before = np.zeros(
            rows - 1, dtype=bool
        )  # whether a row is to stand before the next one, by the columns so far
        equal = np.ones(rows - 1, dtype=bool)
        for name in self._table.order:
            values = ids.column(name).to_numpy()
            before |= equal & (values[:-1] < values[1:])
            equal &= values[:-1] == values[1:]
        wrong = ~(before | equal)
        if wrong.any() and self._disorder is None:
            self._disorder = start + int(wrong.argmax()) + 1
        if equal.any() and self._repeat is None and self._keyed:
            repeated = int(equal.argmax())
            row = ids.slice(repeated, 1).to_pylist()[0]
            self._repeat = (
                start + repeated + 1,
                ", ".join(f"{name} {value}" for name, value in row.items()),
            )
        self._last = ids.slice(rows - 1)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the rows taken."""
        name, path = self._table.name, self._checked.path
        for column, nulls in self._nulls.items():
            yield Problem(
                Severity.ERROR,
                name,
                path,
                column,
                "values are missing",
                "a value in every row",
                f"{nulls} NULLs",
            )
        for unit, values in self._checked.values.items():
            for v in values.violations.values():
                where = f" of {self._table.unit_key} {unit}" if self._table.unit_key else ""
                yield Problem(
                    Severity.ERROR, name, path, v.column, v.problem, v.expected, v.found + where
                )
        if self._disorder is not None:
            self._checked.in_order = False
            order = ", ".join(self._table.order)
            yield Problem(
                Severity.ERROR,
                name,
                path,
                None,
                "the rows are not in order",
                f"sorted by {order}",
                f"row {self._disorder} out of place",
            )
        if self._repeat is not None and self._disorder is None:
            row, key = self._repeat
            yield Problem(
                Severity.ERROR,
                name,
                path,
                None,
                "a primary key repeats",
                "unique keys",
                f"{key} again in row {row}",
            )
