"""`vblake verify`: reads a lake again and checks it against its contract. Changes nothing.

The rules are those that workers apply before publication (`pipelines.check.recording`), on the
lake's files instead of an NWB file's tables, one mouse at a time so that memory stays bounded. A
lake can break some more: files that do not open or lie in the wrong place, counts that differ from
the ledger's (`pipelines.check.lake_files`), and a catalog that does not fit the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from shlex import quote

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.catalog.connect import connect_files, connect_restricted, lake_root
from pipelines.check.finding import Finding, some
from pipelines.check.lake_files import LakeFile, file_findings, noun, read_file
from pipelines.check.recording import Frames, RecordingCheck
from pipelines.lake.ledger import LEDGER, Entry, Ledger, Status, TableStatus, read_ledger
from pipelines.lake.marker import require_lake
from pipelines.lake.store import Store
from pipelines.os_errors import first_line
from pipelines.sql_text import identifier, literal
from schemas import SCHEMA_VERSION, TABLES, ForeignKey, Subject, Table
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.casts import NDArray
from schemas.checks import Clock, Level, Rule
from schemas.errors import LakeError
from schemas.known_defects import BY_NAME, KNOWN, Evidence, KnownDefect
from schemas.layout import CATALOG, relative_path
from schemas.views import VIEWS

_CLOCKS_FIRST = sorted(TABLES.values(), key=lambda table: table.name not in tuple(Clock))
"""Tables in the order in which they are read: other tables are compared with the clocks."""

Unit = tuple[Subject, int]
"""A session or experiment."""


def _ignore(_: object) -> None:
    pass


def verify(
    store: Store,
    *,
    deep: bool = True,
    mice: Collection[int] | None = None,
    on_file: Callable[[str], object] = _ignore,
    on_known: Callable[[Finding], object] = _ignore,
) -> list[Finding]:
    """Checks a lake.

    Always: every file opens, has exactly the declared schema, lies where its rows belong and holds
    as many rows of each source as the ledger says; the ledger's files exist; the catalog opens and
    every view can be queried. With `deep`, also: every value decodes, rows are in order, and all
    rules hold that a file must fulfil before it is published; views return all rows.

    Args:
        store: the lake.
        deep: read all data, not only footers and ids.
        mice: look only at the rows of these mice, and at the project tables; not at the catalog.
        on_file: called with each file before it is read.
        on_known: called with each known defect of the released data that occurs in the lake; only
            if deep.

    Returns:
        The findings, those of one table together; empty if there are none. Known defects are not
        among them.

    Raises:
        LakeError: there is no lake, it has another schema version, or DuckDB cannot reach it.
    """
    release = require_lake(store).release
    with store.listed_once():
        return _findings(store, release, deep, mice, on_file, on_known)


def _findings(
    store: Store,
    release: str,
    deep: bool,
    mice: Collection[int] | None,
    on_file: Callable[[str], object],
    on_known: Callable[[Finding], object],
) -> list[Finding]:
    paths = {name: list(store.files(name)) for name in TABLES}
    ledger, findings = _ledger(store)
    if mice is not None:
        folders = {f"mouse_id={mouse}" for mouse in mice}
        for name, listed in paths.items():
            paths[name] = [p for p in listed if p.count("/") == 1 or p.split("/")[1] in folders]
        ledger = ledger and {i: e for i, e in ledger.items() if e.mouse_id in mice}
    check = _LakeCheck(store, release, ledger or {}, deep=deep)
    by_folder = {folder: dict[str, list[str]]() for folder in check.mice}
    for table in _CLOCKS_FIRST:
        for path in paths[table.name]:
            by_folder.setdefault(_folder(path), {}).setdefault(table.name, []).append(path)
    in_order = [tables for _, tables in sorted(by_folder.items())]
    store.will_read((p for t in in_order for inside in t.values() for p in inside), whole=deep)
    for folder, tables in sorted(by_folder.items()):
        for table in _CLOCKS_FIRST:
            check.read_table(table, folder, tables.get(table.name, ()), on_file)
        check.forget_recordings()
    findings += check.findings
    for table in TABLES.values():
        entries = None if ledger is None else check.units.get(table.subject, {})
        ids_of = check.project.ids_of.get(table.unit_key or "", {})
        findings += file_findings(table, check.files[table.name], ids_of, entries)
    findings += _held_back(ledger or {})
    if deep:
        for known in check.known_defects():
            on_known(known)
    if mice is None:
        findings += _catalog_findings(store, check.files, deep=deep)
    order = {name: position for position, name in enumerate(TABLES)}
    return sorted(findings, key=lambda f: order.get(f.table or "", len(order)))


def _held_back(ledger: Ledger) -> Iterator[Finding]:
    """One finding for each table and rule that holds back rows, and one for quarantined files."""
    files: dict[tuple[str, str], list[str]] = {}
    for _, entry in sorted(ledger.items()):
        name = f"{entry.file_kind.value} {entry.file_key}"
        whole = entry.status is Status.QUARANTINED
        for outcome in entry.held_back:
            table = LEDGER.name if whole else outcome.table
            listed = files.setdefault((table, outcome.rule or ""), [])
            if name not in listed[-1:]:
                listed.append(name)
    for (table, rule), names in files.items():
        message = "rows are held back; the view _held_back says why"
        found = f"{len(names)} of the files: {some(names)}"
        yield Finding(Rule(rule), table, message, found=found, level=Level.WARNING)


def _folder(path: str) -> str:
    """The outermost Hive folder of a file, e.g. `mouse_id=457841`.

    Empty for tables that are checked as a whole: the project tables and the ledger.
    """
    table, *folders, _ = path.split("/")
    return folders[0] if folders and table != LEDGER.name else ""


def _ledger(store: Store) -> tuple[Ledger | None, list[Finding]]:
    try:
        return read_ledger(store), []
    except LakeError:
        return None, []  # the damaged file is a finding of its own
    except (ValueError, LookupError, TypeError) as error:
        message = f"the ledger cannot be read ({error}), so rows were not compared with it"
        return None, [Finding(Rule.LEDGER, "source_files", message)]


class _LakeCheck:
    """Reads the tables of a lake, one Hive folder after the other, and applies the rules.

    Attributes:
        files: what is known of the files, by table.
        findings: everything that is wrong so far.
        mice: folders of the mice that the ledger knows.
        units: the ledger by session or experiment, whichever the rows of a table come from.
        project: what the project tables list.
    """

    def __init__(self, store: Store, release: str, ledger: Ledger, *, deep: bool) -> None:
        self.files: dict[str, list[LakeFile]] = {name: [] for name in TABLES}
        self.findings: list[Finding] = []
        self.project = _Project(store)
        self._store = store
        self._release = release
        self._deep = deep
        self._recordings: dict[Unit, _Recording] = {}
        self._unreadable: set[str] = set()
        self._entries: dict[str, dict[Unit, Entry]] = {}
        self.units: dict[Subject, dict[int, Entry]] = {}
        self._defects: dict[str, set[int]] = {}
        for entry in ledger.values():
            units = self._entries.setdefault(f"mouse_id={entry.mouse_id}", {})
            if entry.ophys_experiment_id is not None:
                units[Subject.OPHYS, entry.ophys_experiment_id] = entry
            if entry.gives_behavior:
                units[Subject.BEHAVIOR, entry.behavior_session_id] = entry
            for found in entry.known_defects:
                plane = TABLES[found.table_name].subject is Subject.OPHYS
                unit = entry.ophys_experiment_id if plane else entry.behavior_session_id
                self._note(found.defect, unit or entry.behavior_session_id)
        for entries in self._entries.values():
            for (subject, unit), entry in entries.items():
                self.units.setdefault(subject, {})[unit] = entry
        self.mice = set(self._entries)

    def read_table(
        self, table: Table, folder: str, paths: Iterable[str], on_file: Callable[[str], object]
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
                check = self._check(table, unit, entries)
                broken.setdefault(unit, []).extend(check.take_complete(table, rows))

            on_file(path)
            file = read_file(self._store, table, path, take=take if self._deep else None)
            self.files[table.name].append(file)
            self.findings += [replace(finding, file=path) for finding in file.findings]
            if not file.checked:
                self._unreadable.add(table.name)
        for (subject, unit), entry in entries.items():
            empty = subject is table.subject and entry.row_counts.get(table.name) == 0
            if empty and self._deep:
                broken.setdefault(unit, [])
        for unit, findings in broken.items():
            check = self._check(table, unit, entries)
            if table.name in self._unreadable:
                check.drop(table)
            else:
                findings += check.finish(table)
        self.findings += self._merged(table, broken, place, entries)

    def forget_recordings(self) -> None:
        """Frees what was kept of the rows; a recording's rows are all in one folder."""
        self._recordings.clear()
        self._unreadable.clear()

    def _check(self, table: Table, unit: int, entries: dict[Unit, Entry]) -> RecordingCheck:
        return self._recording((table.subject, unit), entries).check

    def _recording(self, key: Unit, entries: dict[Unit, Entry]) -> _Recording:
        if key not in self._recordings:
            entry, session = entries.get(key), None
            if entry is not None and key[0] is Subject.OPHYS:
                session = self._recording((Subject.BEHAVIOR, entry.behavior_session_id), entries)
            self._recordings[key] = _Recording(
                self._release, key[1], entry, self.project, self._unreadable, session
            )
        return self._recordings[key]

    def _merged(
        self,
        table: Table,
        broken: dict[int, list[Finding]],
        place: dict[int, str | None],
        entries: Mapping[Unit, Entry],
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
                allowed = entries.get((table.subject, unit))
                if allowed and allowed.allows(table.name, finding.rule.value):
                    finding = replace(finding, level=Level.WARNING, hint="--allow permitted it.")
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
        for defect in {d.name: BY_NAME[d.name] for d in KNOWN}.values():
            found = None
            if units := self._defects.get(defect.name):
                found = f"{noun(TABLES[defect.table])} {some(sorted(units))}"
            elif defect.where is not None and defect.in_release(self._release):
                rows = self._rows_where(defect.table, defect.where)
                found = f"{rows} rows" if rows else None
            if found is not None:
                yield _known(defect, found)

    def _rows_where(self, table: str, condition: str) -> int:
        root = lake_root(self._store)
        paths = [literal(f"{root}/{file.path}") for file in self.files[table] if file.usable]
        if not paths:
            return 0
        source = f"read_parquet([{', '.join(paths)}], hive_partitioning = false)"
        try:
            with connect_files(self._store) as con:
                return _number(con, f"SELECT count(*) FROM {source} WHERE {condition}")
        except duckdb.Error as error:
            raise LakeError(
                f"{table} in {self._store.root} cannot be read ({first_line(error)})."
            ) from error


def _known(defect: KnownDefect, found: str) -> Finding:
    return Finding(
        defect.rule or Rule.KNOWN_DEFECT,
        defect.table,
        f"{defect.name}: {defect.rows}; {defect.reason} ({defect.source})",
        defect.column,
        found=found,
        level=Level.KNOWN,
        defect=defect.name,
    )


def _number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


class _Recording:
    """What the lake holds of one session or experiment."""

    def __init__(
        self,
        release: str,
        unit: int,
        entry: Entry | None,
        project: _Project,
        unreadable: set[str],
        session: _Recording | None,
    ) -> None:
        self.release = release
        self.check = RecordingCheck(self)
        self._unit = unit
        self._entry = entry
        self._counts = entry.row_counts if entry else {}
        self._project = project
        self._unreadable = unreadable
        self._session = session

    def keys(self, table: Table) -> NDArray | None:
        """None where the table was not ingested: the worker compared the rows with the file."""
        if self._session is not None and table.subject is Subject.BEHAVIOR:
            return self._session.keys_for_planes(table)
        if table.name in self._unreadable or table.name not in self._counts:
            return None
        rows = self.check.rows_of(table.name)
        return rows.values(table.own_key[0]) if rows else np.empty(0, np.int64)

    def keys_for_planes(self, table: Table) -> NDArray | None:
        """The same, but none where the table is held back: so must be what planes have of it."""
        held_back = (
            self._entry is not None and self._entry.outcome(table.name) is TableStatus.HELD_BACK
        )
        return np.empty(0, np.int64) if held_back else self.keys(table)

    def frames(self, clock: Clock) -> Frames:
        times = None if clock.value in self._unreadable else self.check.rows_of(clock.value)
        traces = self.check.rows_of("dff_traces") if clock is Clock.OPHYS else None
        lengths = {n for extent in traces.extents.values() for n in extent} if traces else set()
        return Frames(times.frames if times else None, lengths.pop() if len(lengths) == 1 else None)

    def images(self, image_set: str) -> Collection[str] | None:
        """None where the session's images were not ingested: other sessions may lack some."""
        if "stimulus_templates" not in self._counts:
            return None
        return self._project.images_of(image_set)

    def unlisted(self, table: Table, key: ForeignKey, values: NDArray) -> NDArray:
        listed = self._project.listed(key, self._unit)
        if listed is None:
            return values[:0]
        return np.array([value for value in values.tolist() if value not in listed], values.dtype)

    def shows(self, evidence: Evidence) -> bool:
        """False: tables that were not ingested show nothing."""
        return False


_IDS = {
    "behavior_sessions": ("mouse_id",),
    "ophys_sessions": ("mouse_id",),
    "ophys_experiments": ("mouse_id", "behavior_session_id", "ophys_session_id"),
}
"""The ids that each project table gives beside its own."""


class _Project:
    """What the project tables and image sets of the lake list.

    Attributes:
        ids_of: the ids of each session and experiment, its mouse included, by the name of its id.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, set[int] | None] = {}
        self._cells: dict[int, set[int]] = {}
        self._images: dict[str, set[str] | None] = {}
        self.ids_of: dict[str, dict[int, dict[str, int]]] = {}
        for name, ids in _IDS.items():
            (key,) = TABLES[name].primary_key
            columns = self._columns(name, key, *ids)
            self._keys[name] = None if columns is None else set(columns[0])
            rows = zip(*(columns or []), strict=True)
            self.ids_of[key] = {row[0]: dict(zip((key, *ids), row, strict=True)) for row in rows}
        columns = self._columns("ophys_cells", "ophys_experiment_id", "cell_roi_id")
        self._keys["ophys_cells"] = None if columns is None else set(columns[1])
        for experiment, cell in zip(*(columns or ([], [])), strict=True):
            self._cells.setdefault(experiment, set()).add(cell)

    def _columns(self, name: str, *columns: str) -> list[list[int]] | None:
        """Columns of a table; None if it cannot be read, which is a finding of its own."""
        try:
            files = [self._store.parquet(path) for path in self._store.files(name)]
            rows = [row for f in files if f for row in f.read([*columns]).to_pylist()]
            return [[int(row[column]) for row in rows] for column in columns]
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
            return None

    def images_of(self, image_set: str) -> set[str] | None:
        """The names of a set's images; None if they cannot be read, which is another finding."""
        if image_set not in self._images:
            path = relative_path(TABLES["stimulus_templates"], image_set=image_set)
            try:
                file = self._store.parquet(path)
                names = file.read(["image_name"]).column("image_name").to_pylist() if file else []
                self._images[image_set] = set(names)
            except (OSError, pa.ArrowException, KeyError):
                self._images[image_set] = None
        return self._images[image_set]

    def listed(self, key: ForeignKey, unit: int) -> set[int] | None:
        """The keys that rows of a unit may refer to; None if the table cannot be read."""
        listed = self._keys[key.table]
        return self._cells.get(unit, set()) if key.agree and listed is not None else listed


# --- the catalog ---------------------------------------------------------------------------------


_VIEWS = (
    "SELECT CASE WHEN schema_name = 'main' THEN '' ELSE schema_name || '.' END || view_name "
    "FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal ORDER BY ALL"
)


def _catalog_findings(
    store: Store, files: Mapping[str, list[LakeFile]], *, deep: bool
) -> Iterator[Finding]:
    """Whether the catalog opens, and its views return as many rows as the files hold."""
    rebuild = f"Rebuild the catalog with `vblake catalog --lake {quote(store.root)}`"

    def finding(message: str, table: str | None = None, *details: str) -> Finding:
        return Finding(Rule.CATALOG, table, message, None, *details, file=CATALOG)

    try:
        con = connect_restricted(store)  # the catalog may come from somebody else
    except LakeError as error:
        yield finding(str(error))
        return
    with con:
        views = [name for (name,) in con.execute(_VIEWS).fetchall()]
        wanted = (*TABLES, *VIEWS, *(f"{BI_SCHEMA}.{name}" for name in BI_VIEWS))
        if missing := [name for name in wanted if name not in views]:
            details = ("all views of this version", f"none for {some(missing)}")
            yield finding(f"views are missing. {rebuild}", None, *details)
        else:
            row = con.execute("SELECT max(schema_version) FROM _lake").fetchone()
            version = str(row and row[0])
            if version != SCHEMA_VERSION:
                message = f"the catalog has another schema version. {rebuild}"
                yield finding(message, None, SCHEMA_VERSION, version)
        for name in views:
            if name.startswith(f"{BI_SCHEMA}."):
                continue  # made of the others, with which it fails
            table = name if name in TABLES else None
            if any(not file.usable for file in files.get(name, [])):
                continue
            try:
                if table is None or not deep:
                    con.execute(f"SELECT * FROM {identifier(name)} LIMIT 0")
                    continue
                returned = _number(con, f"SELECT count(*) FROM {identifier(name)}")
            except duckdb.Error as error:
                message = f"view {name} cannot be queried ({first_line(error)}). {rebuild}"
                yield finding(message, table)
                continue
            held = sum(file.rows or 0 for file in files[table])
            if held != returned:
                message = f"view {name} does not return all rows of its files. {rebuild}"
                yield finding(message, table, f"{held} rows", str(returned))
