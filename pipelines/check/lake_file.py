"""Reads one Parquet file of the lake: whether it opens, has the declared schema and is in order.

The file is read one row group at a time, so memory is bounded by the largest one (16 cells of a
trace table, about 100 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.check.finding import Finding
from pipelines.check.rows import declared_schema, null_findings, runs, schema_findings
from pipelines.lake.store import Store, brief
from schemas import Subject, Table
from schemas.checks import Rule

Take = Callable[[int, pa.Table], None]
"""Receives the rows of one session or experiment; of id 0 if the table has no such id."""


@dataclass
class LakeFile:
    """What is known of a file after it was read.

    Attributes:
        path: below the lake.
        rows: number of rows by the footer; None if the file could not be opened.
        units: number of rows by session or experiment, for tables that have such an id.
        usable: whether it opens, has the declared columns and decodes, so that queries make sense.
        checked: whether all of its rows went through the rules.
    """

    path: str
    findings: list[Finding] = field(default_factory=list[Finding])
    rows: int | None = None
    units: dict[int, int] = field(default_factory=dict[int, int])
    usable: bool = False
    checked: bool = False


def read_file(store: Store, table: Table, path: str, *, take: Take | None) -> LakeFile:
    """Reads a file.

    Args:
        store: the lake.
        table: table that the file belongs to.
        path: below the lake.
        take: called with all rows in turn; if None, only footer and ids are read.
    """
    read = LakeFile(path)
    read.findings += _place(table, path)
    if read.findings:
        return read
    try:
        file = store.parquet(path)
    except (OSError, pa.ArrowException) as error:
        message = f"the file cannot be opened ({brief(error)}). {_advice(table)}"
        read.findings.append(Finding(Rule.FILE_READABLE, table.name, message))
        return read
    if file is None:
        message = "the file vanished during the check. Verify again when nothing writes to the lake"
        read.findings.append(Finding(Rule.FILE_READABLE, table.name, message))
        return read
    read.rows = file.metadata.num_rows
    read.findings += schema_findings(table, file.schema_arrow)
    has_columns = not any(finding.column for finding in read.findings)
    read.checked = has_columns and take is not None
    read.usable = _read_groups(file, table, read, take) and has_columns
    read.checked = read.checked and read.usable
    return read


def _place(table: Table, path: str) -> Iterator[Finding]:
    folders = [name.partition("=")[0] for name in path.split("/")[1:-1]]
    if folders != ([table.partition.name] if table.partition else []):
        where = f"{table.name}/{table.partition.name}=..." if table.partition else table.name
        message = "the file is in a folder where readers do not expect it"
        yield Finding(Rule.FILE_PLACE, table.name, message, expected=f"a file in {where}")


def _read_groups(file: pq.ParquetFile, table: Table, read: LakeFile, take: Take | None) -> bool:
    """Reads all row groups; false if one does not decode."""
    schema, key = file.schema_arrow, table.unit_key
    wanted = [
        field.name
        for field in declared_schema(table.name)
        if [schema.field(n).type for n in schema.get_all_field_indices(field.name)] == [field.type]
    ]
    if take is None:
        wanted = [name for name in wanted if name == key]
    order, missing = _RowOrder(table), dict[str | None, Finding]()
    for group in range(file.metadata.num_row_groups if wanted else 0):
        try:
            rows = file.read_row_group(group, columns=wanted)
        except (OSError, pa.ArrowException) as error:
            message = f"row group {group} cannot be read ({brief(error)}). {_advice(table)}"
            column = _undecodable(file, group, wanted)
            read.findings.append(Finding(Rule.FILE_READABLE, table.name, message, column))
            return False
        for finding in null_findings(table, rows):
            missing.setdefault(finding.column, finding)
            read.checked = False
        if key in wanted:
            for unit, _, length in runs(rows.column(key).drop_null().to_numpy()):
                read.units[unit] = read.units.get(unit, 0) + length
        if take is not None and read.checked:
            order.take(rows)
            _hand_over(rows, key, take)
    read.findings += [*missing.values(), *order.findings()]
    return True


def _hand_over(rows: pa.Table, key: str | None, take: Take) -> None:
    if key is None:
        take(0, rows)
        return
    for unit, start, length in runs(rows.column(key).to_numpy()):
        take(unit, rows.slice(start, length))


def _advice(table: Table) -> str:
    if table.subject is Subject.LEDGER:
        return "Delete it and ingest its mouse again"
    return "Ingest its sources again with --force"


def _undecodable(file: pq.ParquetFile, group: int, columns: list[str]) -> str | None:
    for name in columns:
        try:
            file.read_row_group(group, columns=[name])
        except (OSError, pa.ArrowException):
            return name
    return None


class _RowOrder:
    """Rule `row_order`: the rows of a file are sorted as declared."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._last: pa.Table | None = None
        self._taken = 0
        self._wrong: int | None = None

    def take(self, rows: pa.Table) -> None:
        """Compares each row with the one before it, across row groups too."""
        keys, start = rows.select(list(self._table.order)), self._taken
        self._taken += rows.num_rows
        if self._last is not None:
            keys, start = pa.concat_tables([self._last, keys]), start - 1
        if not keys.num_rows:
            return
        self._last = keys.slice(keys.num_rows - 1)
        before = np.zeros(keys.num_rows - 1, dtype=bool)
        equal = np.ones(keys.num_rows - 1, dtype=bool)
        for name in self._table.order:
            values = keys.column(name).to_numpy()
            before |= equal & (values[:-1] < values[1:])
            equal &= values[:-1] == values[1:]
        wrong = ~(before | equal)
        if wrong.any() and self._wrong is None:
            self._wrong = start + int(wrong.argmax()) + 1

    def findings(self) -> Iterator[Finding]:
        """The first row that is out of place."""
        if self._wrong is not None:
            yield Finding(
                Rule.ROW_ORDER,
                self._table.name,
                "the rows are not in order",
                None,
                f"sorted by {', '.join(self._table.order)}",
                f"row {self._wrong} out of place",
            )
