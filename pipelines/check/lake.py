"""`vblake verify`: reads a lake again and checks it against its contract. Changes nothing.

The rules are those that workers apply before publication (`pipelines.check.recording`), on the
lake's files instead of an NWB file's tables, one mouse at a time so that memory stays bounded. A
lake can break some more: files that do not open or lie in the wrong place, counts that differ from
the ledger's, and a catalog that does not fit the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import cast

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.catalog.connect import connect_files, first_line, lake_root
from pipelines.check.finding import Finding, Level, some
from pipelines.check.lake_catalog import catalog_findings
from pipelines.check.lake_file import LakeFile, read_file
from pipelines.check.lake_ledger import LedgerCheck, noun
from pipelines.check.recording import Frames, RecordingCheck
from pipelines.check.rows import own_key
from pipelines.lake.ledger import LEDGER, Entry, Ledger, read_ledger
from pipelines.lake.store import Store, require_lake
from pipelines.sql_text import literal
from schemas import TABLES, ForeignKey, Subject, Table
from schemas.casts import NDArray
from schemas.checks import Clock, Rule
from schemas.errors import LakeError
from schemas.known_defects import BY_NAME, KNOWN, Evidence, KnownDefect

_CLOCKS_FIRST = sorted(TABLES.values(), key=lambda table: table.name not in tuple(Clock))
"""Tables in the order in which they are read: other tables are compared with the clocks."""


def _ignore(_: object) -> None:
    pass


def verify(
    store: Store,
    *,
    deep: bool = True,
    on_file: Callable[[str], None] = _ignore,
    on_known: Callable[[Finding], None] = _ignore,
) -> list[Finding]:
    """Checks a lake.

    Always: every file opens, has exactly the declared schema, lies where its rows belong and holds
    as many rows of each source as the ledger says; the ledger's files exist; the catalog opens and
    every view can be queried. With `deep`, also: every value decodes, rows are in order, and all
    rules hold that a file must fulfil before it is published; views return all rows.

    Args:
        store: the lake.
        deep: read all data, not only footers and ids.
        on_file: called with each file before it is read.
        on_known: called with each known defect of the released data that occurs in the lake; only
            if deep.

    Returns:
        The findings, those of one table together; empty if there are none. Known defects are not
        among them.

    Raises:
        LakeError: there is no lake, it has another schema version, or DuckDB cannot reach it.
    """
    release = require_lake(store)
    paths = {name: list(store.files(name)) for name in TABLES}
    ledger, findings = _ledger(store)
    check = LakeCheck(store, release, ledger, deep=deep)
    for folder in sorted({_folder(p) for listed in paths.values() for p in listed} | check.mice):
        for table in _CLOCKS_FIRST:
            inside = [path for path in paths[table.name] if _folder(path) == folder]
            check.read_table(table, folder, inside, on_file)
        check.forget_recordings()
    findings += check.findings
    placed = LedgerCheck(store, ledger, check.files)
    for table in TABLES.values():
        findings += placed.findings(table)
    if deep:
        for known in check.known_defects():
            on_known(known)
    findings += catalog_findings(store, check.files, deep=deep)
    order = {name: position for position, name in enumerate(TABLES)}
    return sorted(findings, key=lambda f: order.get(f.table or "", len(order)))


def _folder(path: str) -> str:
    """The Hive folder of a file, e.g. `mouse_id=457841`.

    Empty for tables that are checked as a whole: the project tables and the ledger.
    """
    table, *folders, _ = path.split("/")
    return folders[0] if len(folders) == 1 and table != LEDGER.name else ""


def _ledger(store: Store) -> tuple[Ledger | None, list[Finding]]:
    try:
        return read_ledger(store), []
    except LakeError:
        return None, []  # the damaged file is a finding of its own
    except (ValueError, LookupError, TypeError) as error:
        message = f"the ledger cannot be read ({error}), so rows were not compared with it"
        return None, [Finding(Rule.LEDGER, "source_files", message)]


class LakeCheck:
    """Reads the tables of a lake, one Hive folder after the other, and applies the rules.

    Attributes:
        files: what is known of the files, by table.
        findings: everything that is wrong so far.
        mice: folders of the mice that the ledger knows.
    """

    def __init__(self, store: Store, release: str, ledger: Ledger | None, *, deep: bool) -> None:
        self.files: dict[str, list[LakeFile]] = {name: [] for name in TABLES}
        self.findings: list[Finding] = []
        self._store = store
        self._release = release
        self._deep = deep
        self._project = _ProjectKeys(store)
        self._recordings: dict[tuple[Subject, int], _Recording] = {}
        self._unreadable: set[str] = set()
        self._entries: dict[str, dict[tuple[Subject, int], Entry]] = {}
        self._defects: dict[str, set[int]] = {}
        for entry in (ledger or {}).values():
            units = self._entries.setdefault(f"mouse_id={entry.mouse_id}", {})
            if entry.ophys_experiment_id is not None:
                units[Subject.OPHYS, entry.ophys_experiment_id] = entry
            if entry.gives_behavior:
                units[Subject.BEHAVIOR, entry.behavior_session_id] = entry
            for found in entry.known_defects:
                plane = TABLES[found.table_name].subject is Subject.OPHYS
                unit = entry.ophys_experiment_id if plane else entry.behavior_session_id
                self._note(found.defect, unit or entry.behavior_session_id)
        self.mice = set(self._entries)

    def read_table(
        self, table: Table, folder: str, paths: Iterable[str], on_file: Callable[[str], None]
    ) -> None:
        """Reads the files of a table in one folder and checks their rows."""
        entries = self._entries.get(folder, {})
        place: dict[int, str | None] = {}
        broken: dict[int, list[Finding]] = {}
        for path in paths:

            def take(unit: int, rows: pa.Table, path: str = path) -> None:
                if place.setdefault(unit, path) != path:
                    if table.unit_key is not None:
                        return  # rows of one source in two files are a finding of their own
                    place[unit] = None
                recording = self._recording(table, unit, entries)
                broken.setdefault(unit, []).extend(recording.check.take(table, rows))

            on_file(path)
            file = read_file(self._store, table, path, take=take if self._deep else None)
            self.files[table.name].append(file)
            self.findings += [replace(finding, file=path) for finding in file.findings]
            if not file.checked:
                self._unreadable.add(table.name)
        for unit, entry in self._units(table, entries):
            if entry.row_counts.get(table.name) == 0 and self._deep:
                broken.setdefault(unit, [])
        if table.name not in self._unreadable:
            for unit, findings in broken.items():
                findings += self._recording(table, unit, entries).check.finish(table)
            if table.subject is Subject.PROJECT and 0 in broken:
                self._project.add(table, self._recording(table, 0, entries).check)
        else:
            for unit in broken:
                self._recording(table, unit, entries).check.drop(table)
            if table.subject is Subject.PROJECT:
                self._project.unreadable(table)
        self.findings += self._merged(table, broken, place)

    def forget_recordings(self) -> None:
        """Frees what was kept of the rows; a recording's rows are all in one folder."""
        self._recordings.clear()
        self._unreadable.clear()

    def _units(
        self, table: Table, entries: dict[tuple[Subject, int], Entry]
    ) -> Iterator[tuple[int, Entry]]:
        for (subject, unit), entry in entries.items():
            if subject is table.subject:
                yield unit, entry

    def _recording(
        self, table: Table, unit: int, entries: dict[tuple[Subject, int], Entry]
    ) -> _Recording:
        key = (table.subject, unit)
        if key not in self._recordings:
            self._recordings[key] = _Recording(
                self._release, unit, entries.get(key), self._project, self._unreadable
            )
        return self._recordings[key]

    def _merged(
        self, table: Table, broken: dict[int, list[Finding]], place: dict[int, str | None]
    ) -> Iterator[Finding]:
        """The findings with file and unit; those that differ only in the unit become one."""
        same: dict[Finding, list[str]] = {}
        for unit, findings in broken.items():
            for finding in findings:
                if finding.defect is not None:
                    self._note(finding.defect, unit)
                    continue
                found = finding.found or ""
                if table.unit_key not in (None, finding.column):
                    found = f"{found} of {table.unit_key} {unit}"
                key = replace(finding, found=None, file=place.get(unit))
                same.setdefault(key, []).append(found)
        for finding, found in same.items():
            yield replace(finding, found=some(found, "; "))

    def _note(self, defect: str, unit: int) -> None:
        self._defects.setdefault(defect, set()).add(unit)

    def known_defects(self) -> Iterator[Finding]:
        """The known defects that occur in the lake, each once, after all tables were read.

        Raises:
            LakeError: DuckDB cannot read a table.
        """
        with connect_files(self._store) as con:
            for defect in {d.name: BY_NAME[d.name] for d in KNOWN}.values():
                found = None
                if units := self._defects.get(defect.name):
                    found = f"{noun(TABLES[defect.table])} {some(sorted(units))}"
                elif defect.where is not None and defect.in_release(self._release):
                    rows = self._rows_where(con, defect)
                    found = f"{rows} rows" if rows else None
                if found is not None:
                    message = f"{defect.name}: {defect.rows}; {defect.reason} ({defect.source})"
                    yield Finding(
                        defect.rule or Rule.KNOWN_DEFECT,
                        defect.table,
                        message,
                        defect.column,
                        found=found,
                        level=Level.KNOWN,
                        defect=defect.name,
                    )

    def _rows_where(self, con: duckdb.DuckDBPyConnection, defect: KnownDefect) -> int:
        table, root = TABLES[defect.table], lake_root(self._store)
        paths = [literal(f"{root}/{f.path}") for f in self.files[table.name] if f.usable]
        if not paths:
            return 0
        sql = (
            f"SELECT count(*) FROM read_parquet([{', '.join(paths)}], hive_partitioning = false) "
            f"WHERE {defect.where}"
        )
        try:
            row = con.execute(sql).fetchone()
        except duckdb.Error as error:
            raise LakeError(
                f"{table.name} in {self._store.root} cannot be read ({first_line(error)})."
            ) from error
        return row[0] if row else 0


class _Recording:
    """What the lake holds of one session or experiment."""

    def __init__(
        self,
        release: str,
        unit: int,
        entry: Entry | None,
        project: _ProjectKeys,
        unreadable: set[str],
    ) -> None:
        self.release = release
        self.check = RecordingCheck(self)
        self._unit = unit
        self._entry = entry
        self._project = project
        self._unreadable = unreadable

    def keys(self, table: Table) -> NDArray | None:
        """None where the table was not ingested: the worker compared the rows with the file."""
        counts = self._entry.row_counts if self._entry else {}
        if table.name in self._unreadable or table.name not in counts:
            return None
        rows = self.check.rows_of(table.name)
        return rows.values(own_key(table)[0]) if rows else np.empty(0, np.int64)

    def frames(self, clock: Clock) -> Frames:
        times = None if clock.value in self._unreadable else self.check.rows_of(clock.value)
        traces = self.check.rows_of("dff_traces") if clock is Clock.OPHYS else None
        lengths = {n for extent in traces.extents.values() for n in extent} if traces else set()
        return Frames(times.frames if times else None, lengths.pop() if len(lengths) == 1 else None)

    def unlisted(self, table: Table, key: ForeignKey, values: NDArray) -> NDArray:
        return self._project.unlisted(key, values, self._unit)

    def shows(self, evidence: Evidence) -> bool:
        """False: tables that were not ingested show nothing."""
        return False


class _ProjectKeys:
    """The ids that the project tables of the lake list."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, set[int] | None] = {}
        self._cells: dict[int, set[int]] = {}

    def add(self, table: Table, check: RecordingCheck) -> None:
        """Keeps the keys of a project table whose rows were taken."""
        rows = check.rows_of(table.name)
        self._keys[table.name] = set(rows.values(*own_key(table)).tolist()) if rows else set()
        if table.name == "ophys_cells":
            names = ["ophys_experiment_id", "cell_roi_id"]
            for path in self._store.files(table.name):
                if file := self._store.parquet(path):
                    columns = [file.read([name]).column(name).to_pylist() for name in names]
                    for experiment, cell in zip(*cast("list[list[int]]", columns), strict=True):
                        self._cells.setdefault(experiment, set()).add(cell)

    def unreadable(self, table: Table) -> None:
        """A table that cannot be read is a finding of its own; references to it are not judged."""
        self._keys[table.name] = None

    def unlisted(self, key: ForeignKey, values: NDArray, unit: int) -> NDArray:
        """Those of some values that the table does not list, for this unit where it must agree."""
        listed = self._keys.get(key.table, set())
        if listed is None:
            return values[:0]
        if key.agree:
            listed = self._cells.get(unit, set())
        return np.array([value for value in values.tolist() if value not in listed], values.dtype)
