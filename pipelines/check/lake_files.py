"""The Parquet files of a lake: each by itself, and against the project tables and the ledger.

A file is read one row group at a time, so memory is bounded by the largest one (16 cells of a trace
table, about 100 MB).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.check.finding import Finding, some
from pipelines.check.rows import (
    declared_file_schema,
    declared_schema,
    null_findings,
    runs,
    schema_findings,
)
from pipelines.lake.ledger import Entry
from pipelines.lake.store import Store
from pipelines.os_errors import first_line
from schemas import Storage, Subject, Table
from schemas.checks import Level, Rule
from schemas.layout import relative_path

Take = Callable[[int, pa.Table], None]
"""Receives the rows of one session or experiment; of id 0 if the table has no such id."""

_UNREADABLE = (OSError, pa.ArrowException)

_SMALL = 4_000_000
"""Bytes of a row group, decoded, up to which one thread reads it."""


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


# --- one file ------------------------------------------------------------------------------------


def read_file(store: Store, table: Table, path: str, *, take: Take | None) -> LakeFile:
    """Reads a file.

    Args:
        store: the lake.
        table: table that the file belongs to.
        path: below the lake.
        take: called with all rows in turn; if None, only footer and ids are read.
    """
    read = LakeFile(path)
    ids = _ids_of_folders(table, path)
    if ids is None:
        where = "/".join((table.name, *(f"{name}=..." for name in table.storage.partitions)))
        message = "the file is in a folder where readers do not expect it"
        expected = f"a file in {where}"
        read.findings.append(Finding(Rule.FILE_PLACE, table.name, message, expected=expected))
        return read
    try:
        file = store.parquet(path, whole=take is not None)
    except _UNREADABLE as error:
        message = f"the file cannot be opened ({first_line(error)}). {_advice(table)}"
        read.findings.append(Finding(Rule.FILE_READABLE, table.name, message))
        return read
    if file is None:
        message = "the file vanished during the check. Verify again when nothing writes to the lake"
        read.findings.append(Finding(Rule.FILE_READABLE, table.name, message))
        return read
    read.rows = file.metadata.num_rows
    schema = file.schema_arrow
    read.findings += schema_findings(table, schema, declared_file_schema(table.name))
    has_columns = not any(finding.column for finding in read.findings)
    read.findings += _relabelled(table, schema, ids)
    read.checked = has_columns and take is not None
    read.usable = _read_groups(file, schema, table, read, take, ids) and has_columns
    read.checked = read.checked and read.usable
    return read


def _ids_of_folders(table: Table, path: str) -> dict[str, int] | None:
    """The ids that the names of a file's folders give its rows; None if the folders are others."""
    folders = [name.partition("=") for name in path.split("/")[1:-1]]
    if tuple(name for name, _, _ in folders) != table.storage.partitions:
        return None
    ids = {name: value for name, _, value in folders[1:]}
    return {k: int(v) for k, v in ids.items()} if all(map(str.isdecimal, ids.values())) else None


def _relabelled(table: Table, schema: pa.Schema, ids: Mapping[str, int]) -> Iterator[Finding]:
    """Ids of the folders that are not those for which the file was written."""
    metadata = schema.metadata or {}
    for name, value in ids.items():
        found = metadata.get(name.encode(), b"").decode()
        if found != str(value):
            message = "the file was written for another folder"
            folders = (f"{name}={found}", f"{name}={value}")
            yield Finding(Rule.FILE_PLACE, table.name, message, name, *folders)


def _read_groups(
    file: pq.ParquetFile,
    schema: pa.Schema,
    table: Table,
    read: LakeFile,
    take: Take | None,
    ids: Mapping[str, int],
) -> bool:
    """Reads all row groups; false if one does not decode."""
    key, declared = table.unit_key, declared_schema(table.name)
    wanted = _usable_columns(table, schema)
    if take is None:
        wanted = [name for name in wanted if name == key]
        if key is not None and key in ids:
            read.units[ids[key]] = file.metadata.num_rows
    order, missing = _RowOrder(table), dict[str | None, Finding]()
    for group in range(file.metadata.num_row_groups if wanted else 0):
        try:
            # Without names, none has to be looked up.
            rows = _read_group(file, group, None if wanted == schema.names else wanted)
        except _UNREADABLE as error:
            message = f"row group {group} cannot be read ({first_line(error)}). {_advice(table)}"
            column = _undecodable(file, group, wanted)
            read.findings.append(Finding(Rule.FILE_READABLE, table.name, message, column))
            return False
        for name, value in ids.items():
            column = pa.array(np.full(rows.num_rows, value))
            rows = rows.append_column(declared.field(name), column)
        present = {*wanted, *ids}
        rows = rows.select([name for name in declared.names if name in present])
        for finding in null_findings(table, rows):
            missing.setdefault(finding.column, finding)
            read.checked = False
        parts = [(0, 0, rows.num_rows)]
        if key in present:
            if key not in ids:
                parts = [*runs(rows.column(key).drop_null().to_numpy())]
            else:  # the same in all rows
                parts = [(ids[key], 0, rows.num_rows)] if rows.num_rows else []
            for unit, _, length in parts:
                read.units[unit] = read.units.get(unit, 0) + length
        if take is not None and read.checked:
            order.take(rows)
            for unit, start, length in parts:
                take(unit, rows.slice(start, length))
    read.findings += [*missing.values(), *order.findings()]
    return True


def _usable_columns(table: Table, schema: pa.Schema) -> list[str]:
    """The declared columns that a file has once, with the declared type."""
    declared = declared_file_schema(table.name)
    if schema.equals(declared):
        return declared.names
    return [
        field.name
        for field in declared
        if [schema.field(n).type for n in schema.get_all_field_indices(field.name)] == [field.type]
    ]


def _read_group(file: pq.ParquetFile, group: int, columns: list[str] | None) -> pa.Table:
    """Reads a row group; a small one in this thread, since others would take longer to wake up."""
    many = file.metadata.row_group(group).total_byte_size > _SMALL
    return file.read_row_group(group, columns, use_threads=many)


def _advice(table: Table) -> str:
    if table.subject is Subject.LEDGER:
        return "Delete it and ingest its mouse again"
    return "Ingest its sources again with --force"


def _undecodable(file: pq.ParquetFile, group: int, columns: list[str]) -> str | None:
    for name in columns:
        try:
            file.read_row_group(group, columns=[name])
        except _UNREADABLE:
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
            message, expected = "the rows are not in order", ", ".join(self._table.order)
            yield Finding(
                Rule.ROW_ORDER,
                self._table.name,
                message,
                expected=f"sorted by {expected}",
                found=f"row {self._wrong} out of place",
            )


# --- all files of a table ------------------------------------------------------------------------


def noun(table: Table) -> str:
    """What one source of a table's rows is called in messages."""
    return "experiment" if table.unit_key == "ophys_experiment_id" else "behaviour session"


def file_findings(
    table: Table,
    files: list[LakeFile],
    ids_of: Mapping[int, Mapping[str, Any]],
    entries: Mapping[int, Entry] | None,
) -> Iterator[Finding]:
    """Files that lie in the wrong place, and rows that differ from the ledger's counts.

    Args:
        table: the table.
        files: its files.
        ids_of: the ids of each session or experiment, its mouse included.
        entries: the ledger by session or experiment; None if it cannot be read.
    """
    for file in files:
        yield from _misplaced(table, file, ids_of)
    yield from _split(table, files)
    if table.unit_key is not None and entries is not None:
        yield from _unknown(table, files, entries)
        yield from _miscounted(table, files, entries)


def _misplaced(
    table: Table, file: LakeFile, ids_of: Mapping[int, Mapping[str, Any]]
) -> Iterator[Finding]:
    """Files that are not where their rows belong."""
    rule, name = Rule.FILE_PLACE, table.name
    if table.storage is Storage.PROJECT and file.path != relative_path(table):
        message = "vblake does not write this file; its rows count twice"
        yield Finding(rule, name, message, expected=relative_path(table), file=file.path)
        return
    if file.rows == 0:
        message = "the file has no rows; vblake writes no such file"
        yield Finding(Rule.FILE_EMPTY, name, message, file=file.path, level=Level.WARNING)
        return
    wrong: dict[str, list[int]] = {}
    for unit in file.units:
        if unit in ids_of and (path := relative_path(table, **ids_of[unit])) != file.path:
            wrong.setdefault(path, []).append(unit)
    for path, units in wrong.items():
        rows, at = f"rows of {noun(table)} {some(units)}", file.path
        folder, actual = path.split("/")[1], at.split("/")[1]
        if folder != actual:
            message = f"{rows} are in another mouse's folder"
            yield Finding(rule, name, message, "mouse_id", folder, actual, file=at)
        elif path.rsplit("/", 1)[0] != at.rsplit("/", 1)[0]:
            yield Finding(rule, name, f"{rows} are in another folder", expected=path, file=at)
        else:
            message = f"{rows} are in a file of another name"
            yield Finding(rule, name, message, expected=path, file=at)


def _split(table: Table, files: list[LakeFile]) -> Iterator[Finding]:
    """Sources whose rows are in more than one file, so that queries count them twice."""
    seen: dict[int, str] = {}
    for file in files:
        if twice := [unit for unit in file.units if unit in seen]:
            yield Finding(
                Rule.PRIMARY_KEY,
                table.name,
                f"rows of {noun(table)} {some(twice)} are in two files, so their keys repeat",
                expected="each source in one file",
                found=f"rows in {seen[twice[0]]} too",
                file=file.path,
            )
        seen |= dict.fromkeys(file.units, file.path)


def _unknown(
    table: Table, files: list[LakeFile], entries: Mapping[int, Entry]
) -> Iterator[Finding]:
    """Rows that the ledger does not count."""
    counted = {unit for unit, entry in entries.items() if table.name in entry.row_counts}
    for file in files:
        if units := [unit for unit in file.units if unit not in counted]:
            message = (
                f"the ledger does not know of rows of {noun(table)} {some(units)}: "
                "an interrupted run left them. Ingest these files again"
            )
            rule = Rule.NOT_IN_LEDGER
            yield Finding(rule, table.name, message, file=file.path, level=Level.WARNING)


def _miscounted(
    table: Table, files: list[LakeFile], entries: Mapping[int, Entry]
) -> Iterator[Finding]:
    """Sources of which the files hold more or fewer rows than the ledger says."""
    usable = {file.path: file.usable for file in files}
    held: Counter[int] = Counter()
    for file in files:
        held.update(file.units)
    missing: dict[str, list[int]] = {}
    for unit, entry in entries.items():
        expected, found = entry.row_counts.get(table.name), held[unit]
        if expected is None or expected == found:
            continue
        path = entry.path_of(table)
        if path not in usable and not found:
            missing.setdefault(path, []).append(unit)
        elif usable.get(path, True):
            message = (
                f"the ledger counts another number of rows of {noun(table)} {unit}. "
                "Ingest it again with --force"
            )
            counts = (f"{expected} rows", str(found))
            yield Finding(Rule.LEDGER, table.name, message, None, *counts, file=path)
    for path, units in missing.items():
        message = (
            "the file is missing, though the ledger counts rows of "
            f"{noun(table)} {some(units)}. Ingest again with --force"
        )
        yield Finding(Rule.LEDGER, table.name, message, file=path)
