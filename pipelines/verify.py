"""Whether a lake is what the contract says, by reading it again. Nothing is changed.

Files are read one by one (`pipelines.verify_files`); what concerns several files is asked of DuckDB, over the files that are usable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import duckdb

from pipelines.connect import connect, connect_files, first_line, lake_root
from pipelines.lake.ledger import Entry, Ledger, read_ledger
from pipelines.lake.store import Store, require_lake
from pipelines.sqltext import identifier, literal
from pipelines.verify_files import CheckedFile, Problem, Severity, check_file, keys_repeat_in_neighbours
from schemas import SCHEMA_VERSION, TABLES, ForeignKey, Storage, Subject, Table
from schemas.errors import LakeError
from schemas.layout import CATALOG, relative_path

__all__ = ["Problem", "Severity", "verify"]

_SHOWN = 5
"""Ids named in one message."""


def _ignore(_: str) -> None:
    pass


def verify(store: Store, *, deep: bool = True, on_file: Callable[[str], None] = _ignore) -> list[Problem]:
    """Checks a lake.

    Always: every file opens and has exactly the declared schema, lies where its rows belong, and holds as many rows of each source as
    the ledger says; the ledger's files are there; the catalog opens and every view can be queried. Deep, besides: every value decodes,
    required columns are filled, rows are in order, primary keys are unique, foreign keys are closed, views give all rows.

    Args:
        store: the lake.
        deep: read all data, not only footers and ids.
        on_file: called with each file before it is read.

    Returns:
        The problems, those of one table together; empty if there are none.

    Raises:
        LakeError: there is no lake, or DuckDB cannot reach it.
    """
    require_lake(store)
    found: list[Problem] = []
    files: dict[str, list[CheckedFile]] = {}
    for table in TABLES.values():
        files[table.name] = []
        for path in store.files(table.name):
            on_file(path)
            files[table.name].append(check_file(store, table, path, deep=deep))
        found += [p for f in files[table.name] for p in f.problems]
    ledger = None
    if all(f.usable for f in files["source_files"]):
        try:
            ledger = read_ledger(store)
        except (ValueError, LookupError, TypeError) as error:
            message = f"the ledger cannot be understood ({error}), so rows were not compared with it"
            found.append(Problem(Severity.ERROR, "source_files", None, None, message))
    lake = _Lake(store, files, ledger)
    for table in TABLES.values():
        found += lake.misplaced(table)
        found += lake.split(table)
        found += lake.miscounted(table)
    if deep:
        with connect_files(store) as con:
            for table in TABLES.values():
                try:
                    found += lake.repeated(con, table)
                    for key in table.foreign_keys:
                        found += lake.dangling(con, table, key)
                except duckdb.Error as error:
                    raise LakeError(f"The keys of {table.name} in {store.root} could not be checked ({first_line(error)}).") from error
    found += _catalog_problems(store, files, deep=deep)
    order = {name: position for position, name in enumerate(TABLES)}
    return sorted(found, key=lambda p: order.get(p.table or "", len(order)))


def _some(ids: Iterable[object]) -> str:
    listed = list(ids)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(map(str, listed[:_SHOWN])) + more


def _noun(table: Table) -> str:
    return "experiment" if table.unit_key == "ophys_experiment_id" else "behaviour session"


def _parquet(files: Iterable[str], root: str, table: Table) -> str:
    paths = ", ".join(literal(f"{root}/{path}") for path in files)
    if table.partition is None:
        return f"read_parquet([{paths}], hive_partitioning = false)"
    types = f"{{{literal(table.partition.name)}: {table.partition.type.value}}}"
    return f"read_parquet([{paths}], hive_partitioning = true, hive_types = {types})"


@dataclass
class _Lake:
    """Everything that is known once each file was read."""

    store: Store
    files: dict[str, list[CheckedFile]]
    ledger: Ledger | None

    def __post_init__(self) -> None:
        self.by_unit: dict[Subject, dict[int, Entry]] = {Subject.OPHYS: {}, Subject.BEHAVIOR: {}}
        for entry in (self.ledger or {}).values():
            if entry.ophys_experiment_id is not None:
                self.by_unit[Subject.OPHYS][entry.ophys_experiment_id] = entry
            if entry.gives_behavior:
                self.by_unit[Subject.BEHAVIOR][entry.behavior_session_id] = entry
        self.mouse_of = {
            Subject.BEHAVIOR: self._mice("behavior_sessions", "behavior_session_id"),
            Subject.OPHYS: self._mice("ophys_experiments", "ophys_experiment_id"),
        }

    def _mice(self, table: str, key: str) -> dict[int, int]:
        found: dict[int, int] = {}
        for file in self._usable(TABLES[table]):
            opened = self.store.parquet(file.path)
            if opened is not None:
                rows = opened.read([key, "mouse_id"])
                ids, mice = (rows.column(name).to_pylist() for name in (key, "mouse_id"))
                found |= cast("dict[int, int]", dict(zip(ids, mice, strict=True)))
        return found

    def _usable(self, table: Table) -> list[CheckedFile]:
        return [f for f in self.files[table.name] if f.usable]

    def _path(self, table: Table, unit: int, mouse: int | None) -> str:
        return relative_path(table, mouse_id=mouse, behavior_session_id=unit, ophys_experiment_id=unit)

    # --- files and the ledger ------------------------------------------------------------------------------------------------

    def misplaced(self, table: Table) -> Iterator[Problem]:
        """Files that are not where their rows belong."""
        for file in self.files[table.name]:
            if table.storage is Storage.PROJECT and file.path != relative_path(table):
                yield self._error(
                    table, file.path, "the file is not one that vblake writes; its rows count twice", expected=relative_path(table)
                )
            elif file.rows == 0:
                yield Problem(Severity.WARNING, table.name, file.path, None, "the file has no rows; vblake writes no such file")
            elif table.unit_key is not None:
                yield from self._misplaced_units(table, file)

    def _misplaced_units(self, table: Table, file: CheckedFile) -> Iterator[Problem]:
        wrong: dict[str, list[int]] = {}
        for unit in file.units:
            mouse = self.mouse_of[table.subject].get(unit)
            if mouse is not None and (path := self._path(table, unit, mouse)) != file.path:
                wrong.setdefault(path, []).append(unit)
        for path, units in wrong.items():
            folder = path.split("/")[1]
            if folder != file.path.split("/")[1]:
                message = f"rows of {_noun(table)} {_some(units)} are in another mouse's folder"
                yield self._error(table, file.path, message, "mouse_id", folder, file.path.split("/")[1])
            else:
                yield self._error(table, file.path, f"rows of {_noun(table)} {_some(units)} are in a file of another name", expected=path)

    def split(self, table: Table) -> Iterator[Problem]:
        """Sources whose rows are in more than one file, so that queries count them twice."""
        seen: dict[int, str] = {}
        for file in self.files[table.name]:
            twice = [unit for unit in file.units if unit in seen]
            if twice:
                message = f"rows of {_noun(table)} {_some(twice)} are in two files, so their keys repeat"
                yield self._error(table, file.path, message, expected="each source in one file", found=f"rows in {seen[twice[0]]} too")
            seen |= dict.fromkeys(file.units, file.path)

    def miscounted(self, table: Table) -> Iterator[Problem]:
        """Differences between the ledger's rows per source and those in the files."""
        if table.unit_key is None or self.ledger is None:
            return
        entries = self.by_unit[table.subject]
        unreadable = {f.path for f in self.files[table.name] if not f.usable}
        held: dict[int, int] = {}
        for file in self.files[table.name]:
            unknown = [u for u in file.units if u not in entries or table.name not in entries[u].row_counts]
            if unknown:
                message = (
                    f"the ledger does not know of rows of {_noun(table)} {_some(unknown)}: an interrupted run left them. "
                    "Ingest these files again"
                )
                yield Problem(Severity.WARNING, table.name, file.path, None, message)
            for unit, rows in file.units.items():
                held[unit] = held.get(unit, 0) + rows
        there = {f.path for f in self.files[table.name]}
        missing: dict[str, list[int]] = {}
        for unit, entry in entries.items():
            expected, found = entry.row_counts.get(table.name), held.get(unit, 0)
            if expected is None or expected == found:
                continue
            path = self._path(table, unit, entry.mouse_id)
            if path not in there and not found:
                missing.setdefault(path, []).append(unit)
            elif path not in unreadable:
                message = f"rows of {_noun(table)} {unit} are not as many as the ledger says. Ingest it again with --force"
                yield self._error(table, path, message, expected=f"{expected} rows", found=str(found))
        for path, units in missing.items():
            message = f"the file is missing, though the ledger counts rows of {_noun(table)} {_some(units)}. Ingest again with --force"
            yield self._error(table, path, message)

    # --- keys ----------------------------------------------------------------------------------------------------------------

    def repeated(self, con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Problem]:
        """Primary keys that repeat, where reading file by file cannot tell: another order, or several files without units."""
        files = self._usable(table)
        if keys_repeat_in_neighbours(table):
            files = [f for f in files if not f.in_order]
        if not files or not table.primary_key:
            return
        key = ", ".join(map(identifier, table.primary_key))
        scan = _parquet([f.path for f in files], lake_root(self.store), table)
        rows = con.execute(f"SELECT {key}, count(*) FROM {scan} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT {_SHOWN}").fetchall()
        for *values, count in rows:
            shown = ", ".join(f"{name} {value}" for name, value in zip(table.primary_key, values, strict=True))
            yield self._error(table, None, "a primary key repeats", expected="unique keys", found=f"{shown} {count} times")

    def dangling(self, con: duckdb.DuckDBPyConnection, table: Table, key: ForeignKey) -> Iterator[Problem]:
        """References to rows that are not there."""
        parent = TABLES[key.table]
        files, parents = self._usable(table), self._usable(parent)
        if not files or len(parents) != len(self.files[parent.name]):
            return  # a parent that cannot be read is a problem of its own, and would make all its children dangle
        where = " AND ".join(f"c.{identifier(c)} IS NOT NULL" for c in key.columns)
        if parent.subject is not Subject.PROJECT:
            # Who asks for traces only has no cells to refer to.
            units = [unit for unit, entry in self.by_unit[table.subject].items() if parent.name in entry.row_counts]
            if table.unit_key is None or not units:
                return
            where += f" AND c.{identifier(table.unit_key)} IN ({', '.join(map(str, units))})"
        root = lake_root(self.store)
        columns = ", ".join(f"c.{identifier(c)}" for c in key.columns)
        sql = f"SELECT DISTINCT {columns} FROM {_parquet([f.path for f in files], root, table)} c"
        if parents:
            on = " AND ".join(f"c.{identifier(c)} = p.{identifier(r)}" for c, r in zip(key.columns, key.references, strict=True))
            sql += f" ANTI JOIN {_parquet([f.path for f in parents], root, parent)} p ON {on}"
        rows = con.execute(f"{sql} WHERE {where} ORDER BY ALL LIMIT {_SHOWN + 1}").fetchall()
        if rows:
            shown = "; ".join(", ".join(f"{n} {v}" for n, v in zip(key.columns, row, strict=True)) for row in rows[:_SHOWN])
            more = " and more" if len(rows) > _SHOWN else ""
            message = f"rows refer to {parent.name} that are not there"
            yield self._error(table, None, message, ", ".join(key.columns), f"keys of {parent.name}", shown + more)

    def _error(
        self, table: Table, file: str | None, message: str, column: str | None = None, expected: str | None = None, found: str | None = None
    ) -> Problem:
        return Problem(Severity.ERROR, table.name, file, column, message, expected, found)


# --- catalog -----------------------------------------------------------------------------------------------------------------


def _catalog_problems(store: Store, files: dict[str, list[CheckedFile]], *, deep: bool) -> Iterator[Problem]:
    def problem(message: str, *, table: str | None = None, expected: str | None = None, found: str | None = None) -> Problem:
        return Problem(Severity.ERROR, table, CATALOG, None, message, expected, found)

    again = f"Make the catalog anew with `vblake catalog --lake {store.root}`"
    try:
        con = connect(store)
    except LakeError as error:
        yield problem(str(error))
        return
    with con:
        views = [
            r[0]
            for r in con.execute(
                "SELECT view_name FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal ORDER BY ALL"
            ).fetchall()
        ]
        if missing := [name for name in TABLES if name not in views]:
            yield problem(f"views are missing. {again}", expected="a view for every table", found=f"none for {_some(missing)}")
        else:
            version = con.execute("SELECT max(schema_version) FROM _lake").fetchone()
            if version != (SCHEMA_VERSION,):
                yield problem(
                    f"the catalog is of another schema version. {again}", expected=SCHEMA_VERSION, found=str(version and version[0])
                )
        for name in views:
            table = name if name in TABLES else None
            unreadable = table is not None and any(not f.usable for f in files[table])
            try:
                con.execute(f"SELECT * FROM {identifier(name)} LIMIT 0")
                if table is None or unreadable or not deep:
                    continue
                row = con.execute(f"SELECT count(*) FROM {identifier(name)}").fetchone()
            except duckdb.Error as error:
                if not unreadable:
                    yield problem(f"view {name} cannot be queried ({first_line(error)}). {again}", table=table)
                continue
            held = sum(f.rows or 0 for f in files[table])
            if row != (held,):
                yield problem(
                    f"view {name} does not give all rows of its files. {again}",
                    table=table,
                    expected=f"{held} rows",
                    found=str(row and row[0]),
                )
