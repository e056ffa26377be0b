"""`vblake verify`: reads a lake again and checks it against its contract. Changes nothing.

The rules are those that workers apply before publication, on the lake's files instead of an NWB
file's tables, one mouse at a time so that memory stays bounded (`pipelines.check.lake_folder`). A
lake can break some more: files that do not open or lie in the wrong place, counts that differ from
the ledger's (`pipelines.check.lake_files`), and a catalog that does not fit the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from shlex import quote

import duckdb

from pipelines.catalog.connect import connect_files, connect_restricted, lake_root
from pipelines.check.finding import Finding, some
from pipelines.check.lake_files import LakeFile, file_findings, noun
from pipelines.check.lake_folder import Folder, FolderFound, LakeFacts, Project, Unit
from pipelines.check.lake_pool import check_folders, worthwhile_workers
from pipelines.lake.ledger import LEDGER, Entry, Ledger, Status, read_ledger
from pipelines.lake.marker import require_lake
from pipelines.lake.store import Store
from pipelines.os_errors import first_line
from pipelines.sql_text import identifier, literal
from schemas import SCHEMA_VERSION, TABLES, Subject
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.checks import Level, Rule
from schemas.errors import LakeError
from schemas.known_defects import BY_NAME, KNOWN, KnownDefect
from schemas.layout import CATALOG
from schemas.views import VIEWS


def _ignore(_: object) -> None:
    pass


def verify(
    store: Store,
    *,
    deep: bool = True,
    mice: Collection[int] | None = None,
    workers: int = 1,
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
        workers: processes that read a local lake, at most; a small one is read in this process.
        on_file: called with each file that was read.
        on_known: called with each known defect of the released data that occurs in the lake; only
            if deep.

    Returns:
        The findings, those of one table together; empty if there are none. Known defects are not
        among them.

    Raises:
        LakeError: there is no lake, it has another schema version, DuckDB cannot reach it, or a
            worker died.
    """
    release = require_lake(store).release
    with store.listed_once():
        listed = {name: _of_mice(store.files(name), mice) for name in TABLES}
        ledger, findings = _ledger(store)
        if mice is not None:
            ledger = ledger and {i: e for i, e in ledger.items() if e.mouse_id in mice}
        check = _LakeCheck(store, release, ledger or {}, deep=deep)
        check.read(listed, workers, on_file)
        findings += check.found.findings
        for table in TABLES.values():
            entries = None if ledger is None else check.units.get(table.subject, {})
            ids_of = check.project.ids_of.get(table.unit_key or "", {})
            findings += file_findings(table, check.files(table.name), ids_of, entries)
        findings += _held_back(ledger or {})
        if deep:
            for known in check.known_defects():
                on_known(known)
        if mice is None:
            findings += _catalog_findings(store, check.found.files, deep=deep)
    order = {name: position for position, name in enumerate(TABLES)}
    return sorted(findings, key=lambda f: order.get(f.table or "", len(order)))


def _of_mice(listed: Mapping[str, int], mice: Collection[int] | None) -> Mapping[str, int]:
    """The files of a table that are rows of these mice, or of no mouse."""
    if mice is None:
        return listed
    folders = {f"mouse_id={mouse}" for mouse in mice}
    return {p: n for p, n in listed.items() if p.count("/") == 1 or p.split("/")[1] in folders}


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
        found: in all folders, in their order.
        units: the ledger by session or experiment, whichever the rows of a table come from.
        project: what the project tables list.
    """

    def __init__(self, store: Store, release: str, ledger: Ledger, *, deep: bool) -> None:
        self.found = FolderFound()
        self.project = Project(store)
        self.units: dict[Subject, dict[int, Entry]] = {}
        self._store = store
        self._release = release
        self._deep = deep
        self._entries: dict[str, dict[Unit, Entry]] = {}
        for entry in ledger.values():
            units = self._entries.setdefault(f"mouse_id={entry.mouse_id}", {})
            if entry.ophys_experiment_id is not None:
                units[Subject.OPHYS, entry.ophys_experiment_id] = entry
            if entry.gives_behavior:
                units[Subject.BEHAVIOR, entry.behavior_session_id] = entry
            for found in entry.known_defects:
                plane = TABLES[found.table_name].subject is Subject.OPHYS
                unit = entry.ophys_experiment_id if plane else entry.behavior_session_id
                units_of = self.found.defects.setdefault(found.defect, set())
                units_of.add(unit or entry.behavior_session_id)
        for entries in self._entries.values():
            for (subject, unit), entry in entries.items():
                self.units.setdefault(subject, {})[unit] = entry

    def files(self, table: str) -> list[LakeFile]:
        """What is known of the files of a table."""
        return self.found.files.get(table, [])

    def read(
        self,
        listed: Mapping[str, Mapping[str, int]],
        workers: int,
        on_file: Callable[[str], object],
    ) -> None:
        """Reads all files.

        Args:
            listed: path and bytes of the files of each table.
            workers: processes, at most.
            on_file: called with each file that was read.
        """
        by_folder = {name: dict[str, list[str]]() for name in self._entries}
        for table, files in listed.items():
            for path in files:
                by_folder.setdefault(_folder(path), {}).setdefault(table, []).append(path)
        folders = [
            Folder(paths, self._entries.get(name, {})) for name, paths in sorted(by_folder.items())
        ]
        self._store.will_read(
            (path for folder in folders for _, paths in folder.in_order for path in paths),
            whole=self._deep,
        )
        lake = LakeFacts(self._store, self._release, self.project, self._deep)
        workers = min(workers, worthwhile_workers(listed, deep=self._deep))
        with closing(check_folders(lake, folders, workers)) as results:
            for found in results:
                self._add(found)
                for files in found.files.values():
                    for file in files:
                        on_file(file.path)

    def _add(self, found: FolderFound) -> None:
        self.found.findings += found.findings
        for table, files in found.files.items():
            self.found.files.setdefault(table, []).extend(files)
        for defect, units in found.defects.items():
            self.found.defects.setdefault(defect, set()).update(units)

    def known_defects(self) -> Iterator[Finding]:
        """The known defects that occur in the lake, each once, after all tables were read.

        Raises:
            LakeError: DuckDB cannot read a table.
        """
        for defect in {d.name: BY_NAME[d.name] for d in KNOWN}.values():
            found = None
            if units := self.found.defects.get(defect.name):
                found = f"{noun(TABLES[defect.table])} {some(sorted(units))}"
            elif defect.where is not None and defect.in_release(self._release):
                rows = self._rows_where(defect.table, defect.where)
                found = f"{rows} rows" if rows else None
            if found is not None:
                yield _known(defect, found)

    def _rows_where(self, table: str, condition: str) -> int:
        root = lake_root(self._store)
        paths = [literal(f"{root}/{file.path}") for file in self.files(table) if file.usable]
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
            held = sum(file.rows or 0 for file in files.get(table, []))
            if held != returned:
                message = f"view {name} does not return all rows of its files. {rebuild}"
                yield finding(message, table, f"{held} rows", str(returned))
