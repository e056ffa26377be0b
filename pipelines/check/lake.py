"""Whether a lake is what the contract says, by reading it again. Nothing is changed.

Files are read one by one (`pipelines.check.lake_file`); what concerns several files is asked of DuckDB, over the files that are usable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shlex import quote
from typing import cast

import duckdb

from pipelines.catalog.connect import connect_files, connect_restricted, first_line
from pipelines.check.finding import Problem, Severity
from pipelines.check.lake_file import CheckedFile, check_file
from pipelines.check.lake_rules import LakeRules, noun, some
from pipelines.lake.ledger import Entry, Ledger, read_ledger
from pipelines.lake.store import Store, require_lake
from pipelines.sql_text import identifier
from schemas import SCHEMA_VERSION, TABLES, Storage, Subject, Table
from schemas.errors import LakeError
from schemas.layout import CATALOG, relative_path

__all__ = ["Problem", "Severity", "verify"]


def _ignore(_: object) -> None:
    pass


def verify(
    store: Store,
    *,
    deep: bool = True,
    on_file: Callable[[str], None] = _ignore,
    on_known: Callable[[Problem], None] = _ignore,
) -> list[Problem]:
    """Checks a lake.

    Always: every file opens and has exactly the declared schema, lies where its rows belong, and holds as many rows of each source as
    the ledger says; the ledger's files are there; the catalog opens and every view can be queried. Deep, besides: every value decodes,
    required columns are filled, rows are in order, primary keys are unique, foreign keys are closed, the tables' checks hold
    (`schemas.checks`), no file gave an empty table where rows are expected, views give all rows.

    Args:
        store: the lake.
        deep: read all data, not only footers and ids.
        on_file: called with each file before it is read.
        on_known: called with each known exception of the released data (`schemas.known_defects`) that occurs in the lake; only if deep.

    Returns:
        The problems, those of one table together; empty if there are none. Known exceptions are not among them.

    Raises:
        LakeError: there is no lake, or DuckDB cannot reach it.
    """
    release = require_lake(store)
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
            message = (
                f"the ledger cannot be understood ({error}), so rows were not compared with it"
            )
            found.append(Problem(Severity.ERROR, "source_files", None, None, message))
    lake = _Lake(store, files, ledger)
    for table in TABLES.values():
        found += lake.misplaced(table)
        found += lake.split(table)
        found += lake.miscounted(table)
    if deep:
        rules = LakeRules(store, release, files, lake.by_unit)
        with connect_files(store) as con:
            for table in TABLES.values():
                try:
                    found += rules.broken(con, table)
                except duckdb.Error as error:
                    raise LakeError(
                        f"The keys of {table.name} in {store.root} could not be checked ({first_line(error)})."
                    ) from error
            for problem in rules.exceptions(con, (ledger or {}).values()):
                on_known(problem)
    found += _catalog_problems(store, files, deep=deep)
    order = {name: position for position, name in enumerate(TABLES)}
    return sorted(found, key=lambda p: order.get(p.table or "", len(order)))


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
        return relative_path(
            table, mouse_id=mouse, behavior_session_id=unit, ophys_experiment_id=unit
        )

    # --- files and the ledger ------------------------------------------------------------------------------------------------

    def misplaced(self, table: Table) -> Iterator[Problem]:
        """Files that are not where their rows belong."""
        for file in self.files[table.name]:
            if table.storage is Storage.PROJECT and file.path != relative_path(table):
                yield self._error(
                    table,
                    file.path,
                    "the file is not one that vblake writes; its rows count twice",
                    expected=relative_path(table),
                )
            elif file.rows == 0:
                yield Problem(
                    Severity.WARNING,
                    table.name,
                    file.path,
                    None,
                    "the file has no rows; vblake writes no such file",
                )
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
                message = f"rows of {noun(table)} {some(units)} are in another mouse's folder"
                yield self._error(
                    table, file.path, message, "mouse_id", folder, file.path.split("/")[1]
                )
            else:
                yield self._error(
                    table,
                    file.path,
                    f"rows of {noun(table)} {some(units)} are in a file of another name",
                    expected=path,
                )

    def split(self, table: Table) -> Iterator[Problem]:
        """Sources whose rows are in more than one file, so that queries count them twice."""
        seen: dict[int, str] = {}
        for file in self.files[table.name]:
            twice = [unit for unit in file.units if unit in seen]
            if twice:
                message = (
                    f"rows of {noun(table)} {some(twice)} are in two files, so their keys repeat"
                )
                yield self._error(
                    table,
                    file.path,
                    message,
                    expected="each source in one file",
                    found=f"rows in {seen[twice[0]]} too",
                )
            seen |= dict.fromkeys(file.units, file.path)

    def miscounted(self, table: Table) -> Iterator[Problem]:
        """Differences between the ledger's rows per source and those in the files."""
        if table.unit_key is None or self.ledger is None:
            return
        entries = self.by_unit[table.subject]
        unreadable = {f.path for f in self.files[table.name] if not f.usable}
        held: dict[int, int] = {}
        for file in self.files[table.name]:
            unknown = [
                u for u in file.units if u not in entries or table.name not in entries[u].row_counts
            ]
            if unknown:
                message = (
                    f"the ledger does not know of rows of {noun(table)} {some(unknown)}: an interrupted run left them. "
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
                message = f"rows of {noun(table)} {unit} are not as many as the ledger says. Ingest it again with --force"
                yield self._error(
                    table, path, message, expected=f"{expected} rows", found=str(found)
                )
        for path, units in missing.items():
            message = f"the file is missing, though the ledger counts rows of {noun(table)} {some(units)}. Ingest again with --force"
            yield self._error(table, path, message)

    def _error(
        self,
        table: Table,
        file: str | None,
        message: str,
        column: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> Problem:
        return Problem(Severity.ERROR, table.name, file, column, message, expected, found)


# --- catalog -----------------------------------------------------------------------------------------------------------------


def _catalog_problems(
    store: Store, files: dict[str, list[CheckedFile]], *, deep: bool
) -> Iterator[Problem]:
    def problem(
        message: str,
        *,
        table: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> Problem:
        return Problem(Severity.ERROR, table, CATALOG, None, message, expected, found)

    again = f"Make the catalog anew with `vblake catalog --lake {quote(store.root)}`"
    try:
        con = connect_restricted(store)  # somebody else may have made the catalog
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
            yield problem(
                f"views are missing. {again}",
                expected="a view for every table",
                found=f"none for {some(missing)}",
            )
        else:
            version = con.execute("SELECT max(schema_version) FROM _lake").fetchone()
            if version != (SCHEMA_VERSION,):
                yield problem(
                    f"the catalog is of another schema version. {again}",
                    expected=SCHEMA_VERSION,
                    found=str(version and version[0]),
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
                    yield problem(
                        f"view {name} cannot be queried ({first_line(error)}). {again}", table=table
                    )
                continue
            held = sum(f.rows or 0 for f in files[table])
            if row != (held,):
                yield problem(
                    f"view {name} does not give all rows of its files. {again}",
                    table=table,
                    expected=f"{held} rows",
                    found=str(row and row[0]),
                )
