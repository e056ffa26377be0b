"""Counts what a lake holds, by table and by mouse: SQL over the ledger and the project tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import astuple, dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

import duckdb

from pipelines.catalog.connect import connect_files, first_line, lake_root
from pipelines.lake.store import Store, require_lake
from pipelines.release.behavior_source import behavior_sources
from pipelines.release.selection import FileKind
from pipelines.sql_text import literal, table_source, values
from schemas import TABLES
from schemas.errors import LakeError
from schemas.layout import CATALOG

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows and files of the lake, and NWB files by the outcome of the last attempt to ingest them.

    Attributes:
        rows, bytes, files: of the lake's Parquet files.
        done: NWB files whose rows are in the lake.
        quarantined: NWB files that failed; rows of an earlier attempt may be in the lake.
        skipped: NWB files that the release names but the bucket did not have.
        missing: NWB files that were not tried yet.
    """

    rows: int = 0
    bytes: int = 0
    files: int = 0
    done: int = 0
    quarantined: int = 0
    skipped: int = 0
    missing: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class FileProblem:
    """An NWB file that is not in the lake, or not in its present version, and the reason."""

    status: str
    kind: str
    file_key: int
    mouse_id: int
    object_key: str
    error: str


@dataclass(frozen=True, slots=True)
class LakeStatus:
    """What a lake holds.

    Attributes:
        sources: counts over all files.
        tables, mice: counts by table and by mouse. An NWB file counts for the tables that are read
            from files like it.
        cells: counts by table and mouse, without the tables that belong to no mouse.
        problems: files that are quarantined or were skipped.
    """

    root: str
    release: str
    has_catalog: bool
    sources: Counts
    tables: dict[str, Counts]
    mice: dict[int, Counts]
    cells: dict[tuple[str, int], Counts]
    problems: list[FileProblem]


def lake_status(store: Store) -> LakeStatus:
    """Counts what a lake holds. Of the data files only names and sizes are read.

    Raises:
        LakeError: there is no lake, or one of its project tables or ledger files cannot be read.
    """
    release = require_lake(store)
    listed = {name: store.files(name) for name in TABLES}
    with connect_files(store) as con:
        _load(con, store, listed)
        _add_released_files(con)
        con.execute(_SOURCES.format(release=literal(release)))
        con.execute(_PARTS)
        tables, mice, cells = {name: Counts() for name in TABLES}, dict[int, Counts](), {}
        total = Counts()
        for name, mouse, *counts in con.execute(_BY_TABLE_AND_MOUSE).fetchall():
            tables[name] += Counts(*counts)
            if mouse is not None:
                cells[name, mouse] = Counts(*counts)
        for mouse, *counts in con.execute(_BY_MOUSE).fetchall():
            total += Counts(*counts)
            if mouse is not None:
                mice[mouse] = Counts(*counts)
        return LakeStatus(
            root=store.root,
            release=release,
            has_catalog=store.exists(CATALOG),
            sources=total,
            tables=tables,
            mice=mice,
            cells=cells,
            problems=[FileProblem(*row) for row in con.execute(_PROBLEMS).fetchall()],
        )


# --- what is counted --------------------------------------------------------------------------

_LOADED = {
    "source_files": "mouse_id, release, file_kind, file_key, gives_behavior, status, object_key, "
    "error, row_counts",
    "behavior_sessions": "behavior_session_id, mouse_id, ophys_experiment_id, file_id",
    "ophys_sessions": "ophys_session_id",
    "ophys_experiments": "ophys_experiment_id, mouse_id, behavior_session_id",
    "ophys_cells": "cell_roi_id",
    "stimulus_templates": "image_name",
}
"""The tables whose rows are read, with the columns. The ledger has the row counts of all others:
to open 30,000 files would take minutes in S3."""

_SOURCES = """
CREATE VIEW sources AS
SELECT file_kind, mouse_id, gives_behavior, status, row_counts FROM source_files
UNION ALL
SELECT file_kind, mouse_id, gives_behavior, 'missing', []
FROM released ANTI JOIN (FROM source_files WHERE release = {release}) USING (file_kind, file_key)
"""
"""A row per NWB file."""

_PARTS = """
CREATE VIEW parts AS
SELECT table_name, mouse_id, NULL AS outcome, 0 AS rows, bytes, files FROM held
UNION ALL
SELECT table_name, mouse_id,
    CASE WHEN status <> 'ingested' OR list_contains([c.table_name for c in row_counts], table_name)
        THEN status
        WHEN NOT by_name_only THEN 'missing' END, 0, 0, 0
FROM sources JOIN tables ON subject = 'ophys' AND file_kind = 'ophys_experiment'
    OR subject = 'behavior' AND gives_behavior
WHERE NOT (status = 'missing' AND by_name_only)
UNION ALL
SELECT table_name, mouse_id, NULL, row_count, 0, 0
FROM (SELECT mouse_id, unnest(row_counts, recursive := true) FROM source_files)
JOIN tables USING (table_name) WHERE subject <> 'stimulus'
UNION ALL
SELECT 'source_files', mouse_id, NULL, count(*), 0, 0 FROM source_files GROUP BY mouse_id
""" + "".join(
    f"UNION ALL SELECT '{name}', NULL, NULL, count(*), 0, 0 FROM {name}\n"
    for name in _LOADED
    if name != "source_files"
)
"""What the counts of a table and a mouse add up from: rows, files, and outcomes of NWB files."""

_COUNTS = """
CAST(coalesce(sum(rows), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT),
CAST(coalesce(sum(files), 0) AS BIGINT),
count(*) FILTER (outcome = 'ingested'), count(*) FILTER (outcome = 'quarantined'),
count(*) FILTER (outcome = 'skipped'), count(*) FILTER (outcome = 'missing')
"""
_BY_TABLE_AND_MOUSE = f"SELECT table_name, mouse_id, {_COUNTS} FROM parts GROUP BY ALL"
# An NWB file counts once for its mouse, but for several tables.
_BY_MOUSE = f"""
SELECT mouse_id, {_COUNTS} FROM (
    SELECT mouse_id, NULL AS outcome, rows, bytes, files FROM parts
    UNION ALL SELECT mouse_id, status, 0, 0, 0 FROM sources
) GROUP BY mouse_id
"""
_PROBLEMS = """
SELECT status, file_kind, file_key, mouse_id, coalesce(object_key, ''), coalesce(error, '')
FROM source_files WHERE status <> 'ingested' ORDER BY mouse_id, release, file_kind, file_key
"""


def _load(
    con: duckdb.DuckDBPyConnection, store: Store, listed: Mapping[str, Mapping[str, int]]
) -> None:
    """Loads the ledger, the project tables, the declarations, and the listing of the files."""
    for name, columns in _LOADED.items():
        source = table_source(TABLES[name], lake_root(store), has_files=bool(listed[name]))
        try:
            con.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {source}")
        except duckdb.Error as error:
            raise LakeError(
                f"The table {name} of {store.root} cannot be read ({first_line(error)}). "
                f"See `vblake verify --lake {quote(store.root)}`."
            ) from error
    con.execute("CREATE TABLE tables (table_name VARCHAR, subject VARCHAR, by_name_only BOOLEAN)")
    _insert(con, "tables", [(t.name, t.subject.value, t.by_name_only) for t in TABLES.values()])
    held: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for name, files in listed.items():
        for path, size in files.items():
            held[name, _mouse_of(path)].append(size)
    con.execute(
        "CREATE TABLE held (table_name VARCHAR, mouse_id BIGINT, bytes BIGINT, files BIGINT)"
    )
    _insert(con, "held", [(*key, sum(sizes), len(sizes)) for key, sizes in held.items()])


def _mouse_of(path: str) -> int | None:
    name, _, value = path.split("/")[1].partition("=")
    return int(value) if name == "mouse_id" and value.isdecimal() else None


def _add_released_files(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the table `released`: the NWB files that the project tables name."""
    sessions = con.execute("FROM behavior_sessions").fetchall()
    experiments = con.execute("FROM ophys_experiments").fetchall()
    sources = behavior_sources(
        ((session, file_id, listed) for session, _, listed, file_id in sessions),
        ((experiment, session) for experiment, _, session in experiments),
    )
    own, imaged = FileKind.BEHAVIOR_SESSION, FileKind.OPHYS_EXPERIMENT
    givers = {source.file_key for source in sources.values() if source.kind is imaged}
    released = [
        (own.value, session, mouse, True)
        for session, mouse, _, _ in sessions
        if sources[session].kind is own
    ]
    released += [(imaged.value, key, mouse, key in givers) for key, mouse, _ in experiments]
    con.execute(
        "CREATE TABLE released "
        "(file_kind VARCHAR, file_key BIGINT, mouse_id BIGINT, gives_behavior BOOLEAN)"
    )
    _insert(con, "released", released)


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Collection[Sequence[Any]]) -> None:
    if rows:
        con.execute(f"INSERT INTO {table} {values(rows)}")
